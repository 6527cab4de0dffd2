"""Read a picture that was saved before."""

from __future__ import annotations

from pathlib import Path

from flux2_mcp.errors import PictureUnavailable
from flux2_mcp.images.formats import Picture, Previewer, in_worker, recognise


async def read(path: Path, *, previewer: Previewer | None = None) -> Picture | None:
    """The picture in this file, with a preview if there is a previewer; None when it is gone, or no picture now."""
    return await in_worker(lambda: _read(path, previewer))


def _read(path: Path, previewer: Previewer | None) -> Picture | None:
    try:
        return recognise(path.read_bytes(), previewer=previewer)
    except (OSError, PictureUnavailable):
        return None
