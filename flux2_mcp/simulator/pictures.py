"""Draws the picture of a task: a scene, or its sources put together, and a caption that says it is simulated."""

from __future__ import annotations

import hashlib
import io
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from .palette import Colour, Palette, mixed, palette_for
from .scenes import gradient, scene_for
from .sizes import size_for, size_like
from .tasks import Source

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

MOST_SOURCE_PIXELS = 64_000_000
CAPTION_PAPER: Colour = (24, 24, 28)
CAPTION_INK: Colour = (236, 232, 224)


@dataclass(frozen=True, kw_only=True)
class PictureSpec:
    """All that decides how a picture looks."""

    seed: str
    prompt: str
    model: str
    aspect_ratio: str
    resolution: str
    sources: Sequence[Source] = ()
    plain: bool = False


def draw(spec: PictureSpec) -> bytes:
    """The picture as PNG bytes; the same spec gives the same bytes."""
    chance = _chance(spec.seed + spec.prompt)
    palette = palette_for(spec.prompt, chance)
    # A plain picture shows no source; the first may still decide its size.
    shown = spec.sources[: spec.aspect_ratio == "auto"] if spec.plain else spec.sources
    sources = [_opened(source) for source in shown]
    size = _size(spec, sources)
    if spec.plain:
        return _plain(size, palette.main)
    # Drawn at double size for 1k and reduced: that is what makes the edges smooth.
    zoom = 2 if spec.resolution == "1k" else 1
    canvas = Image.new("RGB", (size[0] * zoom, size[1] * zoom))
    if sources:
        _remix(canvas, sources, palette)
    else:
        scene_for(spec.prompt, chance)(canvas, palette, chance)
    picture = canvas.reduce(zoom) if zoom > 1 else canvas
    _caption(picture, f"Simulated picture · {spec.model} · {spec.prompt}")
    return _png(picture)


def is_picture(data: bytes) -> bool:
    """Whether Pillow can read these bytes as a picture of a sane size."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.verify()
            return image.width * image.height <= MOST_SOURCE_PIXELS
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def placeholder(url: str) -> bytes:
    """What stands for a picture on a host that is never asked: the address decides how it looks."""
    return _png(_stand_in(url))


def _opened(source: Source) -> Image.Image:
    if source.data is None:
        return _stand_in(source.url)
    try:
        with Image.open(io.BytesIO(source.data)) as image:
            image.draft("RGB", (1024, 1024))
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError):
        # The header was fine and the rest is not.
        return _stand_in(source.url)


def _stand_in(url: str) -> Image.Image:
    chance = _chance(url)
    palette = palette_for("", chance)
    canvas = Image.new("RGB", (768, 768))
    scene_for("", chance)(canvas, palette, chance)
    return canvas


def _size(spec: PictureSpec, sources: Sequence[Image.Image]) -> tuple[int, int]:
    if spec.aspect_ratio != "auto":
        return size_for(spec.aspect_ratio, spec.resolution)
    return size_like(*(sources[0].size if sources else (1, 1)), spec.resolution)


def _remix(canvas: Image.Image, sources: Sequence[Image.Image], palette: Palette) -> None:
    """Frame the sources side by side under one light."""
    canvas.paste(gradient(canvas.size, [palette.paper, mixed(palette.paper, palette.haze, 0.6)]))
    unit = min(canvas.size)
    gap = unit // 40
    veil = gradient(canvas.size, [mixed(palette.accent, palette.paper, 0.3), palette.main, palette.ink])
    for source, box in zip(sources, _boxes(canvas.size, len(sources), gap), strict=True):
        left, top, right, bottom = box
        inside = ImageOps.fit(source, (right - left, bottom - top), Image.Resampling.BICUBIC)
        tinted = Image.blend(inside, veil.crop(box), 0.22)
        canvas.paste(tinted, (left, top), _rounded(tinted.size, gap))


def _boxes(size: tuple[int, int], count: int, gap: int) -> list[tuple[int, int, int, int]]:
    """Boxes in rows that fill the canvas; the last row shares its width among what is left."""
    width, height = size
    foot = height - _caption_height(size)
    columns = max(1, min(count, round(math.sqrt(count * width / height))))
    rows = math.ceil(count / columns)
    boxes: list[tuple[int, int, int, int]] = []
    for row in range(rows):
        here = min(columns, count - row * columns)
        top, bottom = gap + row * (foot - gap) // rows, (row + 1) * (foot - gap) // rows
        for column in range(here):
            left, right = gap + column * (width - gap) // here, (column + 1) * (width - gap) // here
            boxes.append((left, top, right, bottom))
    return boxes


def _rounded(size: tuple[int, int], radius: int) -> Image.Image:
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), radius, fill=255)
    return mask


def _caption_height(size: tuple[int, int]) -> int:
    return max(22, min(size) // 24)


def _caption(picture: Image.Image, words: str) -> None:
    high = _caption_height(picture.size)
    top = picture.height - high
    strip = picture.crop((0, top, picture.width, picture.height))
    picture.paste(Image.blend(strip, Image.new("RGB", strip.size, CAPTION_PAPER), 0.78), (0, top))
    font = _font(round(high * 0.5))
    words = _shortened(_printable(words, font), font, picture.width - 2 * high)
    ImageDraw.Draw(picture).text((high * 0.6, top + high / 2), words, CAPTION_INK, font, anchor="lm")


@lru_cache(maxsize=8)
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _printable(words: str, font: Font) -> str:
    """Replace each run of characters the font lacks by an ellipsis."""
    missing = _glyph("\uffff", font)
    found: list[str] = []
    for character in " ".join(words.split())[:300]:
        known = character == " " or (character.isprintable() and _glyph(character, font) != missing)
        if known or found[-1:] != ["…"]:
            found.append(character if known else "…")
    return "".join(found)


def _glyph(character: str, font: Font) -> bytes:
    tile = Image.new("L", (48, 48))
    ImageDraw.Draw(tile).text((4, 4), character, 255, font)
    return tile.tobytes()


def _shortened(words: str, font: Font, width: int) -> str:
    if font.getlength(words) <= width:
        return words
    while words and font.getlength(words + "…") > width:
        words = words[:-1]
    return words.rstrip() + "…"


def _plain(size: tuple[int, int], color: Colour) -> bytes:
    # One bit a pixel: tests make thousands of these, and every byte would be packed and unpacked.
    image = Image.new("P", size)
    image.putpalette(color)
    return _png(image, bits=1)


def _png(image: Image.Image, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=2, **options)
    return buffer.getvalue()


def _chance(seed: str) -> random.Random:
    # Looks, not secrets: the same text must give the same picture on every machine.
    return random.Random(hashlib.sha256(seed.encode()).digest())  # noqa: S311
