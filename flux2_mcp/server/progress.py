"""What a person sees while they wait: one line that moves, at every look and at least every three seconds."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio
from mcp.server.mcpserver import Context

from flux2_mcp.app_state import AppState
from flux2_mcp.background import meanwhile
from flux2_mcp.presenters.progress import words_for
from flux2_mcp.server.sdk import hears_progress
from flux2_mcp.studio import Job, Report, Studio, no_report

AT_LEAST_EVERY = 3.0
"""Seconds."""


class ProgressLine:
    """The line of one call.

    Where the client does not listen, nothing is done. Notifications go out in a task of their own, because a client
    that stops reading must not stop the looking.
    """

    def __init__(self, ctx: Context[AppState], studio: Studio) -> None:
        self._ctx = ctx
        self._studio = studio
        self._began = anyio.current_time()
        self._last = -1.0
        self._jobs: Sequence[Job] = ()
        self._news = anyio.Event()

    @asynccontextmanager
    async def moving(self) -> AsyncGenerator[Report, None]:
        """Report to the client for as long as this is open; yields the function that takes the news."""
        if not hears_progress(self._ctx):
            yield no_report
            return
        try:
            async with meanwhile(self._keep_moving):
                yield self._report
        finally:
            self._jobs = ()  # they hold pictures, and the frames of tasks live on

    def _report(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._news.set()

    async def _keep_moving(self) -> None:
        while True:
            with anyio.move_on_after(AT_LEAST_EVERY):
                await self._news.wait()
            self._news = anyio.Event()
            elapsed = anyio.current_time() - self._began
            # The protocol wants every value above the one before, also for two looks in the same instant.
            self._last = max(round(elapsed, 2), round(self._last + 0.01, 2))
            message = f"{self._words()}, {elapsed:.0f} s"
            await self._ctx.report_progress(self._last, self._total(), message)

    def _words(self) -> str:
        words = words_for(self._jobs, self._studio.catalogue)
        if self._studio.runapi.is_throttled and any(not job.is_over for job in self._jobs):
            return f"{words}; RunAPI limits the pace, so requests wait their turn"
        if self._studio.fetcher.is_crowded and any(job.is_made and not job.has_pictures for job in self._jobs):
            return f"{words}; other pictures are fetched first"
        return words

    def _total(self) -> float | None:
        """How long it usually takes, as long as that is ahead."""
        expected = [job.expected_seconds for job in self._jobs if job.expected_seconds]
        return max(expected) if expected and max(expected) > self._last else None
