"""A picture as what a terminal draws: by the graphics it knows, or as coloured half-blocks."""

from __future__ import annotations

import re
from base64 import standard_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Final

from rich.segment import Segment
from rich.style import Style

from flux2_mcp.errors import PictureUnavailable
from flux2_mcp.images import canvas, media_type_of, opened

if TYPE_CHECKING:
    from PIL import Image

END: Final = "\x1b\\"
"""Ends every sequence here, also one that was cut off."""

_KITTY_CHUNK: Final = 4096
_SIXEL_ROWS: Final = 6
_CLEAR: Final = 255
"""The colour of what is transparent; the others are in use."""
_TO_SIXELS: Final = bytes(min(0x3F + bits, 0xFF) for bits in range(256))
_LONG_RUN: Final = re.compile(rb"(.)\1{3,}", re.DOTALL)
_OPAQUE: Final = 128


@dataclass(frozen=True)
class Area:
    """The part of a screen that a picture may take, in cells of so many pixels."""

    columns: int
    rows: int
    cell: tuple[int, int]

    def pixels_for(self, width: int, height: int) -> tuple[int, int]:
        """The size of such a picture here: not larger than it is, and whole cells wide."""
        cell_width, cell_height = self.cell
        scale = min(1, self.columns * cell_width / width, self.rows * cell_height / height)
        wide = max(1, int(width * scale / cell_width)) * cell_width
        return wide, max(1, min(round(wide * height / width), self.rows * cell_height))


def fitted(data: bytes, area: Area) -> Image.Image:
    """A picture's bytes decoded, upright, of the size that it has there.

    Raises:
        PictureUnavailable: They are damaged, or no picture.
    """
    from PIL import Image

    media_type = media_type_of(data[:4096])
    if media_type is None:
        msg = "It is not a PNG, JPEG, WebP or GIF picture."
        raise PictureUnavailable(msg)
    edge = max(area.columns * area.cell[0], area.rows * area.cell[1])
    with opened(data, media_type, draft=(edge, edge)) as image:
        upright = canvas(image, edge=edge)
    return upright.resize(area.pixels_for(*upright.size), Image.Resampling.LANCZOS)  # pyright: ignore[reportUnknownMemberType] as Pillow declares it


def kitty(image: Image.Image, area: Area) -> str:
    """By https://sw.kovidgoyal.net/kitty/graphics-protocol; q=2 asks for no answer."""
    text = _png(image)
    chunks = [text[start : start + _KITTY_CHUNK] for start in range(0, len(text), _KITTY_CHUNK)]
    first = f"a=T,f=100,q=2,c={image.width // area.cell[0]},"
    pieces = [
        f"\x1b_G{first * (number == 1)}m={int(number < len(chunks))};{chunk}{END}"
        for number, chunk in enumerate(chunks, start=1)
    ]
    return "".join(pieces) + "\n"


def iterm2(image: Image.Image, area: Area) -> str:
    """By https://iterm2.com/documentation-images.html."""
    text = _png(image)
    size = len(text) * 3 // 4 - text[-2:].count("=")
    return f"\x1b]1337;File=inline=1;size={size};width={image.width // area.cell[0]};height=auto:{text}{END}\n"


def sixel(image: Image.Image, _: Area) -> str:
    """By https://vt100.net/docs/vt3xx-gp/chapter14.html: six rows at a time, each colour for itself."""
    from PIL import Image

    height = max(_SIXEL_ROWS, image.height - image.height % _SIXEL_ROWS)  # a whole number of sixels
    even = image.resize((image.width, height))  # pyright: ignore[reportUnknownMemberType] as Pillow declares it
    solid = even.convert("RGB")
    palette = solid.quantize(_CLEAR, Image.Quantize.MAXCOVERAGE, kmeans=1)
    indexed = solid.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    if even.mode == "RGBA":
        indexed.paste(_CLEAR, mask=even.getchannel("A").point([255] * _OPAQUE + [0] * (256 - _OPAQUE)))  # pyright: ignore[reportUnknownMemberType] as Pillow declares it
    pixels = indexed.tobytes()
    levels = palette.getpalette() or []
    colours = [
        f"#{colour};2;" + ";".join(str(round(level * 100 / 255)) for level in levels[colour * 3 : colour * 3 + 3])
        for colour in {*pixels} - {_CLEAR}
    ]
    bands = "-".join(_bands(pixels, image.width))
    return f'\x1bP0;1q"1;1;{image.width};{height}{"".join(colours)}{bands}{END}\n'


def _bands(pixels: bytes, width: int) -> Iterator[str]:
    for start in range(0, len(pixels), width * _SIXEL_ROWS):
        rows = [pixels[at : at + width] for at in range(start, start + width * _SIXEL_ROWS, width)]
        lines: list[str] = []
        for colour in sorted({*b"".join(rows)} - {_CLEAR}):
            # All columns at once, as one large number.
            drawn = 0
            for row, line in enumerate(rows):
                drawn |= int.from_bytes(line.translate(_only(colour, 1 << row)))
            sixels = drawn.to_bytes(width).translate(_TO_SIXELS).rstrip(b"?")
            short = _LONG_RUN.sub(lambda run: b"!%d%b" % (len(run[0]), run[1]), sixels)
            lines.append(f"#{colour}{short.decode()}")
        yield "$".join(lines)


@cache
def _only(colour: int, bit: int) -> bytes:
    """A table for bytes.translate: this bit for this colour, nothing for all others."""
    table = bytearray(256)
    table[colour] = bit
    return bytes(table)


def half_blocks(image: Image.Image, area: Area) -> Iterator[Segment]:
    """Two pixels in each cell."""
    columns, halves = image.width // area.cell[0], max(1, round(image.height * 2 / area.cell[1]))
    small = image.convert("RGBA").resize((columns, halves))  # pyright: ignore[reportUnknownMemberType] as Pillow declares it
    colours = [_colour(small.tobytes()[at : at + 4]) for at in range(0, columns * halves * 4, 4)]
    colours += [None] * (columns * (halves % 2))
    for start in range(0, len(colours), columns * 2):
        upper, lower = colours[start : start + columns], colours[start + columns : start + columns * 2]
        yield from (_half_block(*pair) for pair in zip(upper, lower, strict=True))
        yield Segment.line()


def _half_block(upper: str | None, lower: str | None) -> Segment:
    if upper is None:
        return Segment(" ") if lower is None else Segment("▄", Style(color=lower))
    return Segment("▀", Style(color=upper, bgcolor=lower))


def _colour(pixel: bytes) -> str | None:
    red, green, blue, alpha = pixel
    return f"#{red:02x}{green:02x}{blue:02x}" if alpha >= _OPAQUE else None


def _png(image: Image.Image) -> str:
    file = BytesIO()
    image.save(file, "PNG")
    return standard_b64encode(file.getvalue()).decode()
