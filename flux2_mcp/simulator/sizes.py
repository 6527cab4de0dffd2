"""Pixel sizes: about one megapixel for 1k and four for 2k, in steps of 16. RunAPI has not published its own."""

from __future__ import annotations

import math

STEP = 16
PIXELS = {"1k": 1024 * 1024, "2k": 2048 * 2048}


def size_for(ratio: str, resolution: str) -> tuple[int, int]:
    """Width and height with exactly this ratio, as near to the pixel count as steps of 16 allow."""
    across, down = (int(part) for part in ratio.split(":"))
    wanted = PIXELS[resolution]
    unit = across * down * STEP**2
    lower = max(1, math.isqrt(wanted // unit))
    scale = min((lower, lower + 1), key=lambda n: abs(n * n * unit - wanted))
    return across * STEP * scale, down * STEP * scale


def size_like(width: int, height: int, resolution: str) -> tuple[int, int]:
    """The size nearest to a source's own ratio, which is taken as no longer than 4:1."""
    ratio = min(4.0, max(0.25, width / height))
    wanted = PIXELS[resolution]
    return _stepped(math.sqrt(wanted * ratio)), _stepped(math.sqrt(wanted / ratio))


def _stepped(length: float) -> int:
    return max(STEP, round(length / STEP) * STEP)
