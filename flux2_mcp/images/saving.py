"""Write a picture so that it is there whole or not at all, and nothing else is lost."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import anyio.to_thread

from flux2_mcp.errors import PictureNotSaved
from flux2_mcp.images.pictures import Picture

Write = Callable[[Path, bytes], None]
"""Makes a new file with these bytes, on the disk when it returns."""

_REASONS: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is too large for this disk",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "this server may not write there",
    errno.EPERM: "this server may not write there",
    errno.EEXIST: "there is a file in the place of a folder",
    errno.ENOTDIR: "there is a file in the place of a folder",
    errno.ENAMETOOLONG: "the path is too long",
}


def write_through(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


async def save(picture: Picture, *, folder: Path, name: str, write: Write = write_through) -> Path:
    """Write the picture's own bytes into the folder, which is made if need be; the absolute path of the new file.

    The extension follows from the bytes. A file that exists is never overwritten, also when another process makes it at
    this moment: " (2)" is appended instead.

    Raises:
        PictureNotSaved: Why not. Nothing is left behind.
    """
    return await anyio.to_thread.run_sync(partial(_saved, picture, folder=folder, name=name, write=write))


def _saved(picture: Picture, *, folder: Path, name: str, write: Write) -> Path:
    if not folder.is_absolute() or Path(name).name != name or "\\" in name:
        msg = "The picture was not saved: that is not a folder and a file name."
        raise PictureNotSaved(msg)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = _in_one_step(picture, folder=folder, name=name, write=write)
        complete = path.read_bytes() == picture.data
    except OSError as error:
        reason = _REASONS.get(error.errno or 0) or error.strerror or type(error).__name__
        msg = f"The picture was not saved in {folder}: {reason}."
        raise PictureNotSaved(msg) from error
    if not complete:
        path.unlink(missing_ok=True)
        msg = f"The picture was not saved in {folder}: what the disk gave back was not what had been written."
        raise PictureNotSaved(msg)
    return path


def _in_one_step(picture: Picture, *, folder: Path, name: str, write: Write) -> Path:
    # In the same folder, because a file gets its name in one step only within one file system.
    draft = folder / f".flux2-{secrets.token_hex(8)}.part"
    try:
        write(draft, picture.data)
        for path in _candidates(folder, name, picture.extension):
            try:
                _name(draft, path)
            except FileExistsError:
                continue
            return path
        raise FileExistsError(errno.EEXIST, "there are too many files of that name")
    finally:
        draft.unlink(missing_ok=True)


def _candidates(folder: Path, name: str, extension: str) -> Iterator[Path]:
    yield folder / f"{name}{extension}"
    for number in range(2, 10_000):
        yield folder / f"{name} ({number}){extension}"


def _name(draft: Path, path: Path) -> None:
    """Give the finished file its name, unless that is taken.

    Raises:
        FileExistsError: It is taken.
    """
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        raise
    except OSError:
        # No hard links on FAT and on some network drives: take the name first, then fill it.
        path.open("xb").close()
        draft.replace(path)
