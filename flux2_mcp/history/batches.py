"""Work on the history that comes together shares one transaction, and so one wait for the disk: group commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import anyio
import anyio.to_thread

from flux2_mcp import telemetry
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
    done: anyio.Event = field(default_factory=anyio.Event)

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
    returned. Once asked for, work is done also if the caller is cancelled; with `completes` it waits even then.
    """

    def __init__(self, run: Callable[[Sequence[Work[Any]]], None], *, completes: bool) -> None:
        self._run = run
        self._completes = completes
        self._gathered: list[Work[Any]] = []
        self._runner: asyncio.Task[None] | None = None
        self._thread = anyio.CapacityLimiter(1)

    async def do(self, owner: str, do: Callable[[Queries], T]) -> T:
        """Do this with the next batch.

        Raises:
            Exception: As in `Work.outcome`.
        """
        work = Work(owner, do)
        self._gathered.append(work)
        telemetry.HISTORY_QUEUE.add(1)
        if self._runner is None:
            # A task that is nobody's: Ctrl-C cancels the task of a command, and no shield keeps that out.
            self._runner = asyncio.create_task(self._run_all())
        with anyio.CancelScope(shield=self._completes):
            await work.done.wait()
        return work.outcome()

    async def _run_all(self) -> None:
        try:
            while self._gathered:
                batch, self._gathered = self._gathered[:MOST_TOGETHER], self._gathered[MOST_TOGETHER:]
                await self._run_one(batch)
        finally:
            self._runner = None

    async def _run_one(self, batch: Sequence[Work[Any]]) -> None:
        try:
            await anyio.to_thread.run_sync(self._run, batch, limiter=self._thread)
        except Exception as error:  # noqa: BLE001 raised by each of them
            for work in batch:
                work.error = error
        finally:
            telemetry.HISTORY_QUEUE.add(-len(batch))
            for work in batch:
                work.done.set()
