"""What an error of a database driver says: that the database cannot be used, or that we made a mistake."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Literal

from sqlalchemy import exc

Loss = Literal["away", "busy", "damaged", "unusable"]


class DatabaseLost(Exception):
    """The database cannot be used, for a reason that lies outside this program.

    `str()` is the end of a sentence that begins with the name of the database.
    """

    def __init__(self, reason: str, *, kind: Loss, detail: str = "") -> None:
        super().__init__(reason)
        self.kind: Loss = kind
        """"away" is a server to which the next connection may lead again."""
        self.detail = detail
        """What the driver said, for the log: it may name a host and a user."""
        self.is_half_done = False
        """Whether it was lost while it committed: then nobody knows what of the transaction is in it."""


@contextmanager
def losses() -> Generator[None]:
    """Raise DatabaseLost where the database, and not a statement of ours, is to blame."""
    try:
        yield
    except Exception as error:
        # SQLAlchemy wraps what the driver raises; `Statement` runs on the driver itself.
        if lost := _lost(error.orig if isinstance(error, exc.DBAPIError) else error):
            raise lost from error
        raise


_busy = partial(DatabaseLost, "is locked by another program", kind="busy")
_damaged = partial(DatabaseLost, "is damaged", kind="damaged")
_away = partial(DatabaseLost, "cannot be reached", kind="away")
_full = partial(DatabaseLost, "cannot grow: the disk is full", kind="unusable")
_read_only = partial(DatabaseLost, "cannot be written", kind="unusable")

_BY_SQLITE_CODE = {
    sqlite3.SQLITE_BUSY: _busy,
    sqlite3.SQLITE_LOCKED: _busy,
    sqlite3.SQLITE_CORRUPT: _damaged,
    sqlite3.SQLITE_NOTADB: _damaged,
    sqlite3.SQLITE_FULL: _full,
    sqlite3.SQLITE_READONLY: _read_only,
    sqlite3.SQLITE_PERM: _read_only,
    sqlite3.SQLITE_CANTOPEN: lambda: DatabaseLost(f"cannot be opened{_why_nothing_can()}", kind="unusable"),
    sqlite3.SQLITE_IOERR: partial(DatabaseLost, "cannot be read or written", kind="unusable"),
}


def _why_nothing_can() -> str:
    """Whether this process can open any file: SQLite does not say."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return f" ({error.strerror})"
    return ""


_BY_SQLSTATE = {
    "25006": _away,  # a standby took the place of the server: the next connection may lead to the new one
    "42501": partial(DatabaseLost, "does not let this user keep orders in it", kind="unusable"),
    "53100": _full,
    "55P03": _busy,
    "57014": partial(DatabaseLost, "did not answer in time", kind="unusable"),
}
"""PostgreSQL's; of the other errors that it reports, the names of the classes tell."""


def _lost(error: BaseException | None) -> DatabaseLost | None:
    """Tell a failure of the database from a mistake of ours, which has to stay visible."""
    if isinstance(error, sqlite3.Error):
        # The lower byte is the kind, the rest its detail.
        lost = _BY_SQLITE_CODE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        return lost() if lost else None
    if lost := _BY_SQLSTATE.get(getattr(error, "sqlstate", None) or ""):
        return lost(detail=str(error))
    # Another driver: its classes are not known here, but DB-API fixes their names.
    if {each.__name__ for each in type(error).__mro__} & {"OperationalError", "InterfaceError"}:
        return _away(detail=str(error))
    # The pool gave no connection in time.
    return _away(detail=str(error)) if isinstance(error, exc.TimeoutError) else None
