"""Draw icon.png: light that flows into a frame. Run it again after a change: python bundle/icon.py."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter

SIZE, SCALE = 512, 4
EDGE = SIZE * SCALE
NIGHT, DUSK = (22, 18, 54), (88, 40, 140)
STREAMS = [
    # height at the left, swing, width, colour
    (0.30, 0.10, 0.120, (255, 122, 89)),
    (0.46, 0.12, 0.105, (255, 196, 87)),
    (0.62, 0.11, 0.090, (86, 214, 197)),
    (0.76, 0.09, 0.075, (96, 150, 255)),
]


def icon() -> Image.Image:
    """A rounded square of night sky, four streams of light, and a picture's frame where they meet."""
    sky = _sky()
    for height, swing, width, colour in STREAMS:
        sky = ImageChops.screen(sky, _stream(height, swing, width, colour))
    sky.paste((255, 255, 255), mask=_frame())
    small = sky.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    small.putalpha(_rounded().resize((SIZE, SIZE), Image.Resampling.LANCZOS))
    return small


def _sky() -> Image.Image:
    column = Image.new("RGB", (1, EDGE))
    for y in range(EDGE):
        share = y / EDGE
        column.putpixel((0, y), tuple(round(a + (b - a) * share) for a, b in zip(NIGHT, DUSK, strict=True)))
    return column.resize((EDGE, EDGE))


def _stream(height: float, swing: float, width: float, colour: tuple[int, int, int]) -> Image.Image:
    """A band that swings, narrows to the right and ends at the frame; with a glow around it."""
    steps = 200
    upper, lower = [], []
    for step in range(steps + 1):
        along = step / steps
        meets = 0.53 + (height - 0.53) * (1 - along) ** 1.4
        centre = meets + swing * math.sin(along * 2.6 * math.pi + height * 5) * (1 - along)
        half = width / 2 * (1 - 0.78 * along)
        x = along * 0.57 - 0.02
        upper.append((x * EDGE, (centre - half) * EDGE))
        lower.append((x * EDGE, (centre + half) * EDGE))
    band = Image.new("RGB", (EDGE, EDGE))
    ImageDraw.Draw(band).polygon([*upper, *reversed(lower)], fill=colour)
    small = band.resize((SIZE, SIZE)).filter(ImageFilter.GaussianBlur(14))
    glow = small.resize((EDGE, EDGE)).point(lambda value: value * 0.6)
    return ImageChops.screen(band.point(lambda value: value * 0.9), glow)


def _frame() -> Image.Image:
    """A white frame, and in it a sun and two hills."""
    mask = Image.new("L", (EDGE, EDGE))
    draw = ImageDraw.Draw(mask)
    left, top, right, bottom = (round(share * EDGE) for share in (0.52, 0.33, 0.88, 0.73))
    draw.rounded_rectangle((left, top, right, bottom), radius=EDGE // 22, outline=255, width=EDGE // 34)
    inner = EDGE // 34 + EDGE // 90
    floor = bottom - inner
    draw.ellipse((left + 0.21 * EDGE, top + 0.075 * EDGE, left + 0.285 * EDGE, top + 0.15 * EDGE), fill=255)
    hills = [(0.05, 0.0), (0.135, 0.165), (0.19, 0.085), (0.235, 0.145), (0.315, 0.0)]
    draw.polygon([(left + x * EDGE, floor - y * EDGE) for x, y in hills], fill=255)
    return mask


def _rounded() -> Image.Image:
    mask = Image.new("L", (EDGE, EDGE))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, EDGE - 1, EDGE - 1), radius=EDGE * 0.22, fill=255)
    return mask


if __name__ == "__main__":
    icon().save(Path(__file__).with_name("icon.png"), optimize=True)
