"""Pictures to test with, good and bad."""

from __future__ import annotations

import random
import struct
import zlib
from functools import cache
from io import BytesIO
from typing import Any

from PIL import Image

from flux2_mcp.images import Picture, recognise


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:  # noqa: ANN401 - Pillow's own options
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def plain(width: int = 30, height: int = 20, colour: str = "teal") -> Image.Image:
    return Image.new("RGB", (width, height), colour)


PNG = encoded(plain(), "PNG")
JPEG = encoded(plain(), "JPEG")
WEBP = encoded(plain(), "WEBP")
GIF = encoded(plain(), "GIF")


@cache
def noise(edge: int, mode: str = "RGB") -> Picture:
    """Nothing compresses worse."""
    pixels = random.Random(edge).randbytes(edge * edge * len(mode))  # noqa: S311 - the same in every run
    return recognise(encoded(Image.frombytes(mode, (edge, edge), pixels), "PNG", compress_level=0))


def bomb(width: int = 30_000, height: int = 30_000) -> bytes:
    """A small PNG that says that it unpacks to gigabytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1_000_000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def shown(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image
