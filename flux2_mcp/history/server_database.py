"""The orders on a PostgreSQL server, which several replicas share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from flux2_mcp.errors import BadSetting, Words
from flux2_mcp.history.batches import Work
from flux2_mcp.history.database import Database
from flux2_mcp.history.losses import DatabaseLost
from flux2_mcp.invocation import install_extra

DRIVER = "postgresql+psycopg"
VARIABLE = "FLUX2_DATABASE_URL"
CONNECTIONS = 2
"""One for what is written and one for what is read: each goes on in batches, one after the other."""
MORE_CONNECTIONS = 2
"""For what is rare."""
TIME_TO_CONNECT = 5
"""Seconds."""
STATEMENT_SECONDS = 10
PAUSE = 0.1
"""Seconds between tries to reach a server that is gone; a restart takes a few."""
COOL_DOWN = 1.0
"""Seconds after a loss in which nobody tries again: who comes meanwhile is told at once, and no queue grows."""


class ServerDatabase(Database):
    """A lost connection is made again, for as long as `patience` says, unless it was lost in the middle of a commit."""

    name = "its database"

    def __init__(self, url: str, *, keeps_words: bool, patience: float, remedy: Words | None = None) -> None:
        super().__init__(keeps_words=keeps_words, patience=patience, remedy=remedy)
        self._url = checked_url(url)
        self._lost: DatabaseLost | None = None
        self._lost_at = 0.0

    def _run(self, works: Sequence[Work[Any]], *, writes: bool) -> None:
        if self._lost and time.monotonic() - self._lost_at < COOL_DOWN:
            raise DatabaseLost(str(self._lost), kind=self._lost.kind, detail=self._lost.detail)
        # While it stays away, each batch tries once.
        deadline = time.monotonic() + (0.0 if self._lost else self._patience)
        while True:
            try:
                self._do(works, self._current(), writes=writes)
            except DatabaseLost as lost:
                if lost.kind != "away" or lost.is_half_done:
                    raise
                if time.monotonic() >= deadline:
                    self._lost, self._lost_at = lost, time.monotonic()
                    raise
                time.sleep(PAUSE)
            else:
                self._lost = None
                return

    def _connect(self) -> Engine:
        engine = create_engine(
            self._url,
            pool_size=CONNECTIONS,
            max_overflow=MORE_CONNECTIONS,
            pool_timeout=self._patience,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args=connect_options(self._url),
        )

        @event.listens_for(engine, "connect")
        def set_up(connection: Any, _: ConnectionPoolEntry) -> None:  # noqa: ANN401 the driver's
            # Not as startup parameters, which a connection pooler in between may refuse.
            limits = {
                "lock_timeout": self._patience,
                "statement_timeout": STATEMENT_SECONDS,
                "idle_in_transaction_session_timeout": STATEMENT_SECONDS,
            }
            with connection.cursor() as cursor:
                for name, seconds in limits.items():
                    cursor.execute("SELECT set_config(%s, %s, false)", [name, str(int(seconds * 1000))])
            connection.commit()

        return engine


def connect_options(url: URL) -> dict[str, Any]:
    """The options of every connection to the server, but for those that its address names."""
    options = {
        "application_name": "flux2-mcp",
        "connect_timeout": TIME_TO_CONNECT,
        # A server that vanished without a word is noticed within half a minute, also where nothing is sent.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": STATEMENT_SECONDS * 1000,
    }
    return {name: value for name, value in options.items() if name not in url.query}


def checked_url(url: str) -> URL:
    """The same address, with the driver that is used.

    Raises:
        BadSetting: It is not PostgreSQL's, or the driver is not installed. The address is not quoted: it may hold a
            password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername not in {"postgres", "postgresql", DRIVER} or not parsed.database:
        msg = f"{VARIABLE} is not the address of a PostgreSQL database."
        raise BadSetting(msg, remedy="It looks like postgresql://user:password@host:5432/database.")
    try:
        import_module("psycopg")
    except ImportError:
        msg = f"{VARIABLE} is set, and the driver for PostgreSQL is not installed."
        raise BadSetting(msg, remedy=f"Install it: {install_extra('postgres')}") from None
    return parsed.set(drivername=DRIVER)
