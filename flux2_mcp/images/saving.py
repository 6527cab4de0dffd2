"""Save a picture as a new file, and say why when that cannot be."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

import anyio.to_thread

from flux2_mcp import files
from flux2_mcp.errors import PictureNotSaved, RequestRefused, Wording
from flux2_mcp.files import THE_DISK, Disk
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
    errno.EMFILE: "this server has too many files open",
    errno.ENFILE: "this computer has too many files open",
    errno.ENAMETOOLONG: "the path is too long",
}


async def save(picture: Picture, *, folder: Path, name: str, disk: Disk = THE_DISK) -> Path:
    """Write the picture's own bytes into the folder, which is made if need be; the absolute path of the new file.

    The extension follows from the bytes. A file that exists is never overwritten, also when another process makes it at
    this moment: " (2)" is appended instead.

    Raises:
        PictureNotSaved: Why not. Nothing is left behind.
    """
    return await anyio.to_thread.run_sync(partial(_saved, picture, folder=folder, name=name, disk=disk))


def check_folder(folder: Path) -> None:
    """See that a picture can be saved in this folder, which need not be there yet. Writes to the disk, leaves nothing.

    Raises:
        RequestRefused: Why not.
    """
    try:
        files.check_writable(next(each for each in (folder, *folder.parents) if _is_there(each)))
    except OSError as error:
        msg = f"No picture can be saved in {folder}: {_reason(error)}."
        remedy = Wording("Give another folder as save_to.", "Name another folder with --save-to.")
        raise RequestRefused(msg, remedy=remedy) from error


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _reason(error: OSError) -> str:
    return _REASONS.get(error.errno or 0) or error.strerror or type(error).__name__


def _saved(picture: Picture, *, folder: Path, name: str, disk: Disk) -> Path:
    if not folder.is_absolute() or Path(name).name != name or not is_plain(name):
        msg = "The picture was not saved: that is not a folder and a file name."
        raise PictureNotSaved(msg)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = _candidates(folder, name, picture.extension)
        return files.add(names, picture.data, folder=folder, disk=disk)
    except OSError as error:
        msg = f"The picture was not saved in {folder}: {_reason(error)}."
        raise PictureNotSaved(msg) from error


def _candidates(folder: Path, name: str, extension: str) -> Iterator[Path]:
    yield folder / f"{name}{extension}"
    yield from (folder / f"{name} ({number}){extension}" for number in count(2))
