"""What is drawn: hills under a sun, things on a table, or plain shapes. All of it gradients and masks."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw, ImageFilter

from .palette import Colour, Palette, mixed, shade, turned

Point = tuple[float, float]
Painting = Callable[[Image.Image, Palette, random.Random], None]

INDOORS = r"vase|bowl|cup|mug|table|still life|flower|bouquet|fruit|bottle|teapot|kitchen|ceramic|candle|lamp|plant"
OUTDOORS = (
    r"mountain|hill|valley|landscape|sea|ocean|lake|river|canoe|forest|desert|sunset|sunrise|dawn|dusk|sky|moon|beach"
)


def scene_for(prompt: str, chance: random.Random) -> Painting:
    """The kind of scene a prompt speaks of, else one by chance."""
    by_chance = chance.choice((landscape, still_life, shapes))
    if re.search(rf"\b(?:{INDOORS})s?\b", prompt, re.IGNORECASE):
        return still_life
    if re.search(rf"\b(?:{OUTDOORS})s?\b", prompt, re.IGNORECASE):
        return landscape
    return by_chance


def landscape(canvas: Image.Image, palette: Palette, chance: random.Random) -> None:
    """Hills behind hills in the haze, a sun, a few birds."""
    width, height = canvas.size
    horizon = chance.uniform(0.44, 0.56)
    sky = [mixed(palette.main, palette.paper, 0.35), mixed(palette.haze, palette.paper, 0.5), palette.paper]
    canvas.paste(gradient((width, height), [*sky, mixed(palette.accent, palette.paper, 0.35)]))
    _sun(canvas, palette, chance, height * (horizon - chance.uniform(0.1, 0.26)))
    _birds(canvas, palette, chance)
    ridges = chance.choice((4, 5, 6))
    for number in range(ridges):
        share = (number + 1) / ridges
        top = height * (horizon + (0.98 - horizon) * (number / ridges) ** 1.15)
        swing = height * (0.05 + 0.05 * share) * chance.uniform(0.7, 1.3)
        outline = _ridge(width, height, top, swing, chance, rough=number < ridges - 1)
        near = palette.depth(0.12 + 0.88 * share)
        _pour(canvas, outline, [near, mixed(near, palette.haze, 0.55 * (1 - share) + 0.12)])


def still_life(canvas: Image.Image, palette: Palette, chance: random.Random) -> None:
    """A vase with stems and a few round things on a table by a window."""
    width, height = canvas.size
    wall, unit = palette.haze, min(width, height)
    canvas.paste(gradient((width, height), [mixed(wall, palette.paper, 0.55), mixed(wall, palette.main, 0.12)]))
    _window_light(canvas, palette, chance)
    edge = round(height * 0.72)
    board = mixed(palette.paper, palette.accent, 0.32)
    canvas.paste(gradient((width, height - edge), [board, mixed(board, palette.main, 0.35)]), (0, edge))
    middle = width * chance.uniform(0.4, 0.6)
    foot = edge + unit * 0.1
    _vase(canvas, palette, chance, middle, foot, unit)
    side = chance.choice((-1, 1))
    for number in range(chance.choice((2, 3))):
        radius = unit * chance.uniform(0.055, 0.085)
        across = middle + side * unit * (0.25 + number * 0.15) * (-1 if number == 2 else 1)
        colour = turned(palette.accent, chance.uniform(-0.05, 0.05), chance.uniform(0.5, 0.62))
        _ball(canvas, (across, foot + unit * chance.uniform(0.01, 0.06) - radius), radius, colour)


def shapes(canvas: Image.Image, palette: Palette, chance: random.Random) -> None:
    """Arches, discs and waves, as on a printed poster."""
    width, height = canvas.size
    unit = min(width, height)
    canvas.paste(gradient(canvas.size, [palette.paper, mixed(palette.paper, palette.haze, 0.45)]))
    centre = (width * chance.uniform(0.42, 0.58), height * chance.uniform(0.34, 0.44))
    glow(canvas, centre, unit * 0.62, palette.accent, 0.35)
    for number in range(4):
        radius = unit * (0.36 - 0.075 * number)
        colour = palette.depth(0.1 + 0.2 * number)
        _arch(canvas, centre, radius, [mixed(colour, palette.paper, 0.25), colour])
    disc = (centre[0] + unit * chance.choice((-0.26, 0.26)), centre[1] - unit * 0.12)
    _disc(canvas, disc, unit * 0.12, mixed(palette.accent, palette.paper, 0.1), palette.accent)
    for number in range(3):
        share = (number + 1) / 3
        outline = _ridge(width, height, height * (0.72 + 0.08 * number), unit * 0.05, chance, rough=False)
        colour = mixed(palette.accent if number == 1 else palette.main, palette.ink, 0.3 * share)
        _pour(canvas, outline, [mixed(colour, palette.paper, 0.3), colour])


def gradient(size: tuple[int, int], colours: Sequence[Colour]) -> Image.Image:
    """Colours from top to bottom."""
    strip = Image.new("RGB", (1, 256))
    for y in range(256):
        place = y / 255 * (len(colours) - 1)
        first = min(int(place), len(colours) - 2)
        strip.putpixel((0, y), mixed(colours[first], colours[first + 1], place - first))
    return resized(strip, size)


def _pour(canvas: Image.Image, outline: Sequence[Point], colours: Sequence[Colour]) -> None:
    """Fill an outline that spans the canvas, touching only the rows it covers."""
    top = max(0, int(min(y for _, y in outline)))
    size = (canvas.width, canvas.height - top)
    canvas.paste(gradient(size, colours), (0, top), polygon(size, [(x, y - top) for x, y in outline]))


def polygon(size: tuple[int, int], outline: Sequence[Point]) -> Image.Image:
    """A mask with this outline."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).polygon(outline, fill=255)
    return mask


