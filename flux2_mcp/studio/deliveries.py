"""Which results a host has been given."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import anyio

from flux2_mcp import tasks
from flux2_mcp.errands import Errands
from flux2_mcp.history import History
from flux2_mcp.studio.pieces import Piece

TIME_TO_READ = 1.0
"""Seconds that a host gets to read a result."""


class _Result(NamedTuple):
    number: int
    """Counted from 1, in this process."""
    wish: str


@dataclass(eq=False)
class Asking:
    """A call that has not opened its orders yet."""

    since: int
    """How many results there were when it began."""
    wish: str = ""
    """What it asks for, once that is known."""


class Deliveries:
    """Which results were handed to a host. After that, the same words mean a new picture.

    The history hears of it a moment later: a process that ends before the host has read the result must not have said
    that it was delivered. Within this process it counts for every call that begins afterwards. A call that had begun
    before may be the same one, sent again by a host that lost patience.
    """

    def __init__(self, history: History, errands: Errands, *, sleep: tasks.Sleep = anyio.sleep) -> None:
        self._history = history
        self._errands = errands
        self._sleep = sleep
        self._results = 0
        self._handed_over: dict[tuple[str, str], _Result] = {}
        """By owner and order: what the history has not heard of."""
        self._asking: list[Asking] = []

    @property
    def so_far(self) -> int:
        """How many results were handed over."""
        return self._results

    def note(self, owner: str, pieces: Sequence[Piece]) -> None:
        """The results of one call go to the host now; as long as a picture of it is to come, they are none yet."""
        if all(piece.has_pictures or piece.is_lost for piece in pieces):
            self._results += 1
            orders = [piece.order for piece in pieces if piece.has_pictures]
            results = {(owner, order.id): _Result(self._results, order.wish) for order in orders}
            self._handed_over = results | self._handed_over
        self._errands.start("deliveries", self._write_down_soon, matters=False)

    @contextmanager
    def asking(self, *, since: int) -> Generator[Asking]:
        """While a call finds out what it takes up: it may have what was handed over after the first `since` results."""
        asking = Asking(since)
        self._asking.append(asking)
        try:
            yield asking
        finally:
            self._asking.remove(asking)

    async def write_down(self) -> None:
        """Tell the history now of everything that no call may still take up."""
        await self._write_down({key for key, result in self._handed_over.items() if not self._is_held(result)})

    async def _write_down(self, due: set[tuple[str, str]]) -> None:
        self._handed_over = {key: result for key, result in self._handed_over.items() if key not in due}
        for owner in {owner for owner, _ in due}:
            await self._history.delivered(*(id for each, id in due if each == owner), owner=owner)

    def _is_held(self, result: _Result) -> bool:
        return any(result.wish == asking.wish and result.number > asking.since for asking in self._asking)

    async def _write_down_soon(self) -> None:
        while self._handed_over:
            read = self._results
            await self._sleep(TIME_TO_READ)
            # Who knows what those want that have not said it yet.
            last = min([read, *(asking.since for asking in self._asking)])
            await self._write_down({key for key, result in self._handed_over.items() if result.number <= last})
