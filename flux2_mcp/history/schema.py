"""The tables of the history, how they came to be, and a database that is ready to use.

The statements also run on PostgreSQL; what differs between the two is said here and in `Queries`.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    QueuePool,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeDecorator

from flux2_mcp.history.losses import DatabaseLost, losses

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Moment(TypeDecorator[datetime]):
    """An aware time as whole microseconds since 1970, UTC: exact, and in order on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002, SQLAlchemy's
        return None if value is None else (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else EPOCH + value * MICROSECOND


class Json(TypeDecorator[Any]):
    """JSON as text that comes back with its keys in the same order: a repeated request has to be the same bytes."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:  # noqa: ARG002
        # ASCII with escapes also holds what a text column cannot: half surrogates, NUL.
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ANN401, ARG002
        return None if value is None else json.loads(value)


metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

orders = Table(
    "orders",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    # fingerprint:position until another order takes its place, or it fails; then NULL. Whether the same request still
    # resumes it depends on when that came. Unique per owner: this is what keeps two processes from paying twice.
    Column("resume_key", Text),
    Column("fingerprint", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("resolution", Text),
    Column("request", Json),
    Column("prompt", Text, nullable=False),
    # The prompt as it is searched: neither database folds the case of every script.
    Column("words", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("task_id", Text),
    Column("shared_with", Text),
    Column("dialect", Text),
    Column("estimated_cents", Integer),
    Column("settled_cents", Integer),
    Column("created_at", Moment, nullable=False),
    Column("accepted_at", Moment),
    Column("finished_at", Moment),
    Column("urls", Json, nullable=False),
    Column("urls_expire_at", Moment),
    Column("save_to", Text),
    Column("paths", Json, nullable=False),
    Column("error", Text),
    Column("delivered", Boolean, nullable=False),
    # What has the higher number was delivered later, whatever process and clock noted it.
    Column("delivery", Integer),
    UniqueConstraint("owner", "resume_key"),
    Index("orders_by_time", "owner", "created_at", "id"),
    Index("orders_by_task", "owner", "task_id"),
    Index("orders_by_delivery", "owner", "delivery"),
)

# A new database gets the tables above. An older one is led there, from one version to the next: this is text, and never
# changed once released, because the tables above move on, and a file on somebody's disk does not.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE orders (
            owner TEXT NOT NULL,
            id TEXT NOT NULL,
            claim TEXT,
            wish TEXT NOT NULL,
            nth INTEGER NOT NULL,
            idempotency_key TEXT NOT NULL,
            action TEXT NOT NULL,
            model TEXT NOT NULL,
            resolution TEXT,
            request TEXT,
            prompt TEXT NOT NULL,
            words TEXT NOT NULL,
            state TEXT NOT NULL,
            task_id TEXT,
            dialect TEXT,
            estimated_cents INTEGER,
            settled_cents INTEGER,
            created_at BIGINT NOT NULL,
            accepted_at BIGINT,
            finished_at BIGINT,
            urls TEXT NOT NULL,
            urls_expire_at BIGINT,
            save_to TEXT,
            paths TEXT NOT NULL,
            error TEXT,
            delivered BOOLEAN NOT NULL,
            PRIMARY KEY (owner, id),
            UNIQUE (owner, claim)
        )
        """,
        "CREATE INDEX orders_by_time ON orders (owner, created_at, id)",
        "CREATE INDEX orders_by_task ON orders (owner, task_id)",
    ),
    ("ALTER TABLE orders ADD COLUMN shared_with TEXT",),
    (
        "ALTER TABLE orders RENAME COLUMN wish TO fingerprint",
        "ALTER TABLE orders RENAME COLUMN nth TO position",
        "ALTER TABLE orders RENAME COLUMN claim TO resume_key",
    ),
    (
        # Until now nothing else was sold; a task made elsewhere does not say which service it is of.
        "ALTER TABLE orders ADD COLUMN service TEXT NOT NULL DEFAULT 'flux_2'",
        "UPDATE orders SET service = '' WHERE fingerprint = ''",
    ),
    (
        "ALTER TABLE orders ADD COLUMN delivery INTEGER",
        "UPDATE orders SET delivery = 0 WHERE delivered",
        "CREATE INDEX orders_by_delivery ON orders (owner, delivery)",
    ),
)

LOCKS = 7_355_608_119_002_441_027
"""The seed of our advisory locks: another program in the same database hashes its names with another."""
# In one order, for all replicas: none may hold what another waits for.
LOCK = text("""
    SELECT pg_advisory_xact_lock(number) FROM (
        SELECT DISTINCT hashtextextended(name, :seed) AS number FROM unnest(CAST(:names AS text[])) AS name
        ORDER BY number
    ) AS numbers
""")


