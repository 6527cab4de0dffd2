"""How calls that order begin: a few at a time."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import anyio

from flux2_mcp.errors import Flux2Error, same_again
from flux2_mcp.studio import Job, Report

MOST = 10
"""Calls that begin at a time."""
LONGEST = 0.25
"""Seconds for which a call counts as one that begins. What takes longer waits for somebody else, and takes no CPU."""
ENDING = "This server is shutting down."


class Starts:
    """Lets few calls begin at a time: until all that one orders is on its way to RunAPI, or it has ended.

    To begin takes most of a call's CPU. Where hundreds come at once and all begin, a picture that is done takes seconds
    to be delivered. Here most wait in a row, before anything is ordered for them, and the others finish meanwhile.
    """

    def __init__(self, *, longest: float = LONGEST) -> None:
        self.longest = longest
        self._row = anyio.Lock()
        self._beginning: dict[Call, float] = {}
        """Until when each counts, the oldest first."""
        self._fewer = anyio.Event()
        self._is_over = False

    @contextmanager
    def call(self) -> Generator[None]:
        """While a call is carried out, which may begin or not."""
        call = Call(self)
        before = _call.set(call)
        try:
            yield
        finally:
            _call.reset(before)
            self.has_begun(call)

    async def begin(self, call: Call) -> None:
        """Wait until it is the turn of this call.

        Raises:
            Flux2Error: No call begins any more.
        """
        async with self._row:
            while len(self._beginning) >= MOST and not self._is_over:
                oldest, until = next(iter(self._beginning.items()))
                with anyio.CancelScope(deadline=until):
                    await self._fewer.wait()
                if anyio.current_time() >= until:
                    self.has_begun(oldest)
            self.check()
            self._beginning[call] = anyio.current_time() + self.longest

    def check(self) -> None:
        """See that calls may order something.

        Raises:
            Flux2Error: No more.
        """
        if self._is_over:
            raise Flux2Error(ENDING, charge="Nothing was ordered.", remedy=same_again(" once it is back."))

    def has_begun(self, call: Call) -> None:
        """Let the next one begin; once or often."""
        if self._beginning.pop(call, None):
            self._let_look()

    def end(self) -> None:
        """Let no call order anything any more: the server has to end, and what is ordered now could not be told."""
        self._is_over = True
        self._let_look()

    def _let_look(self) -> None:
        self._fewer.set()
        self._fewer = anyio.Event()


class Call:
    """One call, to which its turn comes."""

    def __init__(self, starts: Starts) -> None:
        self.starts = starts


_call: ContextVar[Call | None] = ContextVar("call", default=None)


async def begin() -> None:
    """Wait until it is the turn of the call that this is carried out for."""
    if call := _call.get():
        await call.starts.begin(call)


def check_may_order() -> None:
    """See that this call may still order something: the person may have been asked in between.

    Raises:
        Flux2Error: The server has to end.
    """
    if call := _call.get():
        call.starts.check()


def until_sent(report: Report) -> Report:
    """The same, and it lets the next call begin once all orders of this one are on their way to RunAPI."""
    call = _call.get()

    def reported(jobs: Sequence[Job]) -> None:
        if call and all(job.is_on_its_way for job in jobs):
            call.starts.has_begun(call)
        report(jobs)

    return reported
