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
from flux2_mcp.server.tickets import ticket_of
from flux2_mcp.studio import Job, Report, Studio, no_report

AT_LEAST_EVERY = 3.0
"""Seconds."""


class ProgressLine:
    """The line of one call.

    Where nobody listens, nothing is done. Notifications go out in a task of their own, because a client
    that stops reading must not stop the looking.
    """

    def __init__(self, ctx: Context[AppState], studio: Studio) -> None:
        self._ctx = ctx
        self._studio = studio
        self._ticket = ticket_of(ctx)
        self._began = anyio.current_time()
        self._last = -1.0
        self._jobs: Sequence[Job] = ()
        self._news = anyio.Event()

    @asynccontextmanager
    async def moving(self) -> AsyncGenerator[Report, None]:
        """Report to the client for as long as this is open; yields the function that takes the news."""
        if not hears_progress(self._ctx):
            yield self._note if self._ticket else no_report
            return
        try:
            async with meanwhile(self._keep_moving):
                yield self._report
        finally:
            self._jobs = ()  # they hold pictures, and the frames of tasks live on

    def _report(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._note(jobs)
        self._news.set()

    def _note(self, jobs: Sequence[Job]) -> None:
        """Have the call's ticket know, which others find by its orders in the history."""
        if self._ticket and (self._ticket.id or not self._studio.history.degraded):
            self._ticket.ordered(jobs, lambda: self._message(jobs))

    async def _keep_moving(self) -> None:
        while True:
            with anyio.move_on_after(AT_LEAST_EVERY):
                await self._news.wait()
            self._news = anyio.Event()
            elapsed = anyio.current_time() - self._began
            # The protocol wants every value above the one before, also for two looks in the same instant.
            self._last = max(round(elapsed, 2), round(self._last + 0.01, 2))
            if not (self._ticket and self._ticket.is_handed_out):
                await self._ctx.report_progress(self._last, self._total(), self._message(self._jobs))

    def _message(self, jobs: Sequence[Job]) -> str:
        return f"{self._words(jobs)}, {anyio.current_time() - self._began:.0f} s"

    def _words(self, jobs: Sequence[Job]) -> str:
        words = words_for(jobs, self._studio.catalogue)
        if self._studio.runapi.is_throttled and any(not job.is_over for job in jobs):
            return f"{words}; RunAPI limits the pace, so requests wait their turn"
        if self._studio.fetcher.is_crowded and any(job.is_made and not job.has_pictures for job in jobs):
            return f"{words}; other pictures are fetched first"
        return words

    def _total(self) -> float | None:
        """How long it usually takes, as long as that is ahead."""
        expected = [job.expected_seconds for job in self._jobs if job.expected_seconds]
        return max(expected) if expected and max(expected) > self._last else None
