"""Small disks that a test fills, frees and makes read-only: file systems in memory."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

KIB = 1024


@dataclass(frozen=True)
class Disk:
    """One that is mounted."""

    folder: Path

    def fill(self) -> None:
        """Leave no room."""
        with (self.folder / "filler").open("ab", buffering=0) as filler:
            size = 64 * KIB
            while size:
                try:
                    filler.write(b"x" * size)
                except OSError:
                    size //= 2

    def free(self) -> None:
        """Give the room back."""
        (self.folder / "filler").unlink()

    def protect(self) -> None:
        """Let nobody write any more."""
        _as_root("mount", "-o", "remount,ro", str(self.folder))


@contextmanager
def small_disk(folder: Path, *, kib: int = 1024) -> Generator[Disk]:
    """A disk of this size, mounted at this new folder."""
    folder.mkdir()
    try:
        _as_root("mount", "-t", "tmpfs", "-o", f"size={kib}k,uid={os.getuid()},mode=700", "none", str(folder))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk is mounted as root, or by sudo without a password")
    try:
        yield Disk(folder)
    finally:
        _as_root("umount", "--lazy", str(folder))


def _as_root(*command: str) -> None:
    sudo = [] if os.getuid() == 0 else [shutil.which("sudo") or "sudo", "-n"]
    subprocess.run([*sudo, *command], check=True, capture_output=True, timeout=10)  # noqa: S603
