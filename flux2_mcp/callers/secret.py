"""The secret of a server that many use: what names callers, and seals what they are given to bring back."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from flux2_mcp.errors import BadSetting

FILE_NAME = "secret"
SHORTEST = 32
"""Characters."""
HOW_TO_MAKE = 'Make one with: python -c "import secrets; print(secrets.token_hex(32))"'


class Secret:
    """Derives other secrets, so that nobody who learns one learns another."""

    def __init__(self, value: str) -> None:
        self._value = value.encode()

    def key(self, purpose: str) -> bytes:
        """32 bytes for this purpose."""
        return hmac.digest(self._value, f"key for {purpose}".encode(), "sha256")

    def name_of(self, kind: str, credential: str) -> str:
        """A name that tells nothing of the credential."""
        return f"{kind} {hmac.digest(self._value, f'{kind} {credential}'.encode(), 'sha256').hex()[:32]}"


def secret(given: str | None, *, folder: Path) -> Secret:
    """FLUX2_SECRET, or what lies in the data folder, made the first time. Blocks.

    Raises:
        BadSetting: It is too short to be one, or the folder cannot be used.
    """
    if given is not None:
        return Secret(_checked(given, "FLUX2_SECRET"))
    path = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _make(path)
        return Secret(_checked(path.read_text(encoding="ascii").strip(), str(path)))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text of ours"
        msg = f"{path}, which names the callers of this server, cannot be used: {why}."
        raise BadSetting(msg, remedy="Set FLUX2_SECRET, or FLUX2_DATA_DIR to a folder that can be written.") from error


def _make(path: Path) -> None:
    """Make the file whole, or leave the one that is there."""
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another server was first
    finally:
        draft.unlink()


def _checked(value: str, source: str) -> str:
    if len(value) < SHORTEST:
        msg = f"{source} is too short to be a secret: {SHORTEST} characters are needed."
        raise BadSetting(msg, remedy=HOW_TO_MAKE)
    return value
