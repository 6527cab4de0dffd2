"""Every picture ever asked for, per owner; written before the money is spent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anyio

from flux2_mcp import telemetry
from flux2_mcp.errors import HistoryUnusable, same_again
from flux2_mcp.history.batches import Batches, Work
from flux2_mcp.history.orders import (
    DailyCap,
    Intent,
    Order,
    Page,
    State,
    accept,
    catch_up,
    complete,
    doubt,
    fail,
    give_up,
    handle_of,
    ids_in,
    new_id,
    prepare,
    save,
    utcnow,
)
from flux2_mcp.history.resuming import AFTER_ALL, BEFORE_ALL, RESUME_WITHIN, Arrival

if TYPE_CHECKING:
    from flux2_mcp.history.database import Database
    from flux2_mcp.history.queries import Queries

__all__ = [
    "BEFORE_ALL",
    "FILE_NAME",
    "RESUME_WITHIN",
    "Arrival",
    "History",
    "Intent",
    "Order",
    "Page",
    "State",
    "handle_of",
    "ids_in",
    "utcnow",
]

FILE_NAME = "history.sqlite3"
PAGE_LIMIT = 1000

MEMORY_ONLY = (
    "No history is kept on disk: after a restart earlier pictures cannot be listed, an interrupted order cannot be "
    "found again, and a daily limit starts anew."
)
ELSEWHERE = same_again(" in a minute. If that does not help, tell whoever runs this server.")
"""What callers can do who cannot mend it."""
HASHES_ONLY = "History keeps no prompts: words cannot be searched."


Kind = tuple[str, str, str, str | None, int]
"""Owner, action, model, resolution, and of how many orders."""
DURATIONS_LAST = 1.0
"""Seconds for which durations that were read are used again."""
MOST_DURATIONS = 1000
"""Kinds of which they are kept."""


@dataclass(frozen=True)
class _Durations:
    seconds: list[float]
    good_until: float
    """By the event loop's clock."""


