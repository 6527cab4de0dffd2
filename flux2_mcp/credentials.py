"""Where an API key comes from: the environment, else the file that RunAPI's own tools share.

The file is `config.json` in `$RUNAPI_CONFIG_DIR`, else `$XDG_CONFIG_HOME/runapi`, else `~/.config/runapi`, as RunAPI's
command line looks for it. It is read for every request, so that a key saved meanwhile is used without a restart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from flux2_mcp.errors import NoApiKey, UnusableApiKey
from flux2_mcp.settings import PLACEHOLDER, Settings

DEFAULT_BASE_URL = "https://runapi.ai"
LONGEST_KEY = 512


@dataclass(frozen=True)
class Credentials:
    """A key and the RunAPI that it is for."""

    key: str
    base_url: str

    def __repr__(self) -> str:
        return f"Credentials(key=[hidden], base_url={self.base_url!r})"


def credentials(settings: Settings, *, home: Path) -> Credentials:
    """The key to pay with. Reads a file: call it in a worker thread.

    Raises:
        NoApiKey: There is none, or only an unexpanded placeholder.
        UnusableApiKey: What is there cannot be a key.
    """
    saved = _saved(config_file(settings, home=home))
    base_url = settings.base_url or _text(saved, "base_url", "baseUrl") or DEFAULT_BASE_URL
    if settings.api_key is not None:
        return Credentials(checked_key(settings.api_key.get_secret_value(), "RUNAPI_API_KEY"), base_url)
    key = _text(saved, "api_key", "apiKey")
    if not key:
        raise NoApiKey
    return Credentials(checked_key(key, "The saved RunAPI key"), base_url)


def base_url(settings: Settings, *, home: Path) -> str:
    """The RunAPI to ask for what needs no key. Reads a file: call it in a worker thread."""
    if settings.base_url:
        return settings.base_url
    saved = _saved(config_file(settings, home=home))
    return _text(saved, "base_url", "baseUrl") or DEFAULT_BASE_URL


def config_file(settings: Settings, *, home: Path) -> Path:
    """The file that RunAPI's own tools keep their key in."""
    if settings.runapi_config_dir:
        return _expanded(settings.runapi_config_dir, home) / "config.json"
    parent = _expanded(settings.xdg_config_home, home) if settings.xdg_config_home else home / ".config"
    return parent / "runapi" / "config.json"


def checked_key(key: str, source: str) -> str:
    """The same key, if it can be one. The sentences never quote it.

    Raises:
        NoApiKey: It is an unexpanded placeholder.
        UnusableApiKey: It has letters that no HTTP header can carry, or is far too long.
    """
    if PLACEHOLDER.fullmatch(key):
        msg = f"{source} is an unexpanded placeholder: the host did not put the key in its place."
        raise NoApiKey(msg)
    if not key.isascii():
        msg = f"{source} contains a letter outside ASCII, so it cannot be a RunAPI key."
        raise UnusableApiKey(msg)
    if not key.isprintable() or " " in key:
        msg = f"{source} contains a line break, a space or another control character, so it cannot be a RunAPI key."
        raise UnusableApiKey(msg)
    if len(key) > LONGEST_KEY:
        msg = f"{source} is longer than any RunAPI key."
        raise UnusableApiKey(msg)
    return key


def _expanded(folder: str, home: Path) -> Path:
    """A leading ~ is this home: no shell stands between a host's configuration and us."""
    parts = Path(folder).parts
    return home.joinpath(*parts[1:]) if parts[:1] == ("~",) else Path(folder)


def _saved(path: Path) -> Mapping[str, object]:
    """What the file holds; an unreadable one counts as empty, as in the vendor's own server."""
    try:
        # Windows editors begin a file with a byte order mark.
        content: object = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return cast("Mapping[str, object]", content) if isinstance(content, dict) else {}


def _text(saved: Mapping[str, object], *names: str) -> str:
    found = (saved.get(name) for name in names)
    return next((text.strip() for text in found if isinstance(text, str) and text.strip()), "")
