"""A host's config file on disk: read whole, set aside, and replaced in one step."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from stat import S_IMODE

from flux2_mcp import files
from flux2_mcp.errors import UnreadableConfig


@dataclass(frozen=True)
class ConfigFile:
    """A file and what it held when it was read; `text` is None where there is no file."""

    path: Path
    text: str | None

    @classmethod
    def read(cls, path: Path) -> ConfigFile:
        """The file at this path; links are followed, since people keep such files in repositories of their own.

        Raises:
            UnreadableConfig: It is there, and cannot be read.
        """
        try:
            where = path.resolve()
            return cls(where, where.read_bytes().decode() if where.exists() else None)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            msg = f"{path} cannot be read: {reason}."
            raise UnreadableConfig(msg) from None

    def replace(self, text: str) -> Path | None:
        """Replace the file's text, and return the path of a copy of the old file.

        Raises:
            UnreadableConfig: Somebody else wrote to it meanwhile, or it cannot be written.
        """
        try:
            if ConfigFile.read(self.path).text != self.text:
                msg = f"{self.path} changed just now, and was left as it is."
                raise UnreadableConfig(msg, remedy="Try again.")
            return self._replaced(text.encode())
        except OSError as error:
            msg = f"{self.path} cannot be written: {error.strerror}."
            raise UnreadableConfig(msg) from None

    def _replaced(self, content: bytes) -> Path | None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.text is None:
            files.replace(self.path, content)
            return None
        backup = _backup_name(self.path)
        shutil.copy2(self.path, backup)
        files.replace(self.path, content, mode=S_IMODE(self.path.stat().st_mode))
        return backup


def _backup_name(path: Path) -> Path:
    """A free name for a copy of the old file; every copy is kept, since people often want the first."""
    first = path.with_name(f"{path.name}.before-flux2")
    later = (path.with_name(f"{path.name}.before-flux2.{number}") for number in range(2, 10_000))
    return first if not first.exists() else next(name for name in later if not name.exists())
