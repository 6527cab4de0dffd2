"""Read a picture that was saved before."""

from __future__ import annotations

from pathlib import Path

from flux2_mcp.errors import PictureUnavailable
from flux2_mcp.images.destinations import PICTURE_ENDINGS
from flux2_mcp.images.formats import Picture, Previewer, in_worker, media_type_of, recognise

ON_ANOTHER_COMPUTER = ("\\\\", "//")
"""How a path begins that Windows would ask another computer for, with the person's name and password."""
HEAD = 64
"""Bytes that show what a file is."""


async def read(path: Path, *, previewer: Previewer | None = None) -> Picture | None:
    """The picture in this file, with a preview if there is a previewer; None when it is gone, or no picture now."""
    return await in_worker(lambda: _read(path, previewer))


def is_picture_file(path: str) -> bool:
    """Whether a picture is there that the person's programs can be told to open; blocking.

    A history on a database server was written by other computers too.
    """
    file = Path(path)
    if path.startswith(ON_ANOTHER_COMPUTER) or file.suffix.lower() not in PICTURE_ENDINGS or file.is_symlink():
        return False
    try:
        with file.open("rb") as opened:
            return media_type_of(opened.read(HEAD)) is not None
    except OSError:
        return False


def _read(path: Path, previewer: Previewer | None) -> Picture | None:
    try:
        return recognise(path.read_bytes(), previewer=previewer)
    except (OSError, PictureUnavailable):
        return None
