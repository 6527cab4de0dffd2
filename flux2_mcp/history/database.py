"""The database that the orders are in: a file, and when it is damaged, a new one."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, exc

from flux2_mcp.errors import BadSetting, HistoryUnusable
from flux2_mcp.history import FILE_NAME, schema
from flux2_mcp.history.batches import Work
from flux2_mcp.history.queries import Queries
from flux2_mcp.history.schema import DatabaseLost

log = logging.getLogger("flux2_mcp.history")

GUARD_NAME = "history.lock"

# Closing any descriptor of a file drops the locks that SQLite holds on it for the whole process, so the guard is made
# by one thread at a time, and before anybody holds it.
_making = threading.Lock()


class Database:
    """Runs work on the database, and sees to it that there is one. Blocking; for worker threads."""

    def __init__(
        self, *, folder: Path | None, url: str | None, keeps_words: bool, patience: float, now: Callable[[], datetime]
    ) -> None:
        self._path = folder / FILE_NAME if folder else None
        self._url = url
        self._keeps_words = keeps_words
        self._patience = patience
        self._now = now
        self._engine: Engine | None = None
        self._inode: int | None = None
        self._setting_up = threading.Lock()
        self._damage = ""
        """What became of a damaged file, as a sentence."""
        self._lost_reading = False
        self._loss = ""
        """Why nothing could be written when it was last tried, as a sentence."""

    @property
    def degraded(self) -> str:
        return self._loss or self._damage

    def write(self, works: Sequence[Work[Any]]) -> None:
        """Do this in one transaction, and note in each work what came of it; each call tries anew what failed before.

        Where the database cannot be written, that is a HistoryUnusable for each.
        """
        try:
            self._run(works, writes=True)
        except DatabaseLost as lost:
            self._fail(works, lost, "written")
        else:
            self._loss, self._lost_reading = "", False

    def read(self, works: Sequence[Work[Any]]) -> None:
        """The same for what only reads."""
        try:
            self._run(works, writes=False)
        except DatabaseLost as lost:
            self._fail(works, lost, "read")
            self._lost_reading = True
        else:
            self._loss = "" if self._lost_reading else self._loss
            self._lost_reading = False

    def empty_log(self) -> None:
        """Cut off the write-ahead log, which still holds what was deleted."""
        with suppress(DatabaseLost):  # the next write to the file does it
            schema.empty_log(self._current())

    def _run(self, works: Sequence[Work[Any]], *, writes: bool) -> None:
        engine = self._current()
        try:
            self._do(works, engine, writes=writes)
        except DatabaseLost as lost:
            self._replace(engine, lost)
            self._do(works, self._current(), writes=writes)

    def _do(self, works: Sequence[Work[Any]], engine: Engine, *, writes: bool) -> None:
        with schema.writing(engine) if writes else schema.reading(engine) as connection:
            # In one order for all replicas: none may hold what another waits for.
            for owner in sorted({work.owner for work in works}) if writes else ():
                schema.lock(connection, owner)
            queries = Queries(connection, keeps_words=self._keeps_words)
            for work in works:
                try:
                    with schema.savepoint(connection):
                        work.result, work.error = work.do(queries), None
                except DatabaseLost:
                    raise
                except Exception as error:  # noqa: BLE001 raised where the work was asked for
                    work.error = error

    def _fail(self, works: Sequence[Work[Any]], lost: DatabaseLost, what: str) -> None:
        problem = f"The history cannot be {what}: {self._path or 'its database'} {lost}."
        self._note_loss(problem)
        for work in works:
            work.error = HistoryUnusable(problem)
            work.error.__cause__ = lost

    def _note_loss(self, problem: str) -> None:
        loss = f"{problem} Nothing is ordered until that is fixed; what was ordered before is fetched, but not noted."
        if loss != self._loss:
            self._loss = loss
            log.warning("%s", loss)

    def close(self) -> None:
        with self._setting_up:
            self._retire()
            self._damage = self._loss = ""

    def _retire(self) -> None:
        if self._engine:
            schema.retire(self._engine)
            self._engine = None

    def _current(self) -> Engine:
        with self._setting_up:
            if self._engine is None:
                with self._alone():
                    self._engine = self._open_or_begin_anew()
            return self._engine

    def _open_or_begin_anew(self) -> Engine:
        try:
            return self._open()
        except DatabaseLost as lost:
            return self._begin_anew(lost)

    def _open(self) -> Engine:
        if self._url:
            return self._ready(_server(self._url))
        if self._path:
            self._inode = _private(self._path)
            return self._ready(schema.sqlite_file(self._path, patience=self._patience))
        return self._ready(schema.sqlite_memory())

    def _ready(self, engine: Engine) -> Engine:
        with ExitStack() as undo:
            undo.callback(engine.dispose)
            schema.migrate(engine, patience=self._patience)
            undo.pop_all()
        return engine

    def _replace(self, broken: Engine, lost: DatabaseLost) -> None:
        """Put a new file in the place of one that turned out damaged, with what can still be read from it.

        Raises:
            DatabaseLost: It is not damaged, or for the second time.
        """
        with self._setting_up:
            if self._engine is not broken:
                return  # another thread was first
            if lost.kind == "busy" or not self._path:
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
        if lost.kind != "damaged" or not self._path:
            raise lost

        try:
            self._set_aside(self._path)
        except OSError as error:
            raise lost from error
        engine = self._open()
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
        if not self._path:
            yield
            return

        guard = self._path.with_name(GUARD_NAME)
        with _making, _file_errors():
            guard.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make(guard)
        # A lock by SQLite ends with its process, on every system.
        with schema.losses():
            connection = sqlite3.connect(guard, timeout=self._patience, isolation_level=None)
        with closing(connection):
            with schema.losses():
                connection.execute("BEGIN EXCLUSIVE")
            yield

    def _set_aside(self, path: Path) -> None:
        # Another process may have done it, and what lies here now is its new file.
        if not path.exists() or path.stat().st_ino != self._inode:
            return

        aside = f"history.corrupt-{self._now():%Y%m%dT%H%M%S%f}.sqlite3"
        # The log first: a new database must not find the old one's.
        for suffix in ("-wal", "-shm", ""):
            # Whoever closes the last connection to it removes the log.
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(path.with_name(aside + suffix))


def _server(url: str) -> Engine:
    try:
        return schema.server(url)
    except (exc.ArgumentError, exc.NoSuchModuleError, ImportError) as error:
        # The URL itself may hold a password.
        message = f"The database URL of the history cannot be used ({type(error).__name__})."
        remedy = "For PostgreSQL: postgresql+psycopg://user@host/database, with the package psycopg installed."
        raise BadSetting(message, remedy=remedy) from None


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
