"""An order is one picture asked for; here is what it holds and how one state follows from another."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

State = Literal["intended", "accepted", "completed", "failed", "unknown"]

ID_PREFIX = "order-"
UNFINISHED: tuple[State, ...] = ("intended", "accepted", "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One picture that somebody is about to pay for."""

    fingerprint: str
    """Content hash of the request, hexadecimal: equal fingerprints are the same request."""
    position: int
    """Which picture of the call, from 0."""
    idempotency_key: str
    service: str
    """RunAPI's service: flux_2."""
    action: str
    model: str
    """RunAPI's full slug."""
    request: Mapping[str, object] | None = field(repr=False)
    """The exact JSON body of the create request; None while its sources are not uploaded: see `History.prepared`."""
    resolution: str | None = None
    """`output_resolution` of the request, where it names one."""
    prompt: str = field(repr=False)
    estimated_cents: int | None
    """None when the price is not known."""
    save_to: str | None = None
    """Where the picture shall be saved, if not at the usual place; not part of the fingerprint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One picture asked for, as history knows it. Its `repr` shows no words, no signed URLs and no keys."""

    id: str
    """Ours; begins with `ID_PREFIX`."""
    owner: str = field(repr=False)
    fingerprint: str
    """Content hash of the request, hexadecimal; empty for a task that was made elsewhere."""
    position: int
    idempotency_key: str = field(repr=False)
    service: str
    """RunAPI's service; empty for a task that was made elsewhere."""
    action: str
    model: str
    resolution: str | None
    """`output_resolution` of the request, where it named one."""
    request: Mapping[str, object] | None = field(repr=False)
    """The exact JSON body of the create request, in private mode only its `source_image_urls`.

    None while its sources are not uploaded, and for a task that was made elsewhere.
    """
    prompt: str = field(repr=False)
    """Empty in private mode."""
    state: State
    """A completed order has a task."""
    task_id: str | None = None
    shared_with: str | None = None
    """Our id of an order for which RunAPI had named the same task before; None where the task is this order's own."""
    dialect: str | None = None
    estimated_cents: int | None = None
    settled_cents: int | None = None
    created_at: datetime
    accepted_at: datetime | None = None
    finished_at: datetime | None = None
    urls: tuple[str, ...] = field(default=(), repr=False)
    urls_expire_at: datetime | None = None
    save_to: str | None = None
    """Where the pictures shall be saved, if not at the usual place."""
    paths: tuple[str, ...] = ()
    error: str | None = None
    """Why it failed or is in doubt, until it completes; not kept in private mode."""
    delivered: bool = False
    """Whether a host was given the result."""
    delivery: int | None = None
    """Which delivery it was of this owner's, counted from 1; 0 for those from before they were counted."""

    @property
    def handle(self) -> str:
        """The id by which it is found: RunAPI's when there is one and it means no other order, else ours."""
        return self.id if self.task_id is None or self.shared_with else self.task_id

    @property
    def is_over(self) -> bool:
        return self.state not in UNFINISHED

    @property
    def was_never_sent(self) -> bool:
        """Whether it is certain that RunAPI never heard of it: what is sent is noted before."""
        return self.state == "intended" and self.request is None

    @property
    def made_elsewhere(self) -> bool:
        """Whether the owner only looked at it here: its cost is none of our budget's."""
        return not self.fingerprint


@dataclass(frozen=True, slots=True)
class DailyCap:
    """What one owner may spend from the beginning of a day on."""

    cents: int
    day_start: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """Some orders, newest first."""

    orders: tuple[Order, ...]
    cursor: str | None
    """Where the next page begins; None on the last one."""


HANDLE_JOINT = "."


def handle_of(orders: Sequence[Order]) -> str:
    """One id for the orders of one call."""
    return HANDLE_JOINT.join(order.id for order in orders)


def ids_in(handle: str) -> list[str]:
    """The ids of ours that such an id is made of; none if it is no such id."""
    ids = handle.split(HANDLE_JOINT)
    return list(dict.fromkeys(ids)) if all(id.startswith(ID_PREFIX) for id in ids) else []


