"""What is checked, and what was found."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import anyio

from flux2_mcp.cli.hosts import Machine
from flux2_mcp.errors import BadSetting, Flux2Error
from flux2_mcp.polling import Sleep
from flux2_mcp.settings import Settings

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    message: str
    fix: str = ""
    """What to do about it; empty when it is ok."""

    @property
    def is_ok(self) -> bool:
        return not self.fix

    @classmethod
    def of(cls, name: str, error: Flux2Error, *, fix: str = "") -> Finding:
        """What an error of ours says."""
        return cls(name, error.typed_message, fix or error.typed_remedy or "Correct it where it is set.")


@dataclass(frozen=True)
class Computer(Machine):
    """A computer with flux2-mcp on it; tests have one of their own."""

    python: tuple[int, ...] = sys.version_info[:3]
    transport: httpx.AsyncBaseTransport | None = None
    """The way to RunAPI; the network when None."""
    sleep: Sleep = anyio.sleep
    host_timeout: float = 30.0
    """Seconds that a host's server has to start."""

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
