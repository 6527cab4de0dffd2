"""How calls begin: a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar

import anyio

from flux2_mcp.studio import Job, Report

MOST = 10
"""Calls that begin at a time."""
LONGEST = 0.25
"""Seconds for which a call counts as one that begins. What takes longer waits for somebody else, and takes no CPU."""


def nothing() -> None:
    """Where no call begins."""


_begun: ContextVar[Callable[[], None]] = ContextVar("begun", default=nothing)


class Starts:
    """Lets few calls begin at a time: until all that one orders is on its way to RunAPI, or it has ended.

    To begin takes most of a call's CPU. Where hundreds come at once and all begin, a picture that is done takes seconds
    to be delivered. Here most wait in a row, before anything is ordered for them, and the others finish meanwhile.
    """

    def __init__(self, *, longest: float = LONGEST) -> None:
        self.longest = longest
        self._turn = anyio.Lock()
        self._beginning: dict[object, float] = {}
        """Until when each counts, the oldest first."""
        self._fewer = anyio.Event()

    async def next(self) -> Callable[[], None]:
        """Wait until it is this call's turn to begin; gives what is to be called when it has."""
        async with self._turn:
            while len(self._beginning) >= MOST:
                oldest, until = next(iter(self._beginning.items()))
                with anyio.CancelScope(deadline=until):
                    await self._fewer.wait()
                if anyio.current_time() >= until:
                    self._end(oldest)
            this = object()
            self._beginning[this] = anyio.current_time() + self.longest

        def begun() -> None:
            self._end(this)

        _begun.set(begun)
        return begun

    def _end(self, beginning: object) -> None:
        if self._beginning.pop(beginning, None):
            self._fewer.set()
            self._fewer = anyio.Event()


def until_sent(report: Report) -> Report:
    """The same, and it lets the next call begin once all orders of this one are on their way to RunAPI."""
    begun = _begun.get()

    def reported(jobs: Sequence[Job]) -> None:
        if all(job.is_on_its_way for job in jobs):
            begun()
        report(jobs)

    return reported