def utcnow() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    return f"{ID_PREFIX}{secrets.token_hex(8)}"


def intended(intent: Intent, *, owner: str, at: datetime) -> Order:
    return Order(
        id=new_id(),
        owner=owner,
        fingerprint=intent.fingerprint,
        position=intent.position,
        idempotency_key=intent.idempotency_key,
        service=intent.service,
        action=intent.action,
        model=intent.model,
        resolution=intent.resolution,
        request=intent.request,
        prompt=intent.prompt,
        state="intended",
        estimated_cents=intent.estimated_cents,
        save_to=intent.save_to,
        created_at=at,
    )


def catch_up(order: Order, *, seen: Order) -> Order:
    """Add what was seen of the order while it could not be written down."""
    if order.task_id is None and seen.task_id is not None:
        accepted = {"task_id": seen.task_id, "dialect": seen.dialect, "accepted_at": seen.accepted_at}
        order = replace(order, state="accepted", error=None, **accepted)
    if seen.state == "completed" and order.state != "completed":
        settled = order.settled_cents if seen.settled_cents is None else seen.settled_cents
        ended = {"finished_at": seen.finished_at, "settled_cents": settled, "error": None}
        order = replace(order, state="completed", urls=seen.urls, urls_expire_at=seen.urls_expire_at, **ended)
    return order


def prepare(order: Order, *, request: Mapping[str, object]) -> Order:
    """The first body stays: an Idempotency-Key stands for exactly one."""
    if order.request is not None or order.state == "failed":
        return order

    return replace(order, request=request)


def accept(order: Order, *, task_id: str, dialect: str, at: datetime) -> Order:
    over = order.state == "completed" or (order.state == "failed" and order.task_id == task_id)
    if over or (order.state == "accepted" and order.task_id == task_id):
        return order

    return replace(order, state="accepted", task_id=task_id, dialect=dialect, accepted_at=at, error=None)


def doubt(order: Order, *, error: str) -> Order:
    """Note that the answer to the create request was lost; whoever got an answer knows better."""
    if order.task_id is not None:
        return order

    return replace(order, state="unknown", error=error)


def give_up(order: Order, *, error: str, at: datetime) -> Order:
    """Fail the order, unless somebody is about to send it after all, or did."""
    return replace(order, state="failed", finished_at=at, error=error) if order.was_never_sent else order


def complete(
    order: Order, *, urls: tuple[str, ...], urls_expire_at: datetime | None, settled_cents: int | None, at: datetime
) -> Order:
    """Complete the order, or learn more about a completed one: fresh links, a cost that was not known yet."""
    return replace(
        order,
        state="completed",
        finished_at=order.finished_at if order.state == "completed" else at,
        urls=urls or order.urls,
        urls_expire_at=urls_expire_at if urls else order.urls_expire_at,
        settled_cents=order.settled_cents if settled_cents is None else settled_cents,
        error=None,
    )


def fail(order: Order, *, seen: Order, settled_cents: int | None, error: str | None, at: datetime) -> Order:
    """Fail the order; `seen` is what the caller knew of it."""
    # Two calls may resume one order. The one that was refused must not end what the other one got, or may have got.
    is_news = order.task_id is not None or (order.state == "unknown" and seen.state != "unknown")
    if order.state == "completed" or (seen.task_id is None and is_news):
        return order

    return replace(
        order,
        state="failed",
        finished_at=order.finished_at if order.state == "failed" else at,
        settled_cents=order.settled_cents if settled_cents is None else settled_cents,
        error=order.error if error is None else error,
    )


def save(order: Order, *, seen: Order, paths: tuple[str, ...]) -> Order:
    """Note where the pictures lie; whoever noted it first, of those who have seen the same, is right."""
    is_as_seen = (order.paths, order.save_to) == (seen.paths, seen.save_to)
    return replace(order, paths=paths) if is_as_seen else order
