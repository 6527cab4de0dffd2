"""An event loop whose clock moves only when nothing else does, so that a test of a wait takes no time.

It is for tests that live in one process and open no socket: `pytestmark = pytest.mark.virtual_time`. A thread that works
holds the clock: what takes 3 s by it took 3 s whatever else the machine had to do.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from queue import Queue


ONE_MOMENT = 0.001
"""Seconds of real time."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_ClockedSelector(self))

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


class _ClockedSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert len(self.get_map()) <= 1, "what comes through a socket or pipe takes real time"
        if timeout is None:
            return super().select(None)
        if timeout > 0 and _a_worker_is_busy(self._loop):
            return super().select(ONE_MOMENT)
        self._loop.advance(max(0.0, timeout))
        return super().select(0)


def _a_worker_is_busy(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether anyio has work of this loop in a thread."""
    workers = [each for each in threading.enumerate() if getattr(each, "loop", None) is loop]
    return any(cast("Queue[object]", getattr(each, "queue")).unfinished_tasks for each in workers)  # noqa: B009
