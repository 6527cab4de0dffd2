"""How calls begin: one by one."""

from __future__ import annotations

import anyio


class Starts:
    """Lets one call begin in each turn of the event loop.

    Where hundreds come at once, a turn in which all go on takes seconds, and a picture that is done takes several to be
    delivered. Here most wait in a row, before anything is ordered for them, and the others finish meanwhile.
    """

    def __init__(self) -> None:
        self._turn = anyio.Lock()

    async def next(self) -> None:
        """Wait until it is this call's turn to begin."""
        await self._turn.acquire()
        # Whoever is next hears of it in the next turn.
        self._turn.release()
