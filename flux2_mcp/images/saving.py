"""Write a picture so that it is there whole or not at all, and nothing else is lost."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

import anyio.to_thread

from flux2_mcp.errors import PictureNotSaved
from flux2_mcp.images.formats import Picture
from flux2_mcp.images.naming import is_plain

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


class Disk:
    """What saving asks of a disk."""

    def write(self, path: Path, data: bytes) -> None:
        """Make a new file with these bytes; they have left our hands when this returns."""
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def link(self, draft: Path, path: Path) -> None:
        """Give the file a second name.

        Raises:
            FileExistsError: The name is taken.
        """
        path.hardlink_to(draft)


THE_DISK: Final = Disk()


async def save(picture: Picture, *, folder: Path, name: str, disk: Disk = THE_DISK) -> Path:
    """Write the picture's own bytes into the folder, which is made if need be; the absolute path of the new file.

    The extension follows from the bytes. A file that exists is never overwritten, also when another process makes it at
    this moment: " (2)" is appended instead.

    Raises:
        PictureNotSaved: Why not. Nothing is left behind.
    """
    return await anyio.to_thread.run_sync(partial(_saved, picture, folder=folder, name=name, disk=disk))


def _saved(picture: Picture, *, folder: Path, name: str, disk: Disk) -> Path:
    if not folder.is_absolute() or Path(name).name != name or not is_plain(name):
        msg = "The picture was not saved: that is not a folder and a file name."
        raise PictureNotSaved(msg)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = _in_one_step(picture, folder=folder, name=name, disk=disk)
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


def _in_one_step(picture: Picture, *, folder: Path, name: str, disk: Disk) -> Path:
    # In the same folder, because a file gets its name in one step only within one file system.
    draft = folder / f".flux2-{secrets.token_hex(8)}.part"
    try:
        disk.write(draft, picture.data)
        return next(path for path in _candidates(folder, name, picture.extension) if _is_named(draft, path, disk))
    finally:
        draft.unlink(missing_ok=True)


def _candidates(folder: Path, name: str, extension: str) -> Iterator[Path]:
    yield folder / f"{name}{extension}"
    yield from (folder / f"{name} ({number}){extension}" for number in count(2))


def _is_named(draft: Path, path: Path, disk: Disk) -> bool:
    """Whether the finished file got this name; it does not when there is a file of that name."""
    try:
        disk.link(draft, path)
    except FileExistsError:
        return False
    except OSError:
        # No hard links on FAT and on some network drives.
        return _is_taken_and_filled(draft, path)
    return True


def _is_taken_and_filled(draft: Path, path: Path) -> bool:
    """The same in two steps: nobody else can take the name in between, but an empty file can be seen."""
    try:
        path.open("xb").close()
    except FileExistsError:
        return False
    try:
        draft.replace(path)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True