class History:
    """The orders of every owner; use it from one event loop.

    The database is opened when first needed, and used in worker threads. With the `url` of a PostgreSQL server the
    folder is not used. Where it `is_hosted`, callers are told nothing of where it is kept: they cannot mend it.

    A write is completed even when the caller is cancelled: the id of a paid task is never lost. It takes milliseconds;
    for another process a transaction waits `lock_patience` seconds at most.

    Where the database cannot be read or written, methods raise HistoryUnusable, so that nothing is ordered. Those that
    note what became of an order go on with what is known, so that it still reaches the host.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        mode: Literal["on", "private", "off"] = "on",
        now: Callable[[], datetime] = utcnow,
        url: str | None = None,
        lock_patience: float = 5.0,
        is_hosted: bool = False,
    ) -> None:
        self._folder = None if mode == "off" or url else folder
        self._url = None if mode == "off" else url
        self._keeps_words = mode != "private"
        self.now = now
        """What time it is for this history."""
        self._lock_patience = lock_patience
        self._is_hosted = is_hosted
        self._database: Database | None = None
        self._opening = threading.Lock()
        self._durations: dict[Kind, _Durations] = {}
        self._redirected: dict[str, str] = {}
        """Where orders are to be saved, by id, as far as that could not be written down."""
        self._writes = Batches(self._write, completes=True)
        self._reads = Batches(self._read, completes=False)

    @property
    def note(self) -> str:
        """What a user gives up by the mode, as a sentence; empty when everything is kept."""
        if not (self._folder or self._url):
            return MEMORY_ONLY
        return "" if self._keeps_words else HASHES_ONLY

    @property
    def degraded(self) -> str:
        """What is wrong with the history, as a sentence; empty when all is well."""
        return self._database.degraded if self._database else ""

    async def open_orders(
        self,
        intents: Iterable[Intent],
        *,
        owner: str,
        resume_within: timedelta | None,
        arrival: Arrival = AFTER_ALL,
        check: Callable[[int], None] = lambda _: None,
        daily_cap_cents: int | None = None,
    ) -> list[tuple[Order, bool]]:
        """Give, for each intent, the order that it resumes and True, or a new order and False. All or none.

        An order of the same owner with the same fingerprint and position is resumed while it is not older than
        `resume_within` and still runs, is in doubt, or has a result that was not delivered before `arrival`. With None
        nothing is resumed, and later calls resume the new orders. One transaction decides, for all processes.

        Where some are new, `check` is given how many; what it raises keeps them from being made. It is called in a
        worker thread, and must not take long.

        Raises:
            HistoryUnusable: it cannot be written.
            OverLimit: the new orders would bring what is spent or reserved since midnight UTC
                above `daily_cap_cents`. An unknown estimate counts as nothing.
        """
        wanted, at = list(intents), self.now()
        resume_since = None if resume_within is None else at - resume_within
        cap = None if daily_cap_cents is None else DailyCap(daily_cap_cents, _midnight(at))
        opened = await self._writes.do(
            owner,
            lambda queries: queries.open_orders(
                owner, wanted, at=at, resume_since=resume_since, arrival=arrival, check=check, cap=cap
            ),
        )
        for order, is_resumed in opened:
            if not is_resumed:
                telemetry.COST_RESERVED.add(order.estimated_cents or 0, {telemetry.MODEL: order.model})
        return opened

    async def resumable(
        self, intents: Iterable[Intent], *, owner: str, resume_within: timedelta, arrival: Arrival = AFTER_ALL
    ) -> int:
        """Say how many of these `open_orders` would resume at this moment."""
        wanted, since = list(intents), self.now() - resume_within
        return await self._reads.do(
            owner, lambda queries: queries.resumable(owner, wanted, since=since, arrival=arrival)
        )

    async def prepared(self, order: Order, *, request: Mapping[str, object]) -> tuple[Order, bool]:
        """Note the exact body to send, unless one was noted before; say whether this is the one that stays.

        In private mode only the addresses of its sources are noted.

        Raises:
            HistoryUnusable: it cannot be written, and so must not be sent.
        """

        def noted(queries: Queries) -> tuple[Order, bool]:
            found: list[Order] = []

            def step(before: Order) -> Order:
                found.append(before)
                return prepare(before, request=request)

            after = queries.change(order, step)
            return after, found[-1].request is None and after.request is not None

        return await self._writes.do(order.owner, noted)

    async def redirected(self, order: Order, *, save_to: str) -> Order:
        """Note that its pictures are wanted somewhere else than was said before."""
        try:
            changed = await self._writes.do(
                order.owner, lambda queries: queries.change(order, partial(replace, save_to=save_to, paths=()))
            )
        except HistoryUnusable:
            # On a full disk this is how a picture is saved elsewhere.
            self._redirected[order.id] = save_to
            return replace(order, save_to=save_to, paths=())
        self._redirected.pop(order.id, None)
        return changed

    async def accepted(self, order: Order, *, task_id: str, dialect: str) -> Order:
        """Note the task that RunAPI made of the order."""
        return await self._changed(order, partial(accept, task_id=task_id, dialect=dialect, at=self.now()))

    async def unknown(self, order: Order, *, error: str) -> Order:
        """Note that the answer to the create request was lost."""
        return await self._changed(order, partial(doubt, error=error))

    async def given_up(self, order: Order, *, error: str) -> Order:
        """Note that the order will not be sent any more; if it was, or is about to be, it stays as it is.

        Whoever notes afterwards what is to be sent finds it failed.
        """
        return await self._changed(order, partial(give_up, error=error, at=self.now()))

    async def finished(
        self,
        order: Order,
        *,
        state: Literal["completed", "failed"],
        urls: Sequence[str] = (),
        urls_expire_at: datetime | None = None,
        settled_cents: int | None = None,
        error: str | None = None,
    ) -> Order:
        """Note how it ended, once or often.

        A completed order never fails afterwards; a failed one can turn out completed. A failure that is reported
        without knowing of a task does not end an order that has one by now, or may have: look at what is returned.
        """
        at = self.now()
        if state == "completed":
            step = partial(
                complete, urls=tuple(urls), urls_expire_at=urls_expire_at, settled_cents=settled_cents, at=at
            )
        else:
            step = partial(fail, seen=order, settled_cents=settled_cents, error=error, at=at)
        before = order

        def ended(found: Order) -> Order:
            nonlocal before
            before = found
            return step(found)

        after = await self._changed(order, ended)
        if after.is_over and not before.is_over and not after.made_elsewhere:
            _measure_end(after)
        return after

    async def saved(self, order: Order, paths: Iterable[Path | str]) -> Order:
        """Note where the pictures of the order lie, instead of what `order` says.

        If something else was noted since `order` was read, or they are wanted elsewhere by now, nothing is noted: look
        at what is returned.
        """
        where = tuple(str(path) for path in paths)
        return await self._changed(order, partial(save, seen=order, paths=where))

    async def delivered(self, *order_ids: str, owner: str) -> None:
        """Count a delivery: the same words mean new pictures for every call that comes from now on."""
        with suppress(HistoryUnusable):  # at worst they are shown a second time
            await self._writes.do(owner, lambda queries: queries.deliver(owner, order_ids))

    async def deliveries(self, owner: str) -> int:
        """How many deliveries were counted."""
        return await self._reads.do(owner, lambda queries: queries.deliveries(owner))

    async def find(self, owner: str, id: str) -> Order | None:
        """Find an order of this owner by our id or by RunAPI's."""
        return await self._reads.do(owner, lambda queries: queries.find(owner, id))

    async def latest(self, order: Order) -> Order:
        """The order as it is now, which may be further on than the caller saw it, or could note."""
        found = None
        with suppress(HistoryUnusable):
            found = await self.find(order.owner, order.id)
        latest = catch_up(found, seen=order) if found else order
        return replace(latest, save_to=self._redirected.get(order.id, latest.save_to))

    async def adopt(self, *, owner: str, task_id: str, action: str, dialect: str) -> Order:
        """Note a task that was made elsewhere, or give the order that it already is; `finished` adds the rest."""
        order = Order(
            id=new_id(),
            owner=owner,
            fingerprint="",
            position=0,
            idempotency_key="",
            service="",
            action=action,
            model="",
            resolution=None,
            request=None,
            prompt="",
            state="accepted",
            task_id=task_id,
            dialect=dialect,
            created_at=self.now(),
        )
        try:
            return await self._writes.do(owner, lambda queries: queries.adopt(order))
        except HistoryUnusable:
            return order

    async def recent(
        self, owner: str, *, limit: int = 20, states: Sequence[State] = (), text: str = "", before: str | None = None
    ) -> Page:
        """Give this owner's orders, newest first, from the cursor `before` on; `limit` is 1 to 1000.

        No `states` means all of them. Every word of `text` has to occur in the prompt, in any case and script; in
        private mode none does.

        Raises:
            RequestRefused: `before` is not a cursor.
        """
        at_most = min(max(1, limit), PAGE_LIMIT)
        return await self._reads.do(
            owner, lambda queries: queries.recent(owner, limit=at_most, states=states, text=text, before=before)
        )

    async def unfinished(self, owner: str) -> list[Order]:
        """Give the orders that were left open, oldest first: for the start after a crash."""
        return await self._reads.do(owner, lambda queries: queries.unfinished(owner))

    async def unseen(self, owner: str) -> list[Order]:
        """Give the completed orders that were neither saved nor delivered while their links live, oldest first."""
        return await self._reads.do(owner, lambda queries: queries.unseen(owner, at=self.now()))

    async def durations(
        self, owner: str, *, action: str, model: str, resolution: str | None, limit: int = 50
    ) -> list[float]:
        """Give the seconds from accepted to finished of recent completed orders like this one, newest first.

        Those that were finished in the last second may be missing.
        """
        kind = (owner, action, model, resolution, limit)
        known = self._durations.get(kind)
        if known is None or anyio.current_time() >= known.good_until:
            known = _Durations(await self._durations_of(kind), anyio.current_time() + DURATIONS_LAST)
            if len(self._durations) >= MOST_DURATIONS:
                self._durations.clear()
            self._durations[kind] = known
        return known.seconds

    async def _durations_of(self, kind: Kind) -> list[float]:
        owner, action, model, resolution, limit = kind
        found: list[timedelta] = []
        with suppress(HistoryUnusable):  # it is only for the pace of looking
            found = await self._reads.do(
                owner,
                lambda queries: queries.durations(
                    owner, action=action, model=model, resolution=resolution, limit=limit
                ),
            )
        return [duration.total_seconds() for duration in found]

    def midnight(self) -> datetime:
        """When the day of a daily budget begins: in UTC, so that it is the same for every process and host."""
        return _midnight(self.now())

    async def spent_cents(self, owner: str, *, since: datetime) -> int:
        """Add up the orders made since then: settled, else estimated, reservations included, failed ones free."""
        return await self._reads.do(owner, lambda queries: queries.spent_cents(owner, since=since))

    async def owners(self) -> dict[str, int]:
        """Say whose orders there are, and how many: for the person to whom the whole file belongs."""
        return await self._reads.do("", lambda queries: queries.owners())

    async def forget(self, owner: str, *, before: datetime | None = None) -> int:
        """Delete this owner's orders, or those made before a time, from the file too; say how many."""
        count = await self._writes.do(owner, lambda queries: queries.forget(owner, before=before))
        await anyio.to_thread.run_sync(self._opened().empty_log)
        return count

    async def forget_one(self, owner: str, id: str) -> int:
        """Delete one order of this owner that is over, by our id or RunAPI's, from the file too; 0 where none is."""
        count = await self._writes.do(owner, lambda queries: queries.forget_one(owner, id))
        await anyio.to_thread.run_sync(self._opened().empty_log)
        return count

    async def aclose(self) -> None:
        """Close the database; the next call opens it again."""
        if self._database:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._database.close)

    async def _changed(self, order: Order, step: Callable[[Order], Order]) -> Order:
        """Apply a step to the order; where that cannot be written, to what the caller has seen of it."""
        try:
            return await self._writes.do(order.owner, lambda queries: queries.change(order, step))
        except HistoryUnusable:
            return step(order)

    def _write(self, works: Sequence[Work[Any]]) -> None:
        self._opened().write(works)

    def _read(self, works: Sequence[Work[Any]]) -> None:
        self._opened().read(works)

    def _opened(self) -> Database:
        with self._opening:
            if self._database is None:
                self._database = self._made()
            return self._database

    def _made(self) -> Database:
        # SQLAlchemy is imported here, in a worker thread and when the first order comes.
        remedy = ELSEWHERE if self._is_hosted else None
        if self._url:
            from flux2_mcp.history.server_database import ServerDatabase

            return ServerDatabase(self._url, keeps_words=self._keeps_words, patience=self._lock_patience, remedy=remedy)
        if self._folder:
            from flux2_mcp.history.file_database import FileDatabase

            return FileDatabase(
                self._folder,
                keeps_words=self._keeps_words,
                patience=self._lock_patience,
                now=self.now,
                remedy=remedy,
                name="its file" if self._is_hosted else "",
            )
        from flux2_mcp.history.database import MemoryDatabase

        return MemoryDatabase(keeps_words=self._keeps_words, patience=self._lock_patience, remedy=remedy)


def _measure_end(order: Order) -> None:
    about = {telemetry.MODEL: order.model, telemetry.OUTCOME: order.state}
    if order.accepted_at and order.finished_at:
        telemetry.TASK_DURATION.record((order.finished_at - order.accepted_at).total_seconds(), about)
    usual = order.estimated_cents if order.state == "completed" else 0
    cents = usual if order.settled_cents is None else order.settled_cents
    telemetry.COST_SPENT.add(cents or 0, about)


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)
