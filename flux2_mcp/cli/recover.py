"""flux2-mcp recover: fetch what was finished while nobody looked."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import anyio

from flux2_mcp.server.wiring import Surroundings, connected
from flux2_mcp.settings import Settings
from flux2_mcp.studio import Piece


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `recover` takes: nothing."""
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Look once at every order that was left open, and say what was found."""
    return anyio.run(_recover)


async def _recover() -> int:
    async with connected(Surroundings(Settings.from_environ(os.environ), home=Path.home())) as wiring:
        studio = await wiring.studio()
        pieces = await studio.recover()
        lost = [order for order in await studio.history.unfinished(studio.owner) if order.state != "accepted"]
    for piece in pieces:
        print(_line(piece))
    for order in lost:
        print(f"{order.id}: it is not known whether RunAPI has it. task_status with task_id='{order.id}' finds out.")
    if not pieces and not lost:
        print("Nothing was left open.")
    return 0


def _line(piece: Piece) -> str:
    if piece.error:
        return f"{piece.id}: {piece.error}"
    if not piece.is_made:
        return f"{piece.id}: still being made."
    return f"{piece.id}: made; " + ", ".join(str(shot.path or shot.url) for shot in piece.shots)
