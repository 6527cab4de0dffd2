"""Work beside a call: such that must not die with it and that several may wait for, and such that ends with it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from flux2_mcp.errors import Flux2Error

logger = logging.getLogger(__name__)

T = TypeVar("T")

LAST_CALL = 0.5
"""Seconds that errands may still take when the process is asked to end."""


@dataclass
class _Errand(Generic[T]):
    matters: bool
    done: anyio.Event = field(default_factory=anyio.Event)
    waiters: int = 0
    result: list[T] = field(default_factory=list[T])
    error: Exception | None = None


class Errands:
    """Errands by name: whoever asks for one that is under way gets the result of that one."""

    def __init__(self, group: TaskGroup) -> None:
        self._group = group
        self._under_way: dict[str, _Errand[object]] = {}

    async def run(self, name: str, work: Callable[[], Awaitable[T]], *, matters: bool = True) -> T:
        """Wait for the errand's result. A caller that is cancelled leaves the errand running.

        Raises:
            Exception: What the work raised, for every caller.
        """
        errand = self.start(name, work, matters=matters)
        errand.waiters += 1
        try:
            await errand.done.wait()
        finally:
            errand.waiters -= 1
        if errand.error is not None:
            raise errand.error
        return errand.result[0]  # pyright: ignore[reportReturnType] a name stands for one kind of work

    def start(self, name: str, work: Callable[[], Awaitable[object]], *, matters: bool = True) -> _Errand[object]:
        """Start the errand, unless it is under way, and do not wait for it.

        When the process ends, nobody waits for one that does not matter.
        """
        errand = self._under_way.get(name)
        if errand is None:
            errand = self._under_way[name] = _Errand(matters)
            self._group.start_soon(self._do, name, errand, work)
        return errand

    async def all_done(self) -> None:
        """Wait for everything that matters and is under way now."""
        for errand in list(self._under_way.values()):
            if errand.matters:
                await errand.done.wait()

    async def _do(self, name: str, errand: _Errand[object], work: Callable[[], Awaitable[object]]) -> None:
        errand.error = Flux2Error("The server is stopping.", charge="")
        try:
            errand.result.append(await work())
            errand.error = None
        except Exception as error:
            errand.error = error
            if not errand.waiters:
                crash = None if isinstance(error, Flux2Error) else error
                logger.warning("%s failed while nobody waited for it: %s", name, error, exc_info=crash)
        finally:
            del self._under_way[name]
            errand.done.set()


@asynccontextmanager
async def errands() -> AsyncGenerator[Errands, None]:
    """Errands for as long as the process lives; at its end they get half a second to finish."""
    with _as_itself():
        async with anyio.create_task_group() as group:
            open_errands = Errands(group)
            try:
                yield open_errands
            finally:
                with anyio.move_on_after(LAST_CALL, shield=True):
                    await open_errands.all_done()
                group.cancel_scope.cancel()


@asynccontextmanager
async def meanwhile(work: Callable[..., Coroutine[Any, Any, object]], *arguments: object) -> AsyncGenerator[None, None]:
    """Do this work beside what the caller does, and stop it when that ends."""
    with _as_itself():
        async with anyio.create_task_group() as group:
            group.start_soon(work, *arguments)
            yield
            group.cancel_scope.cancel()


@contextmanager
def _as_itself() -> Generator[None]:
    """Let what the caller raised inside a task group arrive as itself: nobody above looks into groups."""
    try:
        yield
    except ExceptionGroup as wrapped:
        raise wrapped.exceptions[0] from wrapped
