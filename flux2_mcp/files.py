"""Write a file whole or not at all: add a new one, or replace one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Final

OWNER_ONLY: Final = 0o600
ANYBODY: Final = 0o666
"""What the user's umask leaves of it, as for any file."""


class Disk:
    """What adding a file needs of a disk; tests have disks that fail."""

    def write(self, path: Path, data: bytes) -> None:
        """Make a new file with these bytes; they have left our hands when this returns."""
        _write(path, data, mode=ANYBODY)

    def link(self, draft: Path, path: Path) -> None:
        """Give the file a second name.

        Raises:
            FileExistsError: The name is taken.
        """
        path.hardlink_to(draft)


THE_DISK: Final = Disk()


def add(names: Iterable[Path], data: bytes, *, folder: Path, disk: Disk = THE_DISK) -> Path:
    """Make a new file in this folder, by the first of these names that is free; the path that it got.

    A file that exists is never overwritten, also when another process makes it at this moment.

    Raises:
        OSError: Why not. Nothing is left behind.
    """
    with _draft_in(folder) as draft:
        disk.write(draft, data)
        return next(path for path in names if _is_named(draft, path, disk))


def replace(path: Path, data: bytes, *, mode: int = OWNER_ONLY) -> None:
    """Replace a file by one with these bytes and this mode; links are followed.

    Raises:
        OSError: Why not. What was there is as it was, and nothing is left behind.
    """
    target = path.resolve()
    with _draft_in(target.parent) as draft:
        _write(draft, data, mode=OWNER_ONLY)
        if mode != OWNER_ONLY:
            draft.chmod(mode)
        draft.replace(target)


def check_writable(folder: Path) -> None:
    """See that a file can be made in this folder, by making one.

    Raises:
        OSError: Why not. Nothing is left behind.
    """
    with _draft_in(folder) as draft:
        _write(draft, b"", mode=OWNER_ONLY)


@contextmanager
def _draft_in(folder: Path) -> Generator[Path]:
    """A name for a file that is gone afterwards, unless it has got another name by then."""
    # In the same folder, because a file gets its name in one step only within one file system.
    draft = folder / f".flux2-{secrets.token_hex(8)}.part"
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _write(path: Path, data: bytes, *, mode: int) -> None:
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


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
