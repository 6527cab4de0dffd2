"""The command that a host should start us with."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flux2_mcp.invocation import SCRIPT, is_uvx, origin, path_of


@dataclass(frozen=True)
class Start:
    """A command and its arguments."""

    command: str
    args: tuple[str, ...] = ()
    only_here: bool = True
    """Whether it names a place on this machine."""


def start(
    environ: Mapping[str, str],
    *,
    to_share: bool = False,
    source: str | None = None,
    python: str = sys.executable,
    which: Callable[[str], str | None] = shutil.which,
) -> Start:
    """How a host should start us: with uvx a release, or what uvx runs now; without uvx this very program.

    Hosts that are started from a dock or a menu do not have a shell's PATH, and then say `spawn uvx ENOENT`: so uvx is
    named with its whole path, except where others read the same file (`to_share`). `source` is where this package was
    installed from, as `origin()` tells.
    """
    source = origin() if source is None else source
    if source and not is_uvx(Path(python).parent, environ):
        return this_program()
    uvx = which("uvx") or _beside_uv(environ)
    if uvx is None:
        return this_program()
    path = path_of(source)
    args = ("--from", str(path or source), "flux2-mcp") if source else ("flux2-mcp",)
    return Start("uvx", args, only_here=path is not None) if to_share else Start(uvx, args)


def this_program() -> Start:
    """The flux2-mcp of the environment that runs now."""
    # Not resolved: the python of a virtual environment is a link out of it.
    script = Path(sys.executable).parent / SCRIPT
    return Start(str(script)) if script.is_file() else Start(sys.executable, ("-m", "flux2_mcp"))


def _beside_uv(environ: Mapping[str, str]) -> str | None:
    """Where uvx is: uv names itself to the programs that it starts."""
    uv = Path(environ.get("UV", ""))
    uvx = uv.with_name(uv.name.replace("uv", "uvx", 1)) if uv.name else uv
    return str(uvx) if uv.name and uvx.is_file() else None