def glow(canvas: Image.Image, centre: Point, radius: float, colour: Colour, strength: float) -> None:
    """Light that fades away from its centre."""
    across = round(radius * 2)
    _paste_at(canvas, colour, resized(_fading(strength), (across, across)), centre)


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The same picture, smoothly made larger or smaller."""
    return image.resize(size, Image.Resampling.BICUBIC)  # pyright: ignore[reportUnknownMemberType]: names numpy


def _fading(strength: float) -> Image.Image:
    """A round mask, bright in the middle and empty from its edge on."""
    # Pillow's gradient reaches 255 in the corners, hence 255 / √2 where the circle touches the sides.
    rim = 255 / math.sqrt(2)
    levels = [round(255 * strength * max(0.0, 1 - distance / rim) ** 2) for distance in range(256)]
    return Image.radial_gradient("L").point(levels)  # pyright: ignore[reportUnknownMemberType]: names numpy


def _paste_at(canvas: Image.Image, fill: Colour, mask: Image.Image, centre: Point) -> None:
    corner = (round(centre[0] - mask.width / 2), round(centre[1] - mask.height / 2))
    canvas.paste(fill, (*corner, corner[0] + mask.width, corner[1] + mask.height), mask)


def _disc(canvas: Image.Image, centre: Point, radius: float, upper: Colour, lower: Colour) -> None:
    across = max(2, round(radius * 2))
    mask = Image.new("L", (across, across))
    ImageDraw.Draw(mask).ellipse((0, 0, across - 1, across - 1), fill=255)
    corner = (round(centre[0] - radius), round(centre[1] - radius))
    canvas.paste(gradient((across, across), [upper, lower]), corner, mask)


def _sun(canvas: Image.Image, palette: Palette, chance: random.Random, y: float) -> None:
    unit = min(canvas.size)
    centre = (canvas.width * chance.uniform(0.25, 0.75), y)
    radius = unit * chance.uniform(0.06, 0.11)
    glow(canvas, centre, radius * 5.5, mixed(palette.accent, (255, 250, 235), 0.5), 0.75)
    _disc(
        canvas,
        centre,
        radius,
        mixed(palette.accent, (255, 252, 240), 0.75),
        mixed(palette.accent, (255, 244, 220), 0.3),
    )


def _birds(canvas: Image.Image, palette: Palette, chance: random.Random) -> None:
    draw, unit = ImageDraw.Draw(canvas), min(canvas.size)
    x, y = canvas.width * chance.uniform(0.15, 0.6), canvas.height * chance.uniform(0.12, 0.26)
    for _ in range(chance.choice((0, 3, 4, 5))):
        x, y = x + unit * chance.uniform(0.03, 0.07), y + unit * chance.uniform(-0.025, 0.025)
        span = unit * chance.uniform(0.009, 0.015)
        wings = [(x - span, y - span * 0.45), (x, y), (x + span, y - span * 0.45)]
        draw.line(wings, fill=mixed(palette.main, palette.ink, 0.5), width=max(2, unit // 600), joint="curve")


def _ridge(width: int, height: int, top: float, swing: float, chance: random.Random, *, rough: bool) -> list[Point]:
    waves = [(chance.uniform(0.6, 1.6) * 2**n, chance.uniform(0, math.tau), 0.55**n) for n in range(6 if rough else 3)]
    total = sum(weight for _, _, weight in waves)
    line: list[Point] = []
    for step in range(241):
        x = step / 240
        lift = sum(weight * math.sin(math.tau * turns * x + phase) for turns, phase, weight in waves) / total
        line.append((x * width, top - swing * lift))
    return [(0, height), *line, (width, height)]


def _arch(canvas: Image.Image, centre: Point, radius: float, colours: Sequence[Colour]) -> None:
    corner = (round(centre[0] - radius), round(centre[1] - radius))
    size = (round(radius * 2), canvas.height - corner[1])
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    draw.ellipse((0, 0, size[0] - 1, size[0] - 1), fill=255)
    draw.rectangle((0, size[0] // 2, *size), fill=255)
    canvas.paste(gradient(size, colours), corner, mask)


def _window_light(canvas: Image.Image, palette: Palette, chance: random.Random) -> None:
    width, height = canvas.size
    small = Image.new("L", (width // 8, height // 8))
    draw = ImageDraw.Draw(small)
    left, lean = small.width * chance.uniform(0.05, 0.45), small.width * 0.16
    pane, gap = small.width * 0.17, small.width * 0.025
    for column in range(2):
        for row in range(2):
            x, y = left + column * (pane + gap) + row * lean, small.height * (0.08 + row * 0.3)
            corners = [(x, y), (x + pane, y), (x + pane + lean * 0.9, y + small.height * 0.27)]
            draw.polygon([*corners, (x + lean * 0.9, y + small.height * 0.27)], fill=150)
    light = resized(small.filter(ImageFilter.GaussianBlur(small.width / 60)), canvas.size)
    canvas.paste(mixed(palette.paper, (255, 250, 238), 0.6), mask=light)


def _shadow(canvas: Image.Image, centre: Point, width: float, strength: float) -> None:
    mask = resized(_fading(strength), (round(width), round(width * 0.22)))
    _paste_at(canvas, (38, 30, 34), mask, centre)


def _ball(canvas: Image.Image, centre: Point, radius: float, colour: Colour) -> None:
    _shadow(canvas, (centre[0] + radius * 0.5, centre[1] + radius * 0.95), radius * 3.4, 0.6)
    _disc(canvas, centre, radius, mixed(colour, (255, 248, 235), 0.18), shade(colour, 0.34))
    glow(canvas, (centre[0] - radius * 0.35, centre[1] - radius * 0.4), radius * 0.55, (255, 250, 240), 0.55)


def _vase(canvas: Image.Image, palette: Palette, chance: random.Random, x: float, foot: float, unit: float) -> None:
    tall, belly = unit * chance.uniform(0.32, 0.42), unit * chance.uniform(0.1, 0.14)
    neck, lip = belly * chance.uniform(0.3, 0.45), belly * chance.uniform(0.45, 0.65)
    _stems(canvas, palette, chance, (x, foot - tall), unit)
    _shadow(canvas, (x + belly * 0.8, foot), belly * 4.6, 0.7)
    widths = _smooth([belly * 0.55, belly * 0.86, belly, belly * 0.84, neck * 1.35, neck, neck, lip])
    left = [(x - half, foot - tall * step / (len(widths) - 1)) for step, half in enumerate(widths)]
    right = [(2 * x - px, py) for px, py in reversed(left)]
    clay = mixed(palette.main, palette.paper, 0.12)
    tones = [mixed(clay, palette.paper, 0.65), clay, mixed(clay, palette.ink, 0.6)]
    corner = (round(x - belly), round(foot - tall))
    size = (round(belly * 2), round(tall))
    side = gradient((size[1], size[0]), tones).transpose(Image.Transpose.ROTATE_90)
    outline = [(px - corner[0], py - corner[1]) for px, py in left + right]
    canvas.paste(side, corner, polygon(size, outline))


def _smooth(values: Sequence[float]) -> list[float]:
    found: list[float] = []
    padded = [values[0], *values, values[-1]]
    for before, first, second, after in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        found += [_between(before, first, second, after, step / 24) for step in range(24)]
    return [*found, values[-1]]


def _between(before: float, first: float, second: float, after: float, t: float) -> float:
    """A Catmull-Rom curve from `first` to `second`."""
    line = 2 * first + (second - before) * t
    square = (2 * before - 5 * first + 4 * second - after) * t**2
    return (line + square + (3 * first - before - 3 * second + after) * t**3) / 2


def _stems(canvas: Image.Image, palette: Palette, chance: random.Random, mouth: Point, unit: float) -> None:
    draw = ImageDraw.Draw(canvas)
    stalk = mixed(palette.main, palette.ink, 0.45)
    for _ in range(chance.choice((5, 7, 9))):
        lean, tall = chance.uniform(-0.2, 0.2) * unit, unit * chance.uniform(0.14, 0.27)
        bend = [(mouth[0] + lean * (t / 12) ** 1.6, mouth[1] + unit * 0.03 - tall * t / 12) for t in range(13)]
        draw.line(bend, fill=stalk, width=max(2, round(unit * 0.004)), joint="curve")
        bloom = turned(palette.accent, chance.uniform(-0.04, 0.04))
        for _ in range(9):
            spot = (bend[-1][0] + chance.gauss(0, unit * 0.011), bend[-1][1] + chance.gauss(0, unit * 0.011))
            size = unit * chance.uniform(0.006, 0.014)
            tone = mixed(bloom, palette.paper, chance.uniform(0, 0.5))
            draw.ellipse((spot[0] - size, spot[1] - size, spot[0] + size, spot[1] + size), fill=tone)
