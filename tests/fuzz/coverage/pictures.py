"""Bytes are a picture, which a preview can be made of, or are refused in our words; nothing huge is unpacked."""

from __future__ import annotations

from functools import partial

from flux2_mcp.errors import PictureUnavailable
from flux2_mcp.images.formats import recognise
from flux2_mcp.images.previewing import preview_of

LONGEST = 1500
MOST_PIXELS = 100_000


def check(data: bytes) -> None:
    """Recognise these bytes."""
    try:
        picture = recognise(data, max_pixels=MOST_PIXELS, previewer=partial(preview_of, edge=64))
    except PictureUnavailable:
        return
    assert 0 < picture.width * picture.height <= MOST_PIXELS
    assert picture.data is data
    assert picture.preview is None or max(picture.preview.width, picture.preview.height) <= 64
