"""What a picture is: recognised by its bytes, never by what somebody says about them."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from flux2_mcp.errors import PictureUnavailable, PictureUnusable
from flux2_mcp.memory import give_back_large_blocks

if TYPE_CHECKING:
    from PIL import Image

MediaType = Literal["image/png", "image/jpeg", "image/webp", "image/gif"]
T = TypeVar("T")

MAX_PIXELS: Final = 64_000_000
"""The sources of phones have 50 million pixels; decoded, this many take a quarter of a gigabyte."""

DAMAGED: Final = (
    OSError,
    AssertionError,
    SyntaxError,
    ValueError,
    LookupError,
    EOFError,
    ArithmeticError,
    struct.error,
    zlib.error,
)
"""What Pillow raises for bytes that are no sound picture; it promises nothing about this, and keeps adding to it."""

_PILLOW_NAMES: Final[dict[MediaType, str]] = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
}
_EXTENSIONS: Final[dict[MediaType, str]] = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
}
_SIGNATURES: Final[dict[MediaType, re.Pattern[bytes]]] = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "image/gif": re.compile(rb"GIF8[79]a"),
}
_OTHER_FORMATS: Final[tuple[tuple[re.Pattern[bytes], str], ...]] = (
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<[?!][^>]*>\s*)*<svg\b", re.IGNORECASE), "an SVG drawing"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "an AVIF picture"),
    (re.compile(rb"....ftyp(?:hei|mif|msf)", re.DOTALL), "a HEIC picture"),
    (re.compile(rb"....ftyp", re.DOTALL), "a video"),
    (re.compile(rb"II\*\x00|MM\x00\*"), "a TIFF picture"),
    (re.compile(rb"%PDF-"), "a PDF document"),
    (re.compile(rb"BM.{4}\x00\x00\x00\x00", re.DOTALL), "a BMP picture"),
)
_SENT_INSTEAD: Final[tuple[tuple[re.Pattern[bytes], str], ...]] = (
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE), "a web page (HTML)"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*<"), "an XML document"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*[{\[]"), "a JSON text"),
)
"""What a server sends in place of a picture that it does not have at the moment."""


@dataclass(frozen=True)
class Preview:
    """A picture made small enough for a chat; its media type is what the bytes are."""

    data: bytes = field(repr=False)
    media_type: Literal["image/jpeg", "image/webp"]
    width: int
    height: int

    @property
    def base64_length(self) -> int:
        """Characters of its base64 text."""
        return -(-len(self.data) // 3) * 4


@dataclass(frozen=True)
class Picture:
    """A sound picture, byte for byte as it came; width and height in pixels as stored, before any EXIF rotation."""

    data: bytes = field(repr=False)
    media_type: MediaType
    width: int
    height: int
    preview: Preview | None = field(default=None, repr=False, compare=False)
    """One that was made while it was decoded anyway."""

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    @property
    def info(self) -> PictureInfo:
        """What is left of it to tell and to show when its bytes are let go."""
        return PictureInfo(self.media_type, self.width, self.height, self.size, self.preview)

    @property
    def extension(self) -> str:
        """What a file with these bytes is called at its end, such as ".png"."""
        return _EXTENSIONS[self.media_type]


@dataclass(frozen=True)
class PictureInfo:
    """What is known of a picture whose bytes are not held any more; see `Picture`."""

    media_type: MediaType
    width: int
    height: int
    size: int
    """Bytes."""
    preview: Preview | None = field(default=None, repr=False, compare=False)


Previewer = Callable[["Image.Image"], Preview]


def recognise(data: bytes, *, max_pixels: int = MAX_PIXELS, previewer: Previewer | None = None) -> Picture:
    """The picture that these bytes are, with a preview if it can be made. Decodes once; call this in a worker thread.

    Raises:
        PictureUnavailable: It is damaged, or something else came in its place.
        PictureUnusable: It is of another format, or too large.
    """
    if not data:
        msg = "The file is empty."
        raise PictureUnavailable(msg)
    head = data[:4096]
    media_type = media_type_of(head)
    if media_type is None:
        raise _wrong_format(head)
    with opened(data, media_type, max_pixels=max_pixels) as image:
        width, height = image.size
        preview = None
        if previewer is not None:
            # The picture is sound and will be saved, whatever its preview says.
            with suppress(*DAMAGED):
                preview = previewer(image)
    return Picture(data=data, media_type=media_type, width=width, height=height, preview=preview)


def media_type_of(head: bytes) -> MediaType | None:
    """The type that the first bytes show; None for anything but our four formats."""
    return next((media_type for media_type, signature in _SIGNATURES.items() if signature.match(head)), None)


def opened(
    data: bytes,
    media_type: MediaType,
    *,
    max_pixels: int = MAX_PIXELS,
    draft: tuple[int, int] | None = None,
) -> Image.Image:
    """The first frame, decoded; a JPEG may be decoded smaller, but not smaller than `draft`, which is much faster.

    Raises:
        PictureUnavailable: Damaged.
        PictureUnusable: More than `max_pixels`.
    """
    from PIL import Image

    _learn_formats()
    name = _PILLOW_NAMES[media_type]
    try:
        image = Image.open(BytesIO(data), formats=(name,))
        # The header tells the size: nothing has been unpacked yet.
        if image.width * image.height > max_pixels:
            raise _too_large(max_pixels)
        if draft is not None:
            image.draft(None, draft)
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(max_pixels) from None
    except DAMAGED as error:
        msg = f"This {name.replace('WEBP', 'WebP')} file is cut off or damaged."
        raise PictureUnavailable(msg) from error
    return image


@cache
def _learn_formats() -> None:
    """Import the four formats by name: Pillow imports dozens of others when it has to look for one itself."""
    give_back_large_blocks()
    for name in ("Gif", "Jpeg", "Png", "WebP"):
        import_module(f"PIL.{name}ImagePlugin")


def _wrong_format(head: bytes) -> PictureUnavailable:
    only = "Only PNG, JPEG, WebP and GIF pictures can be used; this is"
    if other := _named(head, _OTHER_FORMATS):
        return PictureUnusable(f"{only} {other}.")
    return PictureUnavailable(f"{only} {_named(head, _SENT_INSTEAD) or 'something else'}.")


def _named(head: bytes, kinds: Sequence[tuple[re.Pattern[bytes], str]]) -> str | None:
    return next((name for signature, name in kinds if signature.match(head)), None)


def _too_large(max_pixels: int) -> PictureUnusable:
    return PictureUnusable(f"The picture has more than {max_pixels / 1e6:g} million pixels, the limit here.")


_workers: RunVar[anyio.CapacityLimiter] = RunVar("flux2_mcp.images workers")


async def in_worker(work: Callable[[], T]) -> T:
    """Do work on pixels outside the event loop, at most two such works at once: each holds a decoded picture."""
    try:
        limiter = _workers.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(2)
        _workers.set(limiter)
    return await anyio.to_thread.run_sync(work, limiter=limiter)
