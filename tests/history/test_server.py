"""The history on a PostgreSQL server: what differs from a file."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import anyio
import psycopg
import pytest
from sqlalchemy import create_engine

from flux2_mcp.errors import BadSetting, HistoryUnusable
from flux2_mcp.history import History, Order, schema
from flux2_mcp.history.broadcast import Broadcast
from flux2_mcp.history.server_database import DRIVER, checked_url
from tests.history.orders import during, fox, order, painted
from tests.history.test_disk import check_upgrade
from tests.platforms import only_on
from tests.postgresql import Cluster

pytestmark = only_on("Linux", "Debian's PostgreSQL is easily had")

PATIENCE = 0.3


@pytest.fixture
def url(cluster: Cluster, tmp_path: Path) -> str:
    return cluster.url_for(tmp_path)


@asynccontextmanager
async def another(url: str, **more: float) -> AsyncGenerator[History]:
    """The history of another replica."""
    history = History(None, url=url, **more)  # pyright: ignore[reportArgumentType]
    try:
        yield history
    finally:
        await history.aclose()


@pytest.fixture
def stopped(cluster: Cluster) -> Iterator[Callable[[], None]]:
    """Stops the server, until the test ends."""
    calls: list[str] = []

    def stop() -> None:
        calls.append("stopped")
        cluster.stop()

    yield stop
    if calls:
        cluster.start()


async def test_no_file_is_made(url: str, tmp_path: Path) -> None:
    async with another(url) as history:
        await painted(history)
        _, resumed = await order(history, fox())

    assert resumed
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240


async def test_replicas_that_begin_at_once_make_one_order_on_a_new_database(url: str) -> None:
    found: list[tuple[Order, bool]] = []

    async def begin() -> None:
        async with another(url) as history:
            found.append(await order(history, fox()))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(begin)

    assert len({each.id for each, _ in found}) == 1
    assert sorted(resumed for _, resumed in found) == [False, True, True, True, True]


async def test_an_old_database_becomes_what_a_new_one_is(cluster: Cluster, tmp_path: Path) -> None:
    check_upgrade(*(create_engine(checked_url(cluster.url_for(tmp_path / name))) for name in ("new", "old")))


async def test_what_cannot_be_reached_orders_nothing_and_is_told_at_once_from_then_on(
    url: str, stopped: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    async with another(url, lock_patience=PATIENCE) as history:
        await history.deliveries("ann")
        stopped()
        began = monotonic()
        for _ in range(20):
            with pytest.raises(HistoryUnusable, match=r"its database cannot be reached\. Nothing was ordered"):
                await order(history, fox())

    assert monotonic() - began < 20 * PATIENCE
    assert len([record for record in caplog.records if record.name == "flux2_mcp.history"]) == 1


async def test_a_server_that_restarts_meanwhile_is_waited_for(url: str, cluster: Cluster) -> None:
    async with another(url, lock_patience=30) as history:
        opened, _ = await order(history, fox())
        await anyio.to_thread.run_sync(cluster.stop)
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, cluster.start)
            assert await order(history, fox()) == (opened, True)

        assert history.degraded == ""


LOST_ONCE = """
    CREATE SEQUENCE times;
    CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('times') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
            RETURN NULL;
        END
    $$;
    CREATE CONSTRAINT TRIGGER losing AFTER INSERT ON orders DEFERRABLE INITIALLY {when}
        FOR EACH ROW EXECUTE FUNCTION lose();
