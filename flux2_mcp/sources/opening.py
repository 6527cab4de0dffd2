"""Read an untrusted path or data: URI: inside the allowed folders, plain files only, never more than the limit."""

from __future__ import annotations

import base64
import binascii
import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from flux2_mcp.errors import SourceRefused

NO_FILE: Final = "There is no such file. Check how its path is written."
DESCRIPTORS: Final = Path("/proc/self/fd")
"""Where Linux says which file a descriptor is."""

# Without O_NONBLOCK a FIFO would hold the thread until somebody writes to it. The others are not on every system.
_FLAGS: Final = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC", "O_NOCTTY", "O_BINARY")
)
_REASONS: Final = {
    errno.ENOENT: NO_FILE,
    errno.ENOTDIR: NO_FILE,
    errno.EACCES: "This server may not read it.",
    errno.EPERM: "This server may not read it.",
    errno.ELOOP: "Its links cannot be followed.",
    errno.ENAMETOOLONG: "The path is too long.",
}
_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_file(path: Path, *, roots: Sequence[Path], limit: int, descriptors: Path = DESCRIPTORS) -> bytes:
    """The bytes of a plain file below one of the roots, at most `limit`. Blocks.

    The roots hold secrets too, such as ~/.ssh: those are kept by the caller, who refuses everything that is not a
    picture by its bytes and quotes none of them.

    Raises:
        SourceRefused: Why it is not read. Outside the roots, nothing tells whether the file exists.
    """
    if not roots:
        msg = "This server reads no files from its own disk. Give an https: address or a data: URI."
        raise SourceRefused(msg)
    try:
        real = Path(os.path.realpath(path))
        _check_inside(real, roots)
        # Looked at first, because to open a device can already set something going.
        _check_is_a_file(real.stat())
        with os.fdopen(os.open(real, _FLAGS), "rb") as file:
            found = os.fstat(file.fileno())
            _check_is_a_file(found)
            # Somebody may have put another file, or a link to one, in that place a moment ago.
            _check_inside(_where(file.fileno(), real, descriptors), roots)
            check_size(found.st_size, limit=limit)
            data = file.read(found.st_size + 1)
    except OSError as error:
        msg = _REASONS.get(error.errno or 0) or f"It cannot be read ({error.strerror})."
        raise SourceRefused(msg) from error
    if len(data) > found.st_size:
        msg = "It grew while it was being read. Give it again when it is finished."
        raise SourceRefused(msg)
    return data


def data_in(uri: str, *, limit: int) -> bytes:
    """The bytes in a data: URI; what it says about their type is not believed. Blocks for a while.

    Raises:
        SourceRefused: Too large, which is seen before they are decoded, or damaged.
    """
    head, comma, body = uri.partition(",")
    if not comma:
        msg = "The data: URI has no comma, and so no data."
        raise SourceRefused(msg)
    in_base64 = head.lower().rstrip().endswith(";base64")
    if len(body) > 4 * limit:
        # Not even percent signs and line breaks make so much of so little.
        check_size(len(body) * 3 // 4 if in_base64 else len(body) // 3, limit=limit)
    try:
        data = _from_base64(body, limit) if in_base64 else unquote_to_bytes(body)
    except (binascii.Error, ValueError):
        msg = "Its data is damaged or cut off; long data: URIs rarely survive being copied. Give a path instead."
        raise SourceRefused(msg) from None
    check_size(len(data), limit=limit)
    return data


def check_size(size: int, *, limit: int) -> None:
    """Refuse a source that is too large.

    Raises:
        SourceRefused: With both sizes.
    """
    if size > limit:
        shown = f"{size / 1e6:.1f} MB" if size >= limit + 50_000 else f"more than {limit / 1e6:g} MB"
        msg = f"It has {shown}; a source image may have {limit / 1e6:g} MB at most. Make it smaller first."
        raise SourceRefused(msg)


def _from_base64(body: str, limit: int) -> bytes:
    if "%" in body:
        body = unquote_to_bytes(body).decode("ascii", errors="replace")
    letters = "".join(body.split()).rstrip("=").replace("-", "+").replace("_", "/")
    check_size(len(letters) * 3 // 4, limit=limit)
    return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)


def _check_inside(real: Path, roots: Sequence[Path]) -> None:
    if not any(real.is_relative_to(root) for root in roots):
        allowed = ", ".join(map(str, roots))
        msg = (
            f"It leads outside the folders that this server may read: {allowed}. "
            "Copy the file there, or add its folder to FLUX2_INPUT_ROOTS."
        )
        raise SourceRefused(msg)


def _check_is_a_file(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "no plain file")
        msg = f"It is {kind}, not a picture."
        raise SourceRefused(msg)


def _where(descriptor: int, real: Path, descriptors: Path) -> Path:
    """Where the open file really lies."""
    try:
        return (descriptors / str(descriptor)).readlink()
    except OSError:
        # No /proc here: then the name must still, or again, mean the file that was opened.
        again = Path(os.path.realpath(real))
        if not os.path.samestat(os.fstat(descriptor), again.stat()):
            msg = "It was replaced by another file while it was being opened."
            raise SourceRefused(msg) from None
        return again
