"""A ticket: one call that its client may leave, and what becomes of it. To the client it is a task of the extension."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, ErrorData, InputRequiredResult

from flux2_mcp.app_state import AppState
from flux2_mcp.history import handle_of
from flux2_mcp.studio import Job

Outcome = CallToolResult | InputRequiredResult | ErrorData

GRACE = 0.1
"""Seconds for a call to end by itself before its ticket is handed out: an answer now is better than one later."""
LATE = 2.0
"""Seconds that a client waits at least for RunAPI to accept an order that is in the history."""


def nothing() -> None:
    """What is done about a result that delivers no picture."""


def working() -> str:
    """What is said of a call that has not said how far it is."""
    return "Getting ready"


@dataclass(eq=False)
class Ticket:
    """One call in the hands of this process."""

    owner: str = ""
    id: str = ""
    """Made of its orders' ids, so that every process finds them by it; empty until they are in the history."""
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    words: Callable[[], str] = working
    """Says how far it is."""
    delivered: Callable[[], None] = nothing
    """To be called when its result goes to the client."""
    outcome: Outcome | None = None
    jobs: Sequence[Job] = ()
    """What it has ordered, or looks at."""
    refusal: str = ""
    """Why it cannot be carried out now; it can be later."""
    is_handed_out: bool = False
    is_cancelled: bool = False
    look_ends_at: float = 0.0
    """Until then, on the event loop's clock, whoever asks waits for the look by which it was taken up."""
    ended: anyio.Event = field(default_factory=anyio.Event)
    _scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _news: anyio.Event = field(default_factory=anyio.Event)
    _late_at: float | None = None

    @property
    def scope(self) -> anyio.CancelScope:
        """Around the call while it is carried out."""
        return self._scope

    @property
    def is_settled(self) -> bool:
        """Whether it is known what became of everything that it ordered."""
        return bool(self.jobs) and all(job.is_settled for job in self.jobs)

    @property
    def is_final(self) -> bool:
        """Whether its outcome is the last word: a picture that is still to come is none."""
        return self.outcome is not None and (self.is_settled or not self.jobs)

    def ordered(self, jobs: Sequence[Job], words: Callable[[], str]) -> None:
        """Note how its orders are, which are in the history now."""
        self.jobs, self.words = jobs, words
        if not self.id:
            orders = [job.order for job in jobs]
            created_at = min(order.created_at for order in orders)
            self.named(handle_of(orders), owner=orders[0].owner, created_at=created_at)
        self.updated_at = datetime.now(UTC)
        self._news.set()

    def named(self, id: str, *, owner: str, created_at: datetime) -> None:
        """From now on it can be found by this id."""
        self.id, self.owner, self.created_at = id, owner, created_at
        self._late_at = anyio.current_time() + LATE
        self._news.set()

    def end(self) -> None:
        """Note that nothing more comes of it."""
        self.updated_at = datetime.now(UTC)
        self.ended.set()
        self._news.set()

    def cancel(self) -> None:
        """Stop waiting. What was ordered goes on."""
        self.is_cancelled = True
        self._scope.cancel()
        self.end()

    async def due(self) -> None:
        """Wait until it has ended, or can be handed out."""
        while not (self.ended.is_set() or self._is_accepted or self._is_late):
            self._news = anyio.Event()
            with anyio.move_on_after(LATE):
                await self._news.wait()
        with anyio.move_on_after(GRACE):
            await self.ended.wait()

    async def looked_at(self) -> None:
        """Wait for the look by which it was taken up, if that is still going on."""
        with anyio.CancelScope(deadline=self.look_ends_at):
            await self.ended.wait()

    @property
    def _is_accepted(self) -> bool:
        return bool(self.id) and all(job.is_accepted for job in self.jobs)

    @property
    def _is_late(self) -> bool:
        return self._late_at is not None and anyio.current_time() >= self._late_at


@dataclass(kw_only=True)
class TicketContext(ServerRequestContext[AppState]):
    """The request of a call that has a ticket."""

    ticket: Ticket

    @classmethod
    def of(cls, ctx: ServerRequestContext[AppState], ticket: Ticket) -> TicketContext:
        """The same request with a ticket, and without what ends with its answer."""
        known: dict[str, Any] = {each.name: getattr(ctx, each.name) for each in fields(ServerRequestContext)}
        known["request"] = None
        return cls(**known, ticket=ticket)


def ticket_of(ctx: Context[AppState]) -> Ticket | None:
    """The ticket of this call, if it has one."""
    request = ctx.request_context
    return request.ticket if isinstance(request, TicketContext) else None
