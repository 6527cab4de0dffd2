"""Who is looked at, and what is found."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from flux2_mcp.errors import BadSetting, Flux2Error
from flux2_mcp.polling import Sleep
from flux2_mcp.settings import Settings

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    words: str
    mend: str = ""
    """What to do about it; empty when all is well."""

    @property
    def is_well(self) -> bool:
        return not self.mend

    @classmethod
    def of(cls, name: str, error: Flux2Error, *, mend: str = "") -> Finding:
        """What an error of ours says."""
        return cls(name, error.message, mend or error.remedy or "Correct it where it is set.")


@dataclass(frozen=True)
class Patient:
    """A computer with flux2-mcp on it; tests have one of their own."""

    environ: Mapping[str, str]
    home: Path
    python: tuple[int, ...] = sys.version_info[:3]
    platform: str = sys.platform
    transport: httpx.AsyncBaseTransport | None = None
    """The way to RunAPI; the network when None."""
    sleep: Sleep = anyio.sleep
    host_patience: float = 30.0
    """Seconds that a server of a host's has to start."""

    @cached_property
    def settings(self) -> Settings:
        """The settings that can be used; what is wrong with the others is a finding of its own."""
        return Settings.from_environ({name: text for name, text in self.environ.items() if _is_usable(name, text)})


def _is_usable(name: str, text: str) -> bool:
    try:
        Settings.from_environ({name: text})
    except BadSetting:
        return False
    return True
