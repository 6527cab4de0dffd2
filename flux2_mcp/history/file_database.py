"""The orders in a file of SQLite's, and when that is damaged, in a new one."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, exc

from flux2_mcp.errors import Words
from flux2_mcp.history import FILE_NAME, schema
from flux2_mcp.history.batches import Work
from flux2_mcp.history.database import Database, log
from flux2_mcp.history.losses import DatabaseLost, losses
from flux2_mcp.history.queries import Queries

GUARD_NAME = "history.lock"

# Closing any descriptor of a file drops the locks that SQLite holds on it for the whole process, so the guard is made
# by one thread at a time, and before anybody holds it.
_making = threading.Lock()


class FileDatabase(Database):
    """Several processes of one machine may share the file."""

    def __init__(
        self,
        folder: Path,
        *,
        keeps_words: bool,
        patience: float,
        now: Callable[[], datetime],
        remedy: Words | None = None,
        name: str = "",
    ) -> None:
        super().__init__(keeps_words=keeps_words, patience=patience, remedy=remedy)
        self._path = folder / FILE_NAME
        self.name = name or str(self._path)
        self._now = now
        self._inode: int | None = None
        self._damage = ""
        """What became of a damaged file, as a sentence."""

    @property
    def degraded(self) -> str:
        return self._loss or self._damage

    def close(self) -> None:
        super().close()
        self._damage = ""

    def _run(self, works: Sequence[Work[Any]], *, writes: bool) -> None:
        engine = self._current()
        try:
            self._do(works, engine, writes=writes)
        except DatabaseLost as lost:
            self._replace(engine, lost)
            self._do(works, self._current(), writes=writes)

    def _made(self) -> Engine:
        with self._alone():
            try:
                return super()._made()
            except DatabaseLost as lost:
                return self._begin_anew(lost)

    def _connect(self) -> Engine:
        self._inode = _private(self._path)
        return schema.sqlite_file(self._path, patience=self._patience)

    def _replace(self, broken: Engine, lost: DatabaseLost) -> None:
        """Put a new file in the place of one that turned out damaged, with what can still be read from it.

        Raises:
            DatabaseLost: It is not damaged, or for the second time.
        """
        with self._setting_up:
            if self._engine is not broken:
                return  # another thread was first
            if lost.kind == "busy":
                raise lost

            rows = _what_matters(broken, since=self._now() - timedelta(days=1)) if lost.kind == "damaged" else []
            self._retire()
            if self._damage:
                raise lost
            with self._alone():
                self._engine = self._begin_anew(lost)
            with schema.writing(self._engine) as connection:
                Queries(connection, keeps_words=self._keeps_words).take_in(rows)

    def _begin_anew(self, lost: DatabaseLost) -> Engine:
        if lost.kind != "damaged":
            raise lost

        try:
            self._set_aside()
        except OSError as error:
            raise lost from error
        engine = super()._made()
        self._damage = (
            f"The history file {self._path} was damaged. It is kept beside the new one that was begun, as "
            "history.corrupt-*.sqlite3; earlier orders cannot be found, resumed or counted against a daily limit."
        )
        log.warning("%s", self._damage)
        return engine

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Keep other processes from making, opening or moving the file meanwhile.

        Raises:
            DatabaseLost: they did not finish in time, or there can be no file.
        """
        guard = self._path.with_name(GUARD_NAME)
        with _making, _file_errors():
            guard.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make(guard)
        # A lock by SQLite ends with its process, on every system.
        with losses():
            connection = sqlite3.connect(guard, timeout=self._patience, isolation_level=None)
        with closing(connection):
            with losses():
                connection.execute("BEGIN EXCLUSIVE")
            yield

    def _set_aside(self) -> None:
        path = self._path
        # Another process may have done it, and what lies here now is its new file.
        if not path.exists() or path.stat().st_ino != self._inode:
            return

        aside = f"history.corrupt-{self._now():%Y%m%dT%H%M%S%f}.sqlite3"
        # The log first: a new database must not find the old one's.
        for suffix in ("-wal", "-shm", ""):
            # Whoever closes the last connection to it removes the log.
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(path.with_name(aside + suffix))


def _private(path: Path) -> int:
    """Make the file when it is not there, for this user only, and give its inode."""
    with _file_errors():
        _make(path)
        return path.stat().st_ino
    raise AssertionError  # nothing is swallowed


@contextmanager
def _file_errors() -> Generator[None]:
    try:
        yield
    except OSError as error:
        reason = f"cannot be made ({error.strerror})"
        raise DatabaseLost(reason, kind="unusable") from error


def _make(path: Path) -> None:
    try:
        # SQLite gives its -wal and -shm files the mode of the database.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        mode = path.stat().st_mode
        if mode & 0o077:
            path.chmod(mode & 0o700)


def _what_matters(broken: Engine, *, since: datetime) -> list[dict[str, Any]]:
    try:
        with schema.reading(broken) as connection:
            return Queries(connection, keeps_words=True).since(since)
    except (DatabaseLost, exc.DBAPIError, ValueError):
        # A damaged file may say anything, also what is neither text nor JSON.
        return []
