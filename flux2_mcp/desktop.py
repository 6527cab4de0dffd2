"""What the person's desktop does with a file: open it, or show it in the file manager."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

Shown = Literal["file", "folder"]
OpenFile = Callable[[Path, Shown], bool]
"""Opens a file, or shows it in its folder; says whether there is a desktop that could."""


def open_file(file: Path, shown: Shown) -> bool:
    """Have the system's program open the file, or the file manager show it; blocking, but for a moment only."""
    in_folder = shown == "folder"
    if sys.platform == "win32":
        if in_folder:
            return _started(["explorer", f"/select,{file}"])
        try:
            os.startfile(file)  # noqa: S606 a picture that we have saved
        except OSError:
            return False
        return True
    if sys.platform == "darwin":
        return _started(["open", *(["-R"] if in_folder else []), str(file)])
    has_screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return has_screen and _started(["xdg-open", str(file.parent if in_folder else file)])


def _started(command: Sequence[str]) -> bool:
    quiet = subprocess.DEVNULL
    try:
        # In a session of its own, so that it outlives a Ctrl-C here; nothing of it may reach a host's stdout.
        subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)  # noqa: S603 no shell
    except OSError:
        return False
    return True
