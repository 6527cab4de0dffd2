"""What a user writes for a file -> an absolute path; and the folders that may be read."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from flux2_mcp.errors import BadSetting, SourceRefused

WINDOWS: Final = os.name == "nt"

_DRIVE: Final = re.compile(r"[A-Za-z]:[\\/]")


def checked_roots(
    home: Path,
    output: Path | None,
    input_roots: str | None,
    client_roots: Sequence[str] = (),
    *,
    temp: Path | None = None,
) -> tuple[Path, ...]:
    """The folders that may be read, symlinks followed: home, pictures, temp, FLUX2_INPUT_ROOTS, and the client's.

    `input_roots` is divided by `os.pathsep`; `client_roots` are file: URIs, and only those of a client on this very
    computer mean anything here. Looks at the disk: call it in a worker thread.

    Raises:
        BadSetting: FLUX2_INPUT_ROOTS has a relative path.
    """
    usual = [home, temp or _temp(), *_folders_of(client_roots, home)]
    # A service may have "/" for a home, and a host may offer it as its working directory: nobody meant all files.
    narrow = [path for path in map(_resolved, filter(None, usual)) if path != Path(path.anchor)]
    chosen = [_resolved(path) for path in ([output] if output else []) + list(_folders_in(input_roots or "", home))]
    return tuple(dict.fromkeys(narrow + chosen))


def path_in_url(url: str, *, windows: bool = WINDOWS) -> str:
    """The path in a file: URL.

    Raises:
        SourceRefused: It is on another computer, or no such URL.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        msg = "It is not a usable file: URL; one looks like file:///home/me/picture.png."
        raise SourceRefused(msg) from None
    if parts.netloc.lower() not in {"", "localhost"}:
        msg = "It names another computer; a file on this one is file:///…, with three slashes."
        raise SourceRefused(msg)
    if parts.query or parts.fragment:
        msg = "A file: URL has no '?' or '#'; in a file's name they are written %3F and %23."
        raise SourceRefused(msg)
    path = os.fsdecode(unquote_to_bytes(parts.path.encode(errors="replace")))
    return path[1:] if windows and _DRIVE.match(path[1:]) else path


def path_in(text: str, *, home: Path, windows: bool = WINDOWS) -> Path:
    """The absolute path that somebody wrote; `~` is the home directory.

    Raises:
        SourceRefused: It is relative, or of another operating system or computer.
    """
    if "\0" in text or not _is_encodable(text):
        msg = "It has a character that no path can have."
        raise SourceRefused(msg)
    if re.match(r"~(?:/|$)" if not windows else r"~(?:[/\\]|$)", text):
        return home / text[1:].lstrip("/\\" if windows else "/")
    _check_system(text, windows=windows)
    if not (PureWindowsPath(text) if windows else PurePosixPath(text)).is_absolute():
        example = "C:\\Users\\me\\picture.png" if windows else "/home/me/picture.png"
        msg = (
            "It is a relative path, and hosts start this server in any folder. "
            f"Give an absolute path, such as {example} or ~/picture.png."
        )
        raise SourceRefused(msg)
    return Path(text)


def lies_outside(text: str, *, home: Path, roots: Sequence[Path], windows: bool = WINDOWS) -> bool:
    """Whether this is the path or file: URL of something outside the roots. Only as written: looks at no disk."""
    text = text.strip()
    try:
        written = path_in_url(text, windows=windows) if text[:5].lower() == "file:" else text
        path = path_in(written, home=home, windows=windows)
    except SourceRefused:
        return False
    return not any(path.is_relative_to(root) for root in roots)


def _is_encodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _check_system(text: str, *, windows: bool) -> None:
    if not windows and (_DRIVE.match(text) or text.startswith("\\\\")):
        msg = "It is a Windows path, but this server does not run on Windows."
        raise SourceRefused(msg)
    if windows and text[:2].replace("/", "\\") == "\\\\":
        # Even to look there would send the user's name and password hash to that computer.
        msg = "Network and device paths are not opened. Give a path that begins with a drive letter."
        raise SourceRefused(msg)


def _folders_in(input_roots: str, home: Path) -> Iterator[Path]:
    for text in filter(None, map(str.strip, input_roots.split(os.pathsep))):
        try:
            yield path_in(text, home=home)
        except SourceRefused as error:
            msg = f"FLUX2_INPUT_ROOTS cannot be used: {text!r}. {error.message}"
            raise BadSetting(msg) from None


def _folders_of(client_roots: Sequence[str], home: Path) -> Iterator[Path]:
    for uri in client_roots:
        if uri.lower().startswith("file:"):
            try:
                yield path_in(path_in_url(uri), home=home)
            except SourceRefused:
                continue


def _temp() -> Path | None:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return None


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))
