"""Work on the history that comes together shares one transaction, and so one wait for the disk: group commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import anyio
import anyio.to_thread

from flux2_mcp.errors import HistoryUnusable

if TYPE_CHECKING:
    from flux2_mcp.history.queries import Queries

T = TypeVar("T")

MOST_TOGETHER = 64
"""Works in one transaction; more would hold up other processes, and save next to nothing."""


@dataclass(eq=False)
class Work(Generic[T]):
    """Something to do within a transaction, and what came of it."""

    owner: str
    """Whose orders it may change."""
    do: Callable[[Queries], T]
    result: T | None = None
    error: Exception | None = field(default_factory=lambda: HistoryUnusable("The server is stopping."))
    is_done: bool = False
    turn: anyio.Event = field(default_factory=anyio.Event)
    """Set when it is done, or when whoever waits for it is to run the next batch."""

    def outcome(self) -> T:
        """What it came to.

        Raises:
            Exception: What the work raised, or why its transaction could not be.
        """
        if self.error is not None:
            raise self.error
        return cast("T", self.result)


class Batches:
    """Runs works in a worker thread, one batch after the other: those that come during one make up the next.

    `run` does a batch in one transaction, and notes in each work what came of it. Nobody is told before it has
    returned. Once asked for, work is done even if the caller is cancelled.
    """

    def __init__(self, run: Callable[[Sequence[Work[Any]]], None]) -> None:
        self._run = run
        self._gathered: list[Work[Any]] = []
        self._is_running = False
        self._thread = anyio.CapacityLimiter(1)

    async def do(self, owner: str, do: Callable[[Queries], T]) -> T:
        """Do this with the next batch.

        Raises:
            Exception: As in `Work.outcome`.
        """
        work = Work(owner, do)
        with anyio.CancelScope(shield=True):
            self._gathered.append(work)
            if self._is_running:
                await work.turn.wait()
            if not work.is_done:
                await self._run_next()
        return work.outcome()

    async def _run_next(self) -> None:
        """Run the first of those that wait; one of the rest is told to run the next."""
        batch, self._gathered = self._gathered[:MOST_TOGETHER], self._gathered[MOST_TOGETHER:]
        self._is_running = True
        try:
            await anyio.to_thread.run_sync(self._run, batch, limiter=self._thread)
        except Exception as error:  # noqa: BLE001 raised by each of them
            for work in batch:
                work.error = error
        finally:
            for work in batch:
                work.is_done = True
            for work in (*batch, *self._gathered[:1]):
                work.turn.set()
            self._is_running = bool(self._gathered)
