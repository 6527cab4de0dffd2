"""How a person types one of our commands, so that every hint that names one works where it is read."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path

NAME = "flux2-mcp"
SCRIPT = f"{NAME}.exe" if sys.platform == "win32" else NAME

_typed: ContextVar[str] = ContextVar("typed", default=NAME)


def command(words: str) -> str:
    """A command of ours as the person types it: for `login`, that may be `.venv/bin/flux2-mcp login`."""
    return f"{_typed.get()} {words}"


def started_as(program: str, *, folder: Path | None) -> None:
    """Name commands from now on as this program (`sys.argv[0]`) is typed again in `folder`; None is anywhere."""
    _typed.set(as_typed(program, folder=folder))


def as_typed(
    program: str,
    *,
    folder: Path | None,
    python: str = sys.executable,
    environ: Mapping[str, str] = os.environ,
    which: Callable[[str], str | None] = shutil.which,
) -> str:
    """What to type to start this program again: its name where the shell finds it, else its path.

    Looks at the disk: call it before the event loop runs.
    """
    path = Path(os.path.abspath(program))  # noqa: PTH100 Path.absolute() keeps ".."
    is_module = path.parts[-2:] == ("flux2_mcp", "__main__.py")
    if path.stem != NAME and not is_module:
        return NAME  # a test, or a program of somebody's that uses us
    # Not resolved: the python of a virtual environment is a link out of it.
    own = Path(python).parent
    if is_uvx(own, environ):
        return _by_uvx(folder)
    script = own / SCRIPT if is_module else path
    if is_module and not script.is_file():
        return f"{_quoted(python)} -m flux2_mcp"
    found = which(NAME)
    # What uv starts has the folder of its own environment in PATH; the person's shell does not.
    is_found = found is not None and Path(found).with_suffix("") == script.with_suffix("")
    return NAME if is_found and not (environ.get("UV") and script.parent == own) else _quoted(_short(script, folder))


def is_uvx(folder: Path, environ: Mapping[str, str]) -> bool:
    """Whether the programs in this folder lie in uv's cache, from which it may take them away at any time."""
    return bool(environ.get("UV")) and any(part.startswith("archive-v") for part in folder.parts)


def origin() -> str:
    """The folder, file or repository that this package was installed from; empty for a release from an index."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        noted = json.loads(distribution(NAME).read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        return "."
    url = str(noted.get("url", ""))
    return f"{noted['vcs_info']['vcs']}+{url}" if "vcs_info" in noted else url


def install_extra(name: str) -> str:
    """What to type to get an optional part of this package: from where the package itself came."""
    source = origin()
    path = Path() if source == "." else path_of(source)
    what = f"{NAME}[{name}] @ {source}" if source else f"{NAME}[{name}]"
    wanted = f"-e {shlex.quote(f'{path}[{name}]')}" if path else shlex.quote(what)
    return f"{_quoted(sys.executable)} -m pip install {wanted}"


def path_of(url: str) -> Path | None:
    """The path that a file URL names; None for what is elsewhere."""
    # Here, because it brings an HTTP client of its own.
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    return Path(url2pathname(urlsplit(url).path)) if url.startswith("file:") else None


def _by_uvx(folder: Path | None) -> str:
    source = origin()
    if not source:
        return f"uvx {NAME}"
    path = path_of(source)
    return f"uvx --from {_quoted(_short(path, folder) if path else source)} {NAME}"


def _short(path: Path, folder: Path | None) -> str:
    if folder is None or not path.is_relative_to(folder):
        return str(path)
    inside = path.relative_to(folder)
    # A shell would look for a bare name in PATH only.
    return os.path.join(os.curdir, inside) if len(inside.parts) == 1 else str(inside)  # noqa: PTH118 Path drops "."


def _quoted(path: str) -> str:
    if sys.platform == "win32":
        return f'"{path}"' if " " in path else path
    return shlex.quote(path)