def sqlite_file(path: Path, *, patience: float) -> Engine:
    """Make an engine for a file that exists; `patience` is how many seconds to wait for another process."""
    return _with_settings(create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": patience}))


def sqlite_memory() -> Engine:
    # The one connection is the database; threads wait for their turn with it.
    one = create_engine(
        "sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0, connect_args={"check_same_thread": False}
    )
    return _with_settings(one)


def retire(engine: Engine) -> None:
    """Close every connection: an idle one now, one in use as soon as its work gives it back."""
    # dispose() alone leaves the latter, and those of whoever still holds the engine, to the garbage collector.
    event.listen(engine, "checkin", _close)
    engine.dispose()


def migrate(engine: Engine, *, patience: float) -> None:
    """Bring the database to the newest version; when another process does so at this instant, wait for it.

    Raises:
        DatabaseLost: damaged, in use, or written by a newer version; it is left as it was.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return _migrate(engine)
        except DatabaseLost as lost:
            # Turning WAL on answers "busy" at once, without the wait that other statements have.
            if lost.kind != "busy" or time.monotonic() >= deadline:
                raise
            time.sleep(0.02)


def _migrate(engine: Engine) -> None:
    with writing(engine) as connection:
        lock(connection, "schema")
        schema_version.create(connection, checkfirst=True)
        version = connection.scalar(select(func.max(schema_version.c.version))) or 0
        if version > len(MIGRATIONS):
            reason = f"was written by a newer version of flux2-mcp (layout {version}, this one knows {len(MIGRATIONS)})"
            raise DatabaseLost(reason, kind="unusable")
        if not version and inspect(connection).has_table(orders.name):
            reason = "holds a table of orders that is not flux2-mcp's"
            raise DatabaseLost(reason, kind="unusable")

        if version == len(MIGRATIONS):
            return
        if version:
            upgrade(connection, MIGRATIONS[version:])
        else:
            orders.create(connection, checkfirst=False)
        reached = range(version + 1, len(MIGRATIONS) + 1)
        connection.execute(insert(schema_version), [{"version": number} for number in reached])


def upgrade(connection: Connection, migrations: Iterable[Sequence[str]]) -> None:
    """Lead the tables through these versions."""
    for statements in migrations:
        for statement in statements:
            connection.exec_driver_sql(statement)


@contextmanager
def writing(engine: Engine) -> Generator[Connection]:
    """One transaction that no other writer can come between (on PostgreSQL: none that takes the same `lock`)."""
    with losses(), engine.connect().execution_options(flux2_writes=True) as connection, connection.begin():
        yield connection


@contextmanager
def reading(engine: Engine) -> Generator[Connection]:
    with losses(), engine.begin() as connection:
        yield connection


@contextmanager
def savepoint(connection: Connection) -> Generator[None]:
    """A part of a transaction that is undone where it raises, and leaves the rest as it is."""
    with losses():
        _execute(connection, "SAVEPOINT part")
        try:
            with losses():
                yield
        except DatabaseLost:
            raise  # and the whole transaction with it
        except Exception:
            _execute(connection, "ROLLBACK TO SAVEPOINT part")
            _execute(connection, "RELEASE SAVEPOINT part")
            raise
        _execute(connection, "RELEASE SAVEPOINT part")


def empty_log(engine: Engine) -> None:
    """Move the write-ahead log into the database and cut it off: it still holds what was deleted."""
    if engine.dialect.name != "sqlite":
        return

    with losses(), closing(engine.raw_connection()) as connection:
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")


def lock(connection: Connection, *names: str) -> None:
    """Keep every other transaction that locks one of these names out until this one ends."""
    # SQLite has one writer at a time anyway: BEGIN IMMEDIATE.
    if connection.dialect.name == "postgresql":
        connection.execute(LOCK, {"names": list(names), "seed": LOCKS})


def _execute(connection: Connection, statement: str) -> None:
    cursor = connection.connection.cursor()
    try:
        cursor.execute(statement)
    finally:
        cursor.close()


def _with_settings(engine: Engine) -> Engine:
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: sqlite3.Connection, _: object) -> None:
    # The driver would begin transactions late and by its own rules; _begin does it instead.
    connection.isolation_level = None
    for pragma in (
        "journal_mode = WAL",
        # NORMAL would already survive the death of this process, but not a power cut: the intent would be gone and the
        # picture paid. One fsync is nothing beside the seconds and cents that a picture takes.
        "synchronous = FULL",
        # What `forget` deletes is overwritten, not only unlinked.
        "secure_delete = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _close(_: object, entry: ConnectionPoolEntry) -> None:
    entry.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("flux2_writes")
    # A transaction that reads first and writes later can find itself shut out in the middle.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
