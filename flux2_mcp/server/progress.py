"""What a person sees while they wait: one line that moves, at every look and at least every three seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio
from mcp.server.mcpserver import Context

from flux2_mcp.background import meanwhile
from flux2_mcp.server.results import title_of
from flux2_mcp.server.state import AppState
from flux2_mcp.studio import Job, Report, Studio

AT_LEAST_EVERY = 3.0
"""Seconds."""


@asynccontextmanager
async def progress(ctx: Context[AppState], studio: Studio) -> AsyncGenerator[Report, None]:
    """Report to the client for as long as the call lasts; yields where to tell what is new.

    Without a token of the client's, nothing is sent: the SDK sees to that. Notifications go out in a task of their
    own, because a client that stops reading must not stop the looking.
    """
    line = _Line(ctx, studio)
    async with meanwhile(line.keep_moving):
        yield line.report


class _Line:
    def __init__(self, ctx: Context[AppState], studio: Studio) -> None:
        self._ctx = ctx
        self._studio = studio
        self._began = anyio.current_time()
        self._last = -1.0
        self._pieces: Sequence[Job] = ()
        self._news = anyio.Event()

    def report(self, jobs: Sequence[Job]) -> None:
        self._pieces = jobs
        self._news.set()

    async def keep_moving(self) -> None:
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
        if self._studio.runapi.is_throttled and any(not job.is_over for job in self._pieces):
            return f"{words_for(self._pieces)}; RunAPI limits the pace, so requests wait their turn"
        return words_for(self._pieces)

    def _total(self) -> float | None:
        """How long it usually takes, as long as that is ahead."""
        expected = [job.expected_seconds for job in self._pieces if job.expected_seconds]
        return max(expected) if expected and max(expected) > self._last else None


def words_for(jobs: Sequence[Job]) -> str:
    """Where these jobs stand, in words that a person can use."""
    if not jobs:
        return "Getting ready"
    if len(jobs) == 1:
        return _stage(jobs[0])
    stages = Counter(_stage(job) for job in jobs if not job.is_over)
    stage = stages.most_common(1)[0][0] if stages else _last_stage(jobs)
    return f"{stage}, {len(jobs) - stages.total()} of {len(jobs)} done"


def _stage(job: Job) -> str:
    if job.error:
        return "It failed"
    if job.is_made:
        return _last_stage([job])
    if job.task is None:
        return job.stage or "Sending the order to RunAPI"
    if job.poll_error:
        return "RunAPI did not answer the last look; asking again"
    doing = "waits in RunAPI's queue" if job.task.status == "pending" else "is painting"
    return f"{title_of(job.order)} {doing}"


def _last_stage(jobs: Sequence[Job]) -> str:
    """What is done for jobs of which RunAPI has made all that it will."""
    what = "picture" if len(jobs) == 1 else "pictures"
    found = [image for job in jobs for image in job.images]
    is_left = bool(found) and not any(image.wanted for image in found)
    return f"RunAPI has made the {what}" if is_left else f"Fetching the {what}"
