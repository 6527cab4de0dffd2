"""Pixel sizes: about one megapixel for 1k, four for 2k, in steps of 16. RunAPI has not published its own."""

from __future__ import annotations

import math

STEP = 16


def size_for(ratio: str, resolution: str) -> tuple[int, int]:
    """Width and height with exactly this ratio, as near to the pixel count as steps of 16 allow."""
    across, down = (int(part) for part in ratio.split(":"))
    wanted = _pixels(resolution)
    unit = across * down * STEP**2
    lower = max(1, math.isqrt(wanted // unit))
    scale = min((lower, lower + 1), key=lambda n: abs(n * n * unit - wanted))
    return across * STEP * scale, down * STEP * scale


def size_like(width: int, height: int, resolution: str) -> tuple[int, int]:
    """The size nearest to a source's own ratio, which is taken as no longer than 4:1."""
    ratio = min(4.0, max(0.25, width / height))
    wanted = _pixels(resolution)
    return _stepped(math.sqrt(wanted * ratio)), _stepped(math.sqrt(wanted / ratio))


def _pixels(resolution: str) -> int:
    return (1024 * int(resolution.removesuffix("k"))) ** 2


def _stepped(length: float) -> int:
    return max(STEP, round(length / STEP) * STEP)
