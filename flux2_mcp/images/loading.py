"""Read a picture that was saved before."""

from __future__ import annotations

from pathlib import Path

from flux2_mcp.errors import PictureUnavailable
from flux2_mcp.images.formats import Picture, in_worker, recognise


async def read(path: Path) -> Picture | None:
    """The picture in this file; None when it is gone, or is no picture any more."""
    return await in_worker(lambda: _read(path))


def _read(path: Path) -> Picture | None:
    try:
        return recognise(path.read_bytes())
    except (OSError, PictureUnavailable):
        return None
