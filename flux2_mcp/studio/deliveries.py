"""Which results a host has been given."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import anyio

from flux2_mcp import polling
from flux2_mcp.background import BackgroundTasks
from flux2_mcp.history import History
from flux2_mcp.studio.jobs import RESUME_WITHIN, Job

TIME_TO_READ = 1.0
"""Seconds that a host gets to read a result."""


class _Result(NamedTuple):
    number: int
    """Counted from 1, in this process."""
    fingerprint: str
    ordered_at: datetime


class Deliveries:
    """Which results were handed to a host. After that, the same words mean a new picture.

    The history hears of it a moment later: a process that ends before the host has read the result must not have said
    that it was delivered. Within this process it counts for every call that begins afterwards, and for no other: a call
    that had begun before may be the same one, sent again by a host that lost deadline, however long it takes to find
    out what it asks for.
    """

    def __init__(self, history: History, background: BackgroundTasks, *, sleep: polling.Sleep = anyio.sleep) -> None:
        self._history = history
        self._background = background
        self._sleep = sleep
        self._count = 0
        self._results: dict[tuple[str, str], _Result] = {}
        """By owner and order, as long as the same call could take the order up."""
        self._unwritten: set[tuple[str, str]] = set()
        """What the history has not heard of."""

    @property
    def so_far(self) -> int:
        """How many results were handed over."""
        return self._count

    def note(self, owner: str, jobs: Sequence[Job]) -> None:
        """The results of one call go to the host now; as long as a picture of it is to come, they are none yet."""
        if all(job.has_pictures or job.is_lost for job in jobs):
            self._count += 1
            orders = [job.order for job in jobs if job.has_pictures]
            results = {(owner, each.id): _Result(self._count, each.fingerprint, each.created_at) for each in orders}
            oldest = self._history.now() - RESUME_WITHIN
            recent = {key: result for key, result in self._results.items() if result.ordered_at >= oldest}
            # What is shown again was handed over at the first time.
            self._results = results | recent
            self._unwritten |= results.keys()
        self._background.start("deliveries", self._write_down_soon, matters=False)

    def since(self, began: int, *, owner: str, fingerprint: str) -> list[str]:
        """The orders that a call may have again: handed over after the first `began` results, the newest first."""
        found = [(result.number, id) for id, result in self._of(owner, fingerprint) if result.number > began]
        return [id for _, id in sorted(found, reverse=True)]

    async def settle(self, began: int, *, owner: str, fingerprint: str) -> None:
        """Tell the history now of what a call does not want again: what was handed over before it began."""
        await self._write_down({(owner, id) for id, result in self._of(owner, fingerprint) if result.number <= began})

    async def write_down(self) -> None:
        """Tell the history of everything now."""
        await self._write_down(set(self._unwritten))

    def _of(self, owner: str, fingerprint: str) -> list[tuple[str, _Result]]:
        return [
            (id, result)
            for (each, id), result in self._results.items()
            if (each, result.fingerprint) == (owner, fingerprint)
        ]

    async def _write_down(self, due: set[tuple[str, str]]) -> None:
        for owner in {owner for owner, _ in due}:
            await self._history.delivered(*(id for each, id in due if each == owner), owner=owner)
        # Only now: what the history has not heard of must not be taken for something else.
        self._unwritten -= due

    async def _write_down_soon(self) -> None:
        while due := set(self._unwritten):
            await self._sleep(TIME_TO_READ)
            await self._write_down(due)
