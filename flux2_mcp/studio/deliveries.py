"""Which results a host has been given."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from flux2_mcp import tasks
from flux2_mcp.errands import Errands
from flux2_mcp.history import History
from flux2_mcp.studio.pieces import Piece

TIME_TO_READ = 1.0
"""Seconds that a host gets to read a result."""


class Deliveries:
    """Which results were handed to a host. After that, the same words mean a new picture.

    The history hears of it a moment later: a process that is killed before the host has read the result must not have
    said that it was delivered. Within this process it counts at once.
    """

    def __init__(self, history: History, errands: Errands, *, sleep: tasks.Sleep = anyio.sleep) -> None:
        self._history = history
        self._errands = errands
        self._sleep = sleep
        self._handed_over: set[tuple[str, str]] = set()

    def note(self, owner: str, pieces: Sequence[Piece]) -> None:
        """The results of one call go to the host now; as long as a picture of it is to come, they are none yet."""
        if all(piece.has_pictures or piece.is_lost for piece in pieces):
            self._handed_over |= {(owner, piece.order.id) for piece in pieces if piece.has_pictures}
        self._errands.start("deliveries", self._write_down_soon, matters=False)

    async def write_down(self) -> None:
        """Tell the history now."""
        handed_over, self._handed_over = self._handed_over, set()
        for owner in {owner for owner, _ in handed_over}:
            await self._history.delivered(*(id for each, id in handed_over if each == owner), owner=owner)

    async def _write_down_soon(self) -> None:
        while self._handed_over:
            await self._sleep(TIME_TO_READ)
            await self.write_down()
