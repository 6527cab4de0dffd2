"""The database that the orders are in, whatever it is kept in: work on it, and what is said when it is lost."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any

from sqlalchemy import Engine

from flux2_mcp.errors import HistoryUnusable, Words
from flux2_mcp.history import schema
from flux2_mcp.history.batches import Work
from flux2_mcp.history.losses import DatabaseLost
from flux2_mcp.history.queries import Queries

log = logging.getLogger("flux2_mcp.history")


class Database(ABC):
    """Runs work on the database, and sees to it that there is one. Blocking; for worker threads."""

    name: str
    """As it is called in sentences."""

    def __init__(self, *, keeps_words: bool, patience: float, remedy: Words | None = None) -> None:
        self._keeps_words = keeps_words
        self._patience = patience
        self._remedy = remedy
        """The next step where it cannot be used; that of the one person here when None."""
        self._engine: Engine | None = None
        self._setting_up = threading.Lock()
        self._lost_reading = False
        self._loss = ""
        """Why nothing could be written when it was last tried, as a sentence."""
        self._told = set[str]()
        """What the log says of it: a disk that is full refuses reads and writes by turns."""

    @property
    def degraded(self) -> str:
        return self._loss

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
            self._told.clear()

    def read(self, works: Sequence[Work[Any]]) -> None:
        """The same for what only reads."""
        try:
            self._run(works, writes=False)
        except DatabaseLost as lost:
            self._fail(works, lost, "read")
            self._lost_reading = True
        else:
            if self._lost_reading:
                self._loss, self._lost_reading = "", False
                self._told.clear()

    def empty_log(self) -> None:
        """Cut off the write-ahead log, which still holds what was deleted."""
        with suppress(DatabaseLost):  # the next write to the file does it
            schema.empty_log(self._current())

    def close(self) -> None:
        with self._setting_up:
            self._retire()
            self._loss = ""

    def _run(self, works: Sequence[Work[Any]], *, writes: bool) -> None:
        self._do(works, self._current(), writes=writes)

    def _do(self, works: Sequence[Work[Any]], engine: Engine, *, writes: bool) -> None:
        is_done = False
        try:
            with schema.writing(engine) if writes else schema.reading(engine) as connection:
                if writes:
                    schema.lock(connection, *{work.owner for work in works})
                self._do_each(works, Queries(connection, keeps_words=self._keeps_words))
                is_done = True
        except DatabaseLost as lost:
            lost.is_half_done = is_done and writes
            raise

    def _do_each(self, works: Sequence[Work[Any]], queries: Queries) -> None:
        for work in works:
            try:
                with schema.savepoint(queries.connection):
                    work.result, work.error = work.do(queries), None
            except DatabaseLost:
                raise
            except Exception as error:  # noqa: BLE001 raised where the work was asked for
                work.error = error

    def _fail(self, works: Sequence[Work[Any]], lost: DatabaseLost, what: str) -> None:
        problem = f"The history cannot be {what}: {self.name} {lost}."
        self._note_loss(problem, lost.detail)
        for work in works:
            work.error = HistoryUnusable(problem, remedy=self._remedy)
            work.error.__cause__ = lost

    def _note_loss(self, problem: str, detail: str) -> None:
        loss = f"{problem} Nothing is ordered until that is fixed; what was ordered before is fetched, but not noted."
        self._loss = loss
        if loss not in self._told:
            self._told.add(loss)
            log.warning("%s%s", loss, f" ({' '.join(detail.split())})" if detail else "")

    def _retire(self) -> None:
        if self._engine:
            schema.retire(self._engine)
            self._engine = None

    def _current(self) -> Engine:
        with self._setting_up:
            if self._engine is None:
                self._engine = self._made()
            return self._engine

    def _made(self) -> Engine:
        return self._ready(self._connect())

    def _ready(self, engine: Engine) -> Engine:
        with ExitStack() as undo:
            undo.callback(engine.dispose)
            schema.migrate(engine, patience=self._patience)
            undo.pop_all()
        return engine

    @abstractmethod
    def _connect(self) -> Engine:
        """Make an engine; its tables may be missing or old."""


class MemoryDatabase(Database):
    """Forgets everything at the end of the process."""

    name = "its database in memory"

    def _connect(self) -> Engine:
        return schema.sqlite_memory()