"""


@pytest.mark.parametrize("when", ["DEFERRED", "IMMEDIATE"])
async def test_only_what_was_lost_before_its_commit_is_tried_again(url: str, when: str) -> None:
    """Of a commit nobody knows what it did: a call that asks for another picture would reserve two."""
    async with another(url) as history:
        await history.deliveries("ann")
        with psycopg.connect(url) as other:
            other.execute(LOST_ONCE.format(when=when).encode())
        if when == "DEFERRED":
            with pytest.raises(HistoryUnusable, match="Nothing was ordered"):
                await order(history, fox(), resume_within=None)
        else:
            await order(history, fox(), resume_within=None)
        listed = await history.recent("ann")

    assert len(listed.orders) == (when == "IMMEDIATE")


async def test_nobody_waits_for_one_who_holds_a_lock_for_ever(url: str) -> None:
    async with another(url, lock_patience=PATIENCE) as history:
        await history.deliveries("ann")
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE orders IN EXCLUSIVE MODE")
            with pytest.raises(HistoryUnusable, match="is locked by another program"):
                await order(history, fox())
        opened, resumed = await order(history, fox())

    assert not resumed
    assert opened.state == "intended"


async def test_owners_do_not_wait_for_each_other(url: str) -> None:
    """One replica has an owner's orders in hand; another's go on at the other replica."""
    async with another(url) as history:
        await history.deliveries("ann")
        with psycopg.connect(url) as other:
            # As a transaction of another replica does.
            other.execute("SELECT pg_advisory_xact_lock(hashtextextended('ann', %s))", [schema.LOCKS])
            with anyio.fail_after(3):
                await order(history, fox(), owner="ben")


async def test_a_user_who_may_make_no_table_is_told_so(cluster: Cluster, url: str) -> None:
    schema_name = url.rpartition("%3D")[2]
    with psycopg.connect(cluster.url, autocommit=True) as admin:
        admin.execute("DO $$ BEGIN CREATE ROLE guest LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        admin.execute(f"GRANT USAGE ON SCHEMA {schema_name} TO guest".encode())
    async with another(url.replace("postgres@", "guest@")) as history:
        with pytest.raises(HistoryUnusable, match="does not let this user keep orders in it"):
            await order(history, fox())


@pytest.mark.parametrize(
    "url",
    ["nosuch://ann:hunter2@db/flux2", "ann:hunter2", "sqlite:///hunter2.sqlite3", "postgresql://ann:hunter2@db", "://"],
)
def test_an_address_that_cannot_be_used_is_a_bad_setting_without_its_password(url: str) -> None:
    with pytest.raises(BadSetting, match="FLUX2_DATABASE_URL") as refused:
        checked_url(url)

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_the_driver_need_not_be_named(scheme: str) -> None:
    assert checked_url(f"{scheme}://ann:hunter2@db/flux2").drivername == DRIVER


def test_a_server_that_says_nothing_is_given_up() -> None:
    """It takes connections, and that is all."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://ann@127.0.0.1:{silent.getsockname()[1]}/flux2?connect_timeout=2"

        async def story(history: History) -> None:
            with pytest.raises(HistoryUnusable, match="cannot be reached"):
                await order(history, fox())

        during(None, story, url=url, lock_patience=PATIENCE)


@dataclass
class Replica:
    """A server that hears others."""

    url: str
    heard: list[str] = field(default_factory=list[str])
    something: anyio.Event = field(default_factory=anyio.Event)
    is_back: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self.broadcast = Broadcast(self.url, heard=self.hear, reconnected=self.is_back.set)

    def hear(self, text: str) -> None:
        self.heard.append(text)
        self.something.set()


async def told(one: Replica, other: Replica, text: str) -> None:
    """Tell it until it is heard: who is not connected yet hears nothing."""
    with anyio.fail_after(20):
        while not other.something.is_set():
            one.broadcast.tell(text)
            with anyio.move_on_after(0.1):
                await other.something.wait()


async def test_what_one_replica_tells_all_others_hear(url: str) -> None:
    one, other = Replica(url), Replica(url)
    async with anyio.create_task_group() as group:
        group.start_soon(one.broadcast.run)
        group.start_soon(other.broadcast.run)
        await told(one, other, "a")
        group.cancel_scope.cancel()

    assert set(other.heard) == {"a"}
    assert one.heard == []


async def test_replicas_hear_each_other_again_after_the_database_was_away(
    url: str, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = Replica(url), Replica(url)
    async with anyio.create_task_group() as group:
        group.start_soon(one.broadcast.run)
        group.start_soon(other.broadcast.run)
        await told(one, other, "before")
        await anyio.to_thread.run_sync(cluster.stop)
        await anyio.to_thread.run_sync(cluster.start)
        with anyio.fail_after(20):
            await other.is_back.wait()
        other.something = anyio.Event()
        await told(one, other, "after")
        group.cancel_scope.cancel()

    assert set(other.heard) == {"before", "after"}
    assert "are not heard of now" in caplog.text
