"""flux2-mcp recover: fetch what was finished while nobody looked."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import anyio

from flux2_mcp.command import command
from flux2_mcp.errors import OutcomeUnknown, TaskOutOfSight
from flux2_mcp.server.wiring import Surroundings, connected
from flux2_mcp.settings import Settings
from flux2_mcp.studio import Piece

STILL_OPEN = 5
"""The exit code that `generate` and `remix` have for it too."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `recover` takes: nothing."""
    parser.epilog = "exit codes: 0 nothing is open any more, 5 a picture is still being made or unknown"
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Look once at every order that was left open, and say what was found; 5 when some are open still."""
    return anyio.run(_recover)


async def _recover() -> int:
    async with connected(Surroundings(Settings.from_environ(os.environ), home=Path.home())) as wiring:
        studio = await wiring.studio()
        pieces = await studio.recover()
        lost = [order for order in await studio.history.unfinished(studio.owner) if order.state != "accepted"]
    for piece in pieces:
        print(_line(piece))
    for order in lost:
        print(
            f"{order.id}: it is not known whether RunAPI has it. Run the same command again, or "
            f"`{command(f'status {order.id}')}`, which asks with the same Idempotency-Key."
        )
    if not pieces and not lost:
        print("Nothing was left open.")
    return STILL_OPEN if lost or any(_is_open(piece) for piece in pieces) else 0


def _is_open(piece: Piece) -> bool:
    """Whether it is still being made, or nobody could tell."""
    return isinstance(piece.error, OutcomeUnknown | TaskOutOfSight) or not (piece.error or piece.is_made)


def _line(piece: Piece) -> str:
    if piece.error:
        return f"{piece.id}: {piece.error}"
    if not piece.is_made:
        return f"{piece.id}: still being made."
    return f"{piece.id}: made; " + ", ".join(str(shot.path or shot.url) for shot in piece.shots)
