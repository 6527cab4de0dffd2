"""What a person sees while they wait: one line that moves, at every look and at least every three seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio
from mcp.server.mcpserver import Context

from flux2_mcp.errands import meanwhile
from flux2_mcp.server.wiring import Wiring
from flux2_mcp.server.wording import title_of
from flux2_mcp.studio import Piece, Report, Studio

AT_LEAST_EVERY = 3.0
"""Seconds."""


@asynccontextmanager
async def progress(ctx: Context[Wiring], studio: Studio) -> AsyncGenerator[Report, None]:
    """Report to the client for as long as the call lasts; yields where to tell what is new.

    Without a token of the client's, nothing is sent: the SDK sees to that. Notifications go out in a task of their
    own, because a client that stops reading must not stop the looking.
    """
    line = _Line(ctx, studio)
    async with meanwhile(line.keep_moving):
        yield line.report


class _Line:
    def __init__(self, ctx: Context[Wiring], studio: Studio) -> None:
        self._ctx = ctx
        self._studio = studio
        self._began = anyio.current_time()
        self._last = -1.0
        self._pieces: Sequence[Piece] = ()
        self._news = anyio.Event()

    def report(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
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
        if self._studio.runapi.is_throttled and any(not piece.is_over for piece in self._pieces):
            return f"{words_for(self._pieces)}; RunAPI limits the pace, so requests wait their turn"
        return words_for(self._pieces)

    def _total(self) -> float | None:
        """How long it usually takes, as long as that is ahead."""
        expected = [piece.expected_seconds for piece in self._pieces if piece.expected_seconds]
        return max(expected) if expected and max(expected) > self._last else None


def words_for(pieces: Sequence[Piece]) -> str:
    """Where these pieces stand, in words that a person can use."""
    if not pieces:
        return "Getting ready"
    if len(pieces) == 1:
        return _stage(pieces[0])
    stages = Counter(_stage(piece) for piece in pieces if not piece.is_over)
    stage = stages.most_common(1)[0][0] if stages else _last_stage(pieces)
    return f"{stage}, {len(pieces) - stages.total()} of {len(pieces)} done"


def _stage(piece: Piece) -> str:
    if piece.error:
        return "It failed"
    if piece.is_made:
        return _last_stage([piece])
    if piece.task is None:
        return piece.stage or "Sending the order to RunAPI"
    if piece.trouble:
        return "RunAPI did not answer the last look; asking again"
    doing = "waits in RunAPI's queue" if piece.task.status == "pending" else "is painting"
    return f"{title_of(piece.order)} {doing}"


def _last_stage(pieces: Sequence[Piece]) -> str:
    """What is done for pieces of which RunAPI has made all that it will."""
    what = "picture" if len(pieces) == 1 else "pictures"
    shots = [shot for piece in pieces for shot in piece.shots]
    is_left = bool(shots) and not any(shot.wanted for shot in shots)
    return f"RunAPI has made the {what}" if is_left else f"Fetching the {what}"
