"""What goes wrong on the server's own machine: names that lead nowhere, and a clock that jumps.

`install` runs in the server's process before anything else. What shall happen lies in a folder: a file `names-…` is
used up by the next name that is looked up, unless it is for always; `clock` says how far the clock is off.
"""

from __future__ import annotations

import socket
import time
from datetime import datetime, timedelta, tzinfo
from importlib import import_module
from pathlib import Path
from typing import Any

OURS = ("flux2_mcp.history.orders", "flux2_mcp.runapi.retry_after", "flux2_mcp.sources.uploads")
"""The modules that ask what time it is."""
CLOCK = "clock"
ALWAYS = "always"
NOBODY = "127.0.0.2"
"""This machine too, but nobody listens there: the gateway is at 127.0.0.1."""


def install(folder: str) -> None:
    """Have names and the clock of this process go by the files in the folder."""
    _install_names(Path(folder))
    _install_clock(Path(folder) / CLOCK)


def names_file(kind: str, nth: int | None) -> str:
    """The file for the n-th look-up of a name, or for all of them; its kind is `unknown` or `refused`."""
    return f"names-{ALWAYS if nth is None else nth}-{kind}"


def _install_names(folder: Path) -> None:
    look_up: Any = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *rest: Any, **more: Any) -> Any:  # noqa: ANN401 as in socket
        fault = next(iter(sorted(folder.glob("names-*"))), None)
        if host not in {"localhost", b"localhost"}:
            return look_up(host, port, *rest, **more)
        if fault is None:
            return look_up("127.0.0.1", port, *rest, **more)
        if ALWAYS not in fault.name:
            fault.unlink()
        if fault.name.endswith("unknown"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(NOBODY, port, *rest, **more)

    socket.getaddrinfo = getaddrinfo


def _install_clock(file: Path) -> None:
    now = time.time

    def off() -> float:
        return float(file.read_text(encoding="ascii")) if file.exists() else 0.0

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:  # noqa: ANN401 a plain datetime, as everybody else makes
            return datetime.now(tz) + timedelta(seconds=off())

    time.time = lambda: now() + off()
    for name in OURS:
        vars(import_module(name))["datetime"] = Jumping
