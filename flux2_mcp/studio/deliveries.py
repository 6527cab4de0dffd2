"""What was delivered a moment ago, until the history counts it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from flux2_mcp import polling
from flux2_mcp.background import BackgroundTasks
from flux2_mcp.history import History
from flux2_mcp.studio.jobs import Job

TIME_TO_READ = 1.0
"""Seconds that a host gets to read a result."""


class Deliveries:
    """The deliveries of this process that the history has not counted yet.

    It counts them a second later: a process that ends before the host has read a result must not have said that it
    was delivered. Calls that come to this process meanwhile learn of them here.
    """

    def __init__(self, history: History, background: BackgroundTasks, *, sleep: polling.Sleep) -> None:
        self._history = history
        self._background = background
        self._sleep = sleep
        self._uncounted: defaultdict[str, set[str]] = defaultdict(set)
        """The orders, by owner."""

    @property
    def uncounted(self) -> Mapping[str, frozenset[str]]:
        """The orders whose results were delivered and are not counted yet, by owner."""
        return {owner: frozenset(orders) for owner, orders in self._uncounted.items() if orders}

    def uncounted_of(self, owner: str) -> frozenset[str]:
        """The same for one owner."""
        return frozenset(self._uncounted.get(owner, ()))

    def note(self, owner: str, jobs: Sequence[Job]) -> None:
        """The results of one call go to the host now; as long as a picture of it is to come, they are none yet."""
        if all(job.is_received or job.is_lost for job in jobs):
            self._uncounted[owner] |= {job.order.id for job in jobs if job.is_received}
        self._background.start("deliveries", self._count_soon, matters=False)

    async def count(self) -> None:
        """Have the history count all of them now."""
        await self._count({owner: set(orders) for owner, orders in self._uncounted.items()})

    async def _count(self, due: dict[str, set[str]]) -> None:
        for owner, orders in due.items():
            if orders:
                await self._history.delivered(*orders, owner=owner)
                # Only now: what is in neither place would be taken for a result that nobody has.
                self._uncounted[owner] -= orders
                if not self._uncounted[owner]:
                    del self._uncounted[owner]

    async def _count_soon(self) -> None:
        while any(self._uncounted.values()):
            due = {owner: set(orders) for owner, orders in self._uncounted.items()}
            await self._sleep(TIME_TO_READ)
            await self._count(due)
