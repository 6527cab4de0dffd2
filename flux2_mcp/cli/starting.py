"""The command that a host should start us with."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


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
    released: bool | None = None,
    which: Callable[[str], str | None] = shutil.which,
) -> Start:
    """Let uvx start an installed release where uv is there, or else the very program that is running.

    Hosts that are started from a dock or a menu do not have a shell's PATH, and then say `spawn uvx ENOENT`: so uvx is
    named with its whole path, except where others read the same file (`to_share`).
    """
    if not (is_release() if released is None else released):
        return this_program()
    uvx = which("uvx") or _beside_uv(environ)
    if uvx is None:
        return this_program()
    return Start("uvx", ("flux2-mcp",), only_here=False) if to_share else Start(uvx, ("flux2-mcp",))


def this_program() -> Start:
    """The flux2-mcp of the environment that runs now."""
    # Not resolved: the python of a virtual environment is a link out of it.
    folder = Path(sys.executable).parent
    script = folder / ("flux2-mcp.exe" if sys.platform == "win32" else "flux2-mcp")
    return Start(str(script)) if script.is_file() else Start(sys.executable, ("-m", "flux2_mcp"))


def as_typed(program: str, *, which: Callable[[str], str | None] = shutil.which) -> str:
    """What a person types to start this program (`sys.argv[0]`) again from the folder that they are in."""
    path = Path(program).absolute()
    if path.stem != "flux2-mcp" or which("flux2-mcp") == str(path):
        return "flux2-mcp"
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def is_release() -> bool:
    """Whether this package came from an index, and not from a folder, a file or a repository."""
    try:
        origin = distribution("flux2-mcp").read_text("direct_url.json")
    except PackageNotFoundError:
        return False
    return not origin or not json.loads(origin).get("url")


def _beside_uv(environ: Mapping[str, str]) -> str | None:
    """Uv tells the programs that it starts where it is."""
    uv = Path(environ.get("UV", ""))
    uvx = uv.with_name(uv.name.replace("uv", "uvx", 1)) if uv.name else uv
    return str(uvx) if uv.name and uvx.is_file() else None
