"""Callers with tokens that this server gave out: a file with one line for each, and one RunAPI key for all.

A line is `NAME SHA256 [max_cost_per_call=DOLLARS] [daily_budget=DOLLARS] [confirm_over=DOLLARS]`. The token itself is
in no file: it has 256 random bits, so that its plain SHA-256 tells nothing of it.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio.to_thread
from pydantic import TypeAdapter, ValidationError

from flux2_mcp import files
from flux2_mcp.budget import Limits
from flux2_mcp.callers import Caller
from flux2_mcp.errors import BadSetting
from flux2_mcp.invocation import command
from flux2_mcp.settings import Cents

logger = logging.getLogger(__name__)

FILE_NAME = "tokens"
PREFIX = "flux2_"
READ_EVERY = 1.0
"""Seconds for which the file is taken to be as it was: a token that is revoked works that much longer."""
HEADER = "# name, SHA-256 of the token, limits; see `flux2-mcp token --help`\n"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LIMITS = {"max_cost_per_call": "per_call", "daily_budget": "per_day", "confirm_over": "confirm_over"}
"""What a line may state -> the field of Limits."""
_cents: TypeAdapter[int | None] = TypeAdapter(Cents)


@dataclass(frozen=True)
class Entry:
    """One line of the file."""

    name: str
    digest: str
    """SHA-256 of the token, as hex."""
    stated: Mapping[str, str] = field(default_factory=dict[str, str])
    """Limits that differ from the server's, in dollars, as they are written."""

    @property
    def line(self) -> str:
        """As it stands in the file."""
        return " ".join([self.name, self.digest, *(f"{name}={value}" for name, value in self.stated.items())])

    def limits(self, usual: Limits) -> Limits:
        """The limits of this caller, in US cents."""
        return replace(usual, **{_LIMITS[name]: _cents.validate_python(value) for name, value in self.stated.items()})


class Tokens:
    """Knows callers by the tokens in a file, which is read again when it has changed."""

    def __init__(self, path: Path, *, key: str, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._key = key
        self._limits = limits
        self._clock = clock
        self._seen: object = None
        self._good_until = -1.0
        self._callers: dict[str, Caller] = {}
        """By the digests of their tokens."""

    def read(self) -> int:
        """Read the file, if it has changed; how many callers there are. Blocks.

        Raises:
            BadSetting: It cannot be read, or a line of it cannot be understood.
        """
        try:
            stat = self._path.stat()
            if self._seen != (seen := (stat.st_mtime_ns, stat.st_size, stat.st_ino)):
                self._callers = {
                    entry.digest: Caller(f"token {entry.name}", self._key, entry.limits(self._limits), brings_key=False)
                    for entry in entries(self._path)
                }
                self._seen = seen
        except FileNotFoundError:
            self._seen, self._callers = None, {}
        except OSError as error:
            raise _unreadable(self._path, error) from error
        return len(self._callers)

    async def caller(self, credential: str) -> Caller | None:
        """Whose token this is."""
        if (now := self._clock()) >= self._good_until:
            self._good_until = now + READ_EVERY
            try:
                await anyio.to_thread.run_sync(self.read)
            except BadSetting as error:
                logger.error("%s The tokens that were known before are used.", error)  # noqa: TRY400 foreseen
        # Found by a hash of what was sent: how long it takes tells nothing of the tokens there are.
        return self._callers.get(digest_of(credential))


def entries(path: Path) -> list[Entry]:
    """The lines of the file; none when there is no file yet. Blocks.

    Raises:
        BadSetting: It cannot be read, or a line of it cannot be understood; no digest is quoted.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    lines = ((nth, line.split("#")[0].split()) for nth, line in enumerate(text.splitlines(), 1))
    found = [_entry(words, f"{path}, line {nth}") for nth, words in lines if words]
    names = [entry.name for entry in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        msg = f"{path} names {twice} twice."
        raise BadSetting(msg)
    return found


def add(path: Path, name: str, stated: Mapping[str, str]) -> str:
    """Give a new caller a token, which is told only here. Blocks.

    Raises:
        BadSetting: The name or a limit cannot be used, there is one of that name, or the file cannot be changed.
    """
    known = entries(path)
    if any(entry.name == name for entry in known):
        msg = f"There is a token for {name} already."
        raise BadSetting(msg, remedy=f"Take another name, or revoke it first: `{command(f'token revoke {name}')}`.")
    token = PREFIX + secrets.token_urlsafe(32)
    words = [name, digest_of(token), *(f"{limit}={value}" for limit, value in stated.items())]
    _write(path, [*known, _entry(words, "The new token")])
    return token


def revoke(path: Path, name: str) -> None:
    """Take a caller's token back. Blocks.

    Raises:
        BadSetting: There is none of that name, or the file cannot be changed.
    """
    known = entries(path)
    left = [entry for entry in known if entry.name != name]
    if len(left) == len(known):
        msg = f"There is no token for {name!r} in {path}."
        raise BadSetting(msg, remedy=f"`{command('token list')}` says who has one.")
    _write(path, left)


def digest_of(token: str) -> str:
    """What the file keeps of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _entry(words: list[str], where: str) -> Entry:
    name, digest, *more = [*words, ""] if len(words) == 1 else words
    if not _NAME.fullmatch(name):
        msg = f"{where}: {name[:64]!r} cannot be a name: letters, digits and . _ @ - are used for it."
        raise BadSetting(msg)
    if not _DIGEST.fullmatch(digest):
        msg = f"{where}: behind the name a token's SHA-256 is missing."
        raise BadSetting(msg)
    stated: dict[str, str] = {}
    for each in more:
        limit, _, stated[limit] = each.partition("=")
    for limit, value in stated.items():
        if limit not in _LIMITS:
            msg = f"{where}: there is no limit {limit[:40]!r}. There are {', '.join(_LIMITS)}."
            raise BadSetting(msg)
        try:
            _cents.validate_python(value)
        except ValidationError as error:
            msg = f'{where}: {limit} may be an amount in US dollars, such as 0.50, or "off".'
            raise BadSetting(msg) from error
    return Entry(name, digest, stated)


def _write(path: Path, all_of_them: Iterable[Entry]) -> None:
    text = HEADER + "".join(f"{entry.line}\n" for entry in all_of_them)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, text.encode())
    except OSError as error:
        raise _unreadable(path, error, "written") from error


def _unreadable(path: Path, error: Exception, done: str = "read") -> BadSetting:
    why = error.strerror if isinstance(error, OSError) else "it is no text"
    return BadSetting(f"{path}, which has the tokens of this server's callers, cannot be {done}: {why}.")
