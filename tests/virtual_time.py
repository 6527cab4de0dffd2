"""An event loop whose clock moves only when nothing else does, so that a test of a wait takes no time.

It is for tests that live in one process and open no socket: `pytestmark = pytest.mark.virtual_time`. The clock stands
still while a thread works, so that what takes 3 s by it does so whatever else the machine has to do.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from queue import Queue


ONE_MOMENT = 0.001
"""Seconds of real time."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._now = 0.0
        self._running = set[asyncio.Future[Any]]()
        super().__init__(_ClockedSelector(self))

    def time(self) -> float:
        return self._now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:  # noqa: ANN401 asyncio's own
        """Run it, and note that it runs: names are looked up in such threads."""
        running = super().run_in_executor(executor, func, *args)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return running

    @property
    def works_elsewhere(self) -> bool:
        """Whether a thread does something for this loop."""
        workers = [each for each in threading.enumerate() if getattr(each, "loop", None) is self]
        anyios = (cast("Queue[object]", getattr(each, "queue")) for each in workers)  # noqa: B009
        return bool(self._running) or any(queue.unfinished_tasks for queue in anyios)

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
        if timeout > 0 and self._loop.works_elsewhere:
            return super().select(ONE_MOMENT)
        # A thread may have finished since the loop saw that there is nothing to do; what it has to say comes first.
        if events := super().select(0):
            return events
        self._loop.advance(max(0.0, timeout))
        return []
