"""Work beside a call: background tasks, which outlive it and which several may wait for; and one that ends with it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from flux2_mcp.errors import Flux2Error, foreseen

logger = logging.getLogger(__name__)

T = TypeVar("T")

GRACE_PERIOD = 0.5
"""Seconds that background tasks may still take when the process is asked to end."""


@dataclass
class _Running(Generic[T]):
    matters: bool
    done: anyio.Event = field(default_factory=anyio.Event)
    waiters: int = 0
    result: list[T] = field(default_factory=list[T])
    error: Exception | None = None


class BackgroundTasks:
    """Background tasks by name: whoever asks for one that is running gets the result of that one."""

    def __init__(self, group: TaskGroup) -> None:
        self._group = group
        self._running: dict[str, _Running[object]] = {}
        self._waits: set[anyio.CancelScope] = set()
        self._is_ending = False

    @contextmanager
    def patience(self, until: float) -> Generator[None]:
        """Bound the wait of a call by the event loop's clock, and end it when the process is to end."""
        with anyio.CancelScope(deadline=until) as wait:
            if self._is_ending:
                wait.cancel()
            self._waits.add(wait)
            try:
                yield
            finally:
                self._waits.discard(wait)

    def end_patience(self) -> None:
        """Have every call answer now, with what it has."""
        self._is_ending = True
        for wait in self._waits:
            wait.cancel()

    async def run(self, name: str, work: Callable[[], Awaitable[T]], *, matters: bool = True) -> T:
        """Wait for the task's result. A caller that is cancelled leaves the task running.

        Raises:
            Exception: What the work raised, for every caller.
        """
        task = self.start(name, work, matters=matters)
        task.waiters += 1
        try:
            await task.done.wait()
        finally:
            task.waiters -= 1
        if task.error is not None:
            raise task.error
        return task.result[0]  # pyright: ignore[reportReturnType] a name stands for one kind of work

    def start(self, name: str, work: Callable[[], Awaitable[object]], *, matters: bool = True) -> _Running[object]:
        """Start the task, unless it is running, and do not wait for it.

        When the process ends, nobody waits for one that does not matter.
        """
        task = self._running.get(name)
        if task is None:
            task = _Running[object](matters)
            self._group.start_soon(self._do, name, task, work)
            self._running[name] = task  # only now: after the end of the process nothing can be started
        return task

    async def settled(self, name: str) -> None:
        """Wait until the task of this name is over, if it runs; start none."""
        if task := self._running.get(name):
            await task.done.wait()

    async def all_done(self) -> None:
        """Wait for everything that matters and is running now."""
        for task in list(self._running.values()):
            if task.matters:
                await task.done.wait()

    async def _do(self, name: str, task: _Running[object], work: Callable[[], Awaitable[object]]) -> None:
        task.error = Flux2Error("The server is stopping.", charge="")
        try:
            task.result.append(await work())
            task.error = None
        except Exception as error:  # kept for those who wait, and raised there
            task.error = error
            if not task.waiters:
                # Not in its own words: RunAPI may have put the prompt into them.
                crash = None if foreseen(error) else error
                logger.warning("%s failed while nobody waited for it: %s", name, type(error).__name__, exc_info=crash)
        finally:
            del self._running[name]
            task.done.set()


@asynccontextmanager
async def background_tasks() -> AsyncGenerator[BackgroundTasks, None]:
    """Background tasks for as long as the process lives; at its end they get half a second to finish."""
    with _unwrapped():
        async with anyio.create_task_group() as group:
            tasks = BackgroundTasks(group)
            try:
                yield tasks
            finally:
                with anyio.move_on_after(GRACE_PERIOD, shield=True):
                    await tasks.all_done()
                group.cancel_scope.cancel()


@asynccontextmanager
async def meanwhile(work: Callable[..., Coroutine[Any, Any, object]], *arguments: object) -> AsyncGenerator[None, None]:
    """Do this work beside what the caller does, and stop it when that ends."""
    with _unwrapped():
        async with anyio.create_task_group() as group:
            group.start_soon(work, *arguments)
            yield
            group.cancel_scope.cancel()


@contextmanager
def _unwrapped() -> Generator[None]:
    """Raise the error inside a task group's exception group: nobody above looks into groups."""
    try:
        yield
    except ExceptionGroup as wrapped:
        raise wrapped.exceptions[0] from wrapped
