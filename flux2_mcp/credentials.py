"""Where an API key comes from, and where a login saves it: the environment, else the file that RunAPI's tools share.

The file is `config.json` in `$RUNAPI_CONFIG_DIR`, else `$XDG_CONFIG_HOME/runapi`, else `~/.config/runapi`, as RunAPI's
command line looks for it. It is read for every request, so that a key saved meanwhile is used without a restart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import cast

from flux2_mcp import files
from flux2_mcp.errors import BadSetting, NoApiKey, UnusableApiKey
from flux2_mcp.invocation import command
from flux2_mcp.settings import PLACEHOLDER, Settings

DEFAULT_BASE_URL = "https://runapi.ai"
LONGEST_KEY = 512
VARIABLE = "RUNAPI_API_KEY"

EXAMPLE = re.compile(
    r"(?:runapi_|sk-)?(?:<.*>|\[.*\]|(?:your|my|insert|paste|replace|put|enter)[-_ ].*"
    r"|api[-_ ]?key|change[-_ ]?me|placeholder|x{3,}|\*{3,}|\.{3,}|…)",
    re.IGNORECASE,
)
"""What examples write instead of a key: `your-api-key`, `<YOUR_KEY>`, `runapi_xxxx`."""

KEYS = ("api_key", "apiKey")
ADDRESSES = ("base_url", "baseUrl")
OURS = (*KEYS, "created_at")
PREFIXES = ("runapi_", "sk-")
HIDDEN = "•" * 8


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
    if settings.api_key is not None:
        key = checked_key(settings.api_key.get_secret_value(), VARIABLE)
        return Credentials(key, settings.base_url or DEFAULT_BASE_URL)
    saved = saved_credentials(settings, home=home)
    if saved is None:
        raise NoApiKey
    return Credentials(checked_key(saved.key, "The saved RunAPI key"), settings.base_url or saved.base_url)


def base_url(settings: Settings, *, home: Path) -> str:
    """The RunAPI to ask for what needs no key. Reads a file: call it in a worker thread."""
    if settings.base_url:
        return settings.base_url
    # The saved address is for the saved key: another one, from the environment, must never go there.
    saved = saved_credentials(settings, home=home) if settings.api_key is None else None
    return saved.base_url if saved else DEFAULT_BASE_URL


def saved_credentials(settings: Settings, *, home: Path) -> Credentials | None:
    """The key in the file, unchecked, and the address beside it; None when there is no key."""
    saved = _saved(config_file(settings, home=home))
    key = _text(saved, *KEYS)
    return Credentials(key, _text(saved, *ADDRESSES) or DEFAULT_BASE_URL) if key else None


def config_file(settings: Settings, *, home: Path) -> Path:
    """The file that RunAPI's own tools keep their key in."""
    if settings.runapi_config_dir:
        return expanded(settings.runapi_config_dir, home) / "config.json"
    parent = expanded(settings.xdg_config_home, home) if settings.xdg_config_home else home / ".config"
    return parent / "runapi" / "config.json"


def checked_key(key: str, source: str) -> str:
    """The same key, if it can be one. The sentences never quote it.

    Raises:
        NoApiKey: It is an unexpanded placeholder.
        UnusableApiKey: It is what documents write instead of a key, no HTTP header can carry it, or it is far too long.
    """
    if PLACEHOLDER.fullmatch(key):
        msg = f"{source} is an unexpanded placeholder: the host did not put the key in its place."
        raise NoApiKey(msg, remedy=_unset() if source == VARIABLE else None)
    if EXAMPLE.fullmatch(key):
        msg = f"{source} is the placeholder of an example, not a key."
        raise UnusableApiKey(msg, remedy=_instead() if source == VARIABLE else None)
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


def expanded(folder: str, home: Path) -> Path:
    """The folder with a leading ~ replaced: no shell expands what a host's configuration says."""
    parts = Path(folder).parts
    return home.joinpath(*parts[1:]) if parts[:1] == ("~",) else Path(folder)


def source(settings: Settings, *, home: Path) -> str:
    """Where a key would come from, in words."""
    return VARIABLE if settings.api_key is not None else str(config_file(settings, home=home))


def source_of_address(settings: Settings, *, home: Path) -> str:
    """Where the address comes from, in words; empty for RunAPI's own. Reads a file."""
    if base_url(settings, home=home) == DEFAULT_BASE_URL:
        return ""
    return "RUNAPI_BASE_URL" if settings.base_url else str(config_file(settings, home=home))


def masked(key: str) -> str:
    """A key as people may see it: `runapi_abcd••••••••1234`."""
    prefix = next((known for known in PREFIXES if key.startswith(known)), "")
    secret = key.removeprefix(prefix)
    # Of a short one the ends would be most of it.
    first, last = (secret[:4], secret[-4:]) if len(secret) >= 12 else ("", "")
    return f"{prefix}{first}{HIDDEN}{last}"


def file_to_change(settings: Settings, *, home: Path) -> Path:
    """The file for the key, if it can be changed without losing anything.

    Raises:
        BadSetting: It does not hold a JSON object, or cannot be read.
    """
    path = config_file(settings, home=home)
    try:
        text = path.read_text(encoding="utf-8")
        content: object = json.loads(text) if text.strip() else {}
    except FileNotFoundError:
        return path
    except (OSError, ValueError) as error:
        raise BadSetting(_unreadable(path)) from error
    if not isinstance(content, dict):
        raise BadSetting(_unreadable(path))
    return path


def save_key(key: str, settings: Settings, *, home: Path, base_url: str, now: datetime) -> Path:
    """Write the key where RunAPI's own tools find it too, and leave everything else in the file as it is.

    Raises:
        BadSetting: The file is not one that can be added to.
    """
    path = file_to_change(settings, home=home)
    saved = _saved(path)
    # Of the address one spelling stays: RunAPI's server prefers the other one, and the key is for this address.
    keeps_address = base_url != DEFAULT_BASE_URL or not saved.keys().isdisjoint(ADDRESSES)
    kept = {name: value for name, value in saved.items() if name not in {*OURS, *ADDRESSES}}
    address = {"base_url": base_url} if keeps_address else {}
    when = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    _replace(path, {**kept, **address, "api_key": key, "created_at": when})
    return path


def forget_key(settings: Settings, *, home: Path) -> Path | None:
    """Remove the saved key and the address that it is for, and nothing else; None when there was no key.

    Raises:
        BadSetting: The file is not one that can be changed.
    """
    path = file_to_change(settings, home=home)
    saved = _saved(path)
    if saved.keys().isdisjoint(KEYS):
        return None
    _replace(path, {name: value for name, value in saved.items() if name not in {*OURS, *ADDRESSES}})
    return path


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


def _unset() -> str:
    # Not to log in: the variable wins over what that saves.
    return (
        "Set the variable where the host is started, or take the line out of the host's config; then the key that "
        f"`{command('login')}` saved is used. Keys are made at https://runapi.ai/api_keys."
    )


def _instead() -> str:
    return (
        "Put a key from https://runapi.ai/api_keys in its place, or remove the variable where it is set and run "
        f"`{command('login')}`, which gets one."
    )


def _unreadable(path: Path) -> str:
    return f"{path} cannot be read as a JSON object, so it was left as it is. Fix or remove it first."


def _replace(path: Path, content: Mapping[str, object]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False)
    # A file that lies elsewhere, behind a symlink, stays there.
    target = path.resolve()
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.replace(target, f"{text}\n".encode())
    except OSError as error:
        msg = f"{target} cannot be written: {error.strerror or type(error).__name__}."
        raise BadSetting(msg) from error
