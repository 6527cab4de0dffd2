"""The history and the account as data, in US dollars."""

from __future__ import annotations

from datetime import datetime
from typing import get_args

from pydantic import BaseModel

from flux2_mcp.history import Order, State
from flux2_mcp.presenters.results import about_sharing
from flux2_mcp.studio import Account, Studio
from flux2_mcp.text import sendable

STATES: dict[str, tuple[State, ...]] = {
    "": get_args(State),
    "running": ("intended", "accepted", "unknown"),
    "completed": ("completed",),
    "failed": ("failed",),
}


class Entry(BaseModel):
    """One picture that was asked for."""

    task_id: str
    status: str
    model: str
    prompt: str
    asked_at: datetime
    cost_usd: float | None = None
    files: list[str] = []
    urls: list[str] = []
    urls_expire_at: datetime | None = None
    error: str | None = None


class Entries(BaseModel):
    """Some pictures, newest first."""

    tasks: list[Entry]
    next_cursor: str | None = None
    note: str | None = None


class Money(BaseModel):
    """An account and its limits, in US dollars."""

    balance_usd: float | None = None
    spent_today_usd: float
    left_today_usd: float | None = None
    max_cost_per_call_usd: float | None = None


async def entries(
    studio: Studio,
    *,
    limit: int = 20,
    states: tuple[State, ...] = (),
    text: str = "",
    cursor: str = "",
    typed: bool = False,
) -> Entries:
    """One page of this owner's history."""
    page = await studio.history.recent(studio.owner, limit=limit, states=states, text=text, before=cursor or None)
    notes = [
        studio.history.degraded or studio.history.note,
        *(about_sharing(order, typed=typed) for order in page.orders),
    ]
    note = " ".join(filter(None, notes))
    return Entries(tasks=[_entry(order) for order in page.orders], next_cursor=page.cursor, note=note or None)


def money(account: Account) -> Money:
    """The same in dollars."""
    return Money(
        balance_usd=in_dollars(account.balance),
        spent_today_usd=account.spent_today / 100,
        left_today_usd=in_dollars(account.left_today),
        max_cost_per_call_usd=in_dollars(account.per_call),
    )


def _entry(order: Order) -> Entry:
    return Entry(
        task_id=order.handle,
        status="running" if order.state in STATES["running"] else order.state,
        model=order.model,
        prompt=order.prompt,
        asked_at=order.created_at,
        cost_usd=in_dollars(order.settled_cents),
        files=[sendable(path) for path in order.paths if path],
        urls=list(order.urls),
        urls_expire_at=order.urls_expire_at,
        error=sendable(order.error),
    )


def in_dollars(cents: int | None) -> float | None:
    """US cents as dollars."""
    return None if cents is None else cents / 100
