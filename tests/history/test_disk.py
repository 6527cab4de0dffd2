from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from stat import S_IMODE
from typing import cast

import anyio
import pytest
from sqlalchemy import Engine, inspect

from flux2_mcp.errors import HistoryUnusable
from flux2_mcp.history import Arrival, History, Order, schema
from flux2_mcp.history.batches import Work
from flux2_mcp.history.file_database import FileDatabase
from flux2_mcp.history.losses import DatabaseLost
from flux2_mcp.history.queries import Queries
from tests.databases import history_in
from tests.history.orders import FOX, MIDNIGHT, NOON, QUARTER, Clock, during, fox, order, painted
from tests.platforms import not_on

pytestmark = pytest.mark.history_file

SECRET = "zebra-crossing-at-dawn"

HOLDS_THE_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA locking_mode = EXCLUSIVE")
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
"""


async def open_one(history: History) -> Order:
    return (await order(history, fox()))[0]


async def refused(history: History) -> str:
    """What is said instead of an order."""
    with pytest.raises(HistoryUnusable) as refusal:
        await open_one(history)
    return str(refusal.value)


async def paint_one(history: History) -> Order:
    return await painted(history)


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


def overwrite_orders(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as vandal:
        vandal.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with file.open("r+b") as raw:
            raw.seek(2 * 4096)
            raw.write(b"\xff" * (file.stat().st_size - 2 * 4096))
        vandal.execute("PRAGMA user_version = 7")  # or nobody would look at the file again


def overwrite_indexes(file: Path) -> None:
    """Whoever looks an order up finds damage; whoever reads all of them finds them."""
    with closing(sqlite3.connect(file, isolation_level=None)) as vandal:
        vandal.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        indexes = vandal.execute("SELECT rootpage FROM sqlite_master WHERE type = 'index' AND tbl_name = 'orders'")
        with file.open("r+b") as raw:
            for (page,) in indexes.fetchall():
                raw.seek((page - 1) * 4096)
                raw.write(b"\xff" * 4096)
        vandal.execute("PRAGMA user_version = 7")


@pytest.fixture
def locked(folder: Path) -> Iterator[Path]:
    """Another program holds the database, and does not let go."""
    during(folder, open_one)
    command = [sys.executable, "-c", HOLDS_THE_LOCK, str(folder / "history.sqlite3")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:  # noqa: S603
        assert holder.stdout
        assert holder.stdout.readline() == "locked\n"
        yield folder


def test_a_restart_keeps_everything(folder: Path) -> None:
    async def story(history: History) -> Order:
        done = await history.saved(await painted(history), ["/pictures/fox.png"])
        await history.delivered(done.id, owner="ann")
        return done

    done = during(folder, story)
    found = during(folder, lambda history: history.find("ann", done.id))

    assert found
    assert found.delivered
    assert (found.prompt, found.request, found.urls, found.paths) == (FOX, done.request, done.urls, done.paths)
    assert (found.created_at, found.finished_at) == (done.created_at, done.finished_at)


@not_on("Windows", "it has no such modes")
def test_only_this_user_can_read_the_history(folder: Path) -> None:
    async def story(history: History) -> list[int]:
        await painted(history)
        return [S_IMODE(file.stat().st_mode) for file in sorted(folder.iterdir())]  # noqa: ASYNC240

    assert during(folder, story) == [0o600] * 4
    assert S_IMODE(folder.stat().st_mode) == 0o700


@not_on("Windows", "it has no such modes")
def test_a_file_that_others_could_read_is_closed_to_them(folder: Path) -> None:
    during(folder, open_one)
    (folder / "history.sqlite3").chmod(0o644)

    during(folder, open_one)

    assert S_IMODE((folder / "history.sqlite3").stat().st_mode) == 0o600


def test_nothing_is_imported_or_made_before_the_first_order(folder: Path) -> None:
    """A host starts the server at every session, mostly for nothing."""
    code = "import sys, flux2_mcp.history; print('sqlalchemy' in sys.modules)"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603

    history = History(folder)

    assert made.stdout == "False\n"
    assert (history.degraded, history.note) == ("", "")
    assert not folder.exists()


def test_in_private_mode_no_file_holds_a_word_of_the_prompt(folder: Path) -> None:
    async def story(history: History) -> tuple[Order, bytes]:
        opened, _ = await order(history, fox(prompt=SECRET))
        lost = await history.unknown(opened, error=f"RunAPI said: {SECRET} is not nice")
        running = await history.accepted(lost, task_id="task-1", dialect="sdk")
        await history.finished(running, state="completed")
        return running, everything_in(folder)

    running, while_running = during(folder, story, mode="private")

    assert (running.prompt, running.request) == ("", {"source_image_urls": []})
    assert b"task-1" in while_running
    assert b"zebra" not in while_running + everything_in(folder)


def test_private_mode_still_resumes_counts_and_knows_how_long_it_takes(folder: Path) -> None:
    async def story(history: History) -> tuple[bool, int, int, str]:
        await painted(history)
        _, resumed = await order(history, fox())
        took = await history.durations("ann", action="text_to_image", model=fox().model, resolution="2k")
        return resumed, len(took), await history.spent_cents("ann", since=MIDNIGHT), history.note

    resumed, count, spent, note = during(folder, story, mode="private")

    assert (resumed, count, spent) == (True, 1, 5)
    assert note.startswith("History keeps no prompts")


def test_off_writes_no_file_and_says_what_is_lost(folder: Path) -> None:
    async def story(history: History) -> tuple[bool, str, str]:
        await painted(history)
        _, resumed = await order(history, fox())
        return resumed, history.note, history.degraded

    resumed, note, degraded = during(folder, story, mode="off")

    assert resumed
    assert note.startswith("No history is kept on disk")
    assert degraded == ""
    assert not folder.exists()


def test_forgotten_words_are_gone_from_the_file_too(folder: Path) -> None:
    async def story(history: History) -> bytes:
        await painted(history, prompt=SECRET)
        await history.forget("ann")
        return everything_in(folder)

    assert SECRET.encode() not in during(folder, story) + everything_in(folder)


def test_a_damaged_file_is_kept_aside_and_a_new_one_begun(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.mkdir()
    damaged = b"SQLite format 3\0" + b"\xff" * 5000
    (folder / "history.sqlite3").write_bytes(damaged)

    async def story(history: History) -> tuple[Order, str]:
        return await open_one(history), history.degraded

    opened, degraded = during(folder, story)

    [aside] = folder.glob("history.corrupt-*.sqlite3")
    assert aside.read_bytes() == damaged
    assert "was damaged" in degraded
    assert caplog.record_tuples == [("flux2_mcp.history", logging.WARNING, degraded)]
    assert during(folder, lambda history: history.find("ann", opened.id)) == opened


def test_a_file_that_breaks_in_use_is_replaced_and_the_call_goes_on(folder: Path) -> None:
    async def story(history: History) -> tuple[Order, str]:
        opened = await open_one(history)
        overwrite_orders(folder / "history.sqlite3")
        return await history.accepted(opened, task_id="task-1", dialect="sdk"), history.degraded

    accepted, degraded = during(folder, story)

    assert accepted.task_id == "task-1"
    assert "was damaged" in degraded
    assert during(folder, lambda history: history.find("ann", "task-1")) == accepted


def test_orders_that_can_still_be_read_come_into_the_new_file(folder: Path) -> None:
    """Those of today, for the daily budget, and those that still run, for whoever orders them again."""
    clock = Clock()

    async def story() -> tuple[str, Order, Order, Sequence[Order]]:
        history = history_in(folder, now=clock)
        await painted(history, "long ago")
        running = await history.accepted(await open_one(history), task_id="task-1", dialect="sdk")
        clock.forward(days=2)
        bobs = await painted(history, "today", owner="bob")
        overwrite_indexes(folder / "history.sqlite3")
        try:
            await order(history, fox("the damage is found"))
            left = (await history.recent("ann")).orders
            return history.degraded, running, bobs, [*left, *(await history.recent("bob")).orders]
        finally:
            await history.aclose()

    degraded, running, bobs, [_, *left] = anyio.run(story)

    assert "was damaged" in degraded
    assert left == [running, bobs]


def test_nothing_is_ordered_while_a_damaged_file_cannot_be_moved(folder: Path) -> None:
    folder.mkdir()
    (folder / "history.sqlite3").write_bytes(b"not a database at all" * 500)
    (folder / f"history.corrupt-{NOON:%Y%m%dT%H%M%S%f}.sqlite3").mkdir()

    async def story() -> str:
        history = History(folder, now=Clock())
        try:
            return await refused(history)
        finally:
            await history.aclose()

    assert "history.sqlite3 is damaged. Nothing was ordered." in anyio.run(story)


def test_the_new_file_of_another_server_is_not_set_aside_too(folder: Path) -> None:
    async def story(history: History) -> Order | None:
        opened = await open_one(history)
        other = History(folder)
        await other.find("ann", opened.id)
        overwrite_orders(folder / "history.sqlite3")
        await history.accepted(opened, task_id="task-1", dialect="sdk")
        found = await other.find("ann", "task-1")
        await other.aclose()
        return found

    assert during(folder, story)
    assert len(list(folder.glob("history.corrupt-*.sqlite3"))) == 1


def test_a_paid_picture_is_kept_where_what_breaks_a_second_time_is_not_replaced(folder: Path) -> None:
    async def story(history: History) -> tuple[Order, str, str]:
        opened = await open_one(history)
        overwrite_orders(folder / "history.sqlite3")
        running = await history.accepted(opened, task_id="task-1", dialect="sdk")
        overwrite_orders(folder / "history.sqlite3")
        done = await history.finished(running, state="completed")
        return done, history.degraded, await refused(history)

    done, degraded, words = during(folder, story)

    assert (done.state, done.task_id) == ("completed", "task-1")
    assert "is damaged. Nothing is ordered until that is fixed" in degraded
    assert "Nothing was ordered" in words


def test_calls_that_meet_the_damage_together_all_go_on(folder: Path) -> None:
    async def story(history: History) -> int:
        opened = await open_one(history)
        overwrite_orders(folder / "history.sqlite3")
        async with anyio.create_task_group() as calls:
            for _ in range(8):
                calls.start_soon(history.find, "ann", opened.id)
            calls.start_soon(history.unfinished, "ann")
            calls.start_soon(painted, history, "2")
        return len((await history.recent("ann")).orders)

    assert during(folder, story) >= 1


def test_a_connection_in_use_when_the_file_breaks_is_closed_after_its_work(folder: Path) -> None:
    """It would keep the damaged file open, which on Windows nobody can then move or delete."""
    database = FileDatabase(folder, keeps_words=True, patience=5, now=Clock())

    def breaks_once(queries: Queries) -> None:
        if queries.connection.engine is broken:
            reason = "is damaged"
            raise DatabaseLost(reason, kind="damaged")

    with closing(database):
        opened = Work("ann", lambda queries: queries.connection.engine)
        database.write([opened])
        broken = opened.outcome()
        with schema.reading(broken) as connection:
            in_use = cast("sqlite3.Connection", connection.connection.driver_connection)
            broke = Work("ann", breaks_once)
            database.write([broke])
            broke.outcome()

        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            in_use.execute("SELECT 1")


def test_nothing_is_ordered_while_the_database_is_locked(locked: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is never unlocked here, so a wait for that would have no end."""

    async def story(history: History) -> tuple[str, str]:
        return await refused(history), history.degraded

    words, degraded = during(locked, story, lock_patience=0.3)

    assert "The history cannot be written" in words
    assert "is locked by another program. Nothing was ordered." in words
    assert "FLUX2_HISTORY=off" in words
    assert caplog.record_tuples == [("flux2_mcp.history", logging.WARNING, degraded)]


def test_a_lock_that_comes_later_takes_nothing_from_what_is_paid(folder: Path) -> None:
    """What became of the order is known to its call, and is written down with the next step that can be."""

    async def story(history: History) -> tuple[Order, Order | None]:
        opened = await open_one(history)
        with closing(sqlite3.connect(folder / "history.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            running = await history.accepted(opened, task_id="task-1", dialect="sdk")
            done = await history.finished(running, state="completed", urls=["https://x.test/1.png"], settled_cents=7)
            assert await history.latest(done) == done
            await history.delivered(done.id, owner="ann")  # at worst it is shown a second time
            assert "is locked by another program" in await refused(history)
            assert "is locked by another program" in history.degraded
        await history.saved(done, ["/pictures/fox.png"])
        assert history.degraded == ""
        return done, await history.find("ann", "task-1")

    done, found = during(folder, story, lock_patience=0.1)

    assert (done.state, done.task_id) == ("completed", "task-1")
    assert found == replace(done, paths=("/pictures/fox.png",))


def test_where_pictures_are_wanted_is_known_though_it_cannot_be_written_down(folder: Path) -> None:
    """On a full disk this is how a picture is saved elsewhere."""

    async def story(history: History) -> list[Order]:
        done = await history.saved(await paint_one(history), ["/pictures/fox.png"])
        with closing(sqlite3.connect(folder / "history.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            redirected = await history.redirected(done, save_to="elsewhere")
            known = await history.latest(done)
        found = await history.latest(done)
        noted = await history.redirected(done, save_to="once more elsewhere")
        return [done, redirected, known, found, noted, await history.latest(done)]

    done, redirected, known, found, *noted = during(folder, story, lock_patience=0.1)

    assert redirected == replace(done, save_to="elsewhere", paths=())
    assert known.save_to == found.save_to == "elsewhere"
    assert noted == [replace(done, save_to="once more elsewhere", paths=())] * 2


def test_an_order_whose_answer_could_not_be_noted_is_taken_up_with_its_key(folder: Path) -> None:
    async def lost(history: History) -> Order:
        opened = await open_one(history)
        with closing(sqlite3.connect(folder / "history.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await history.accepted(opened, task_id="task-1", dialect="sdk")
        return opened

    opened = during(folder, lost, lock_patience=0.1)

    assert during(folder, lambda history: order(history, fox(key="another"))) == (opened, True)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, not a folder", encoding="utf-8")

    words = during(tmp_path / "data", refused)

    assert "history.sqlite3 cannot be made" in words
    assert (tmp_path / "data").read_text(encoding="utf-8") == "a file, not a folder"


def test_how_long_pictures_take_is_not_worth_an_error(tmp_path: Path) -> None:
    """It is only for the pace of looking."""
    (tmp_path / "data").write_text("a file, not a folder", encoding="utf-8")

    async def story(history: History) -> list[float]:
        return await history.durations("ann", action="text_to_image", model=fox().model, resolution="2k")

    assert during(tmp_path / "data", story) == []


def test_what_a_call_has_seen_is_enough_where_nothing_can_be_read(tmp_path: Path) -> None:
    done = during(tmp_path / "before", paint_one)
    (tmp_path / "data").write_text("a file, not a folder", encoding="utf-8")

    async def story(history: History) -> Order:
        return await history.latest(done)

    assert during(tmp_path / "data", story) == done


def test_orders_are_made_again_as_soon_as_the_history_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, not a folder", encoding="utf-8")

    async def story(history: History) -> tuple[Order, str]:
        await refused(history)
        (tmp_path / "data").unlink()
        return await painted(history), history.degraded

    done, degraded = during(tmp_path / "data", story)

    assert (done.state, degraded) == ("completed", "")


def test_a_file_of_a_newer_version_is_left_alone(folder: Path) -> None:
    during(folder, open_one)
    with closing(sqlite3.connect(folder / "history.sqlite3")) as newer:
        newer.execute("INSERT INTO schema_version VALUES (99)")
        newer.execute("ALTER TABLE orders RENAME TO pictures")
        newer.commit()

    assert "was written by a newer version of flux2-mcp (layout 99" in during(folder, refused)
    with closing(sqlite3.connect(folder / "history.sqlite3")) as newer:
        assert newer.execute("SELECT count(*) FROM pictures").fetchone() == (1,)
    assert not list(folder.glob("history.corrupt-*"))


def test_migrations_are_applied_once(folder: Path) -> None:
    during(folder, open_one)
    during(folder, open_one)

    with closing(sqlite3.connect(folder / "history.sqlite3")) as file:
        versions = file.execute("SELECT version FROM schema_version").fetchall()
    assert versions == [(number,) for number in range(1, len(schema.MIGRATIONS) + 1)]


def test_orders_from_before_the_first_release_are_kept(folder: Path) -> None:
    opened = during(folder, open_one)
    with closing(sqlite3.connect(folder / "history.sqlite3")) as older:
        _drop_deliveries(older)
        older.execute("ALTER TABLE orders DROP COLUMN shared_with")
        older.execute("ALTER TABLE orders DROP COLUMN service")
        for now, then in {"fingerprint": "wish", "position": "nth", "resume_key": "claim"}.items():
            older.execute(f"ALTER TABLE orders RENAME COLUMN {now} TO {then}")
        older.execute("DELETE FROM schema_version WHERE version > 1")
        older.commit()

    assert during(folder, lambda history: history.find("ann", opened.id)) == opened


def test_orders_from_before_there_were_services_are_of_flux_2(folder: Path) -> None:
    """A task that was only looked at says nothing of the kind."""
    opened = during(folder, open_one)
    adopted = during(
        folder,
        lambda history: history.adopt(owner="ann", task_id="task-2", action="text_to_image", dialect="sdk"),
    )
    with closing(sqlite3.connect(folder / "history.sqlite3")) as older:
        _drop_deliveries(older)
        older.execute("ALTER TABLE orders DROP COLUMN service")
        older.execute("DELETE FROM schema_version WHERE version > 3")
        older.commit()

    assert opened.service == "flux_2"
    assert during(folder, lambda history: history.find("ann", opened.id)) == opened
    assert during(folder, lambda history: history.find("ann", adopted.id)) == adopted


def test_deliveries_from_before_they_were_counted_are_before_every_call(folder: Path) -> None:
    async def story(history: History) -> Order:
        done = await painted(history)
        await history.delivered(done.id, owner="ann")
        return done

    during(folder, story)
    with closing(sqlite3.connect(folder / "history.sqlite3")) as older:
        _drop_deliveries(older)
        older.execute("DELETE FROM schema_version WHERE version > 4")
        older.commit()

    async def again(history: History) -> tuple[int, bool]:
        arrival = Arrival(await history.deliveries("ann"))
        [(_, resumed)] = await history.open_orders([fox()], owner="ann", resume_within=QUARTER, arrival=arrival)
        return arrival.deliveries, resumed

    assert during(folder, again) == (0, False)


def _drop_deliveries(older: sqlite3.Connection) -> None:
    older.execute("DROP INDEX orders_by_delivery")
    older.execute("ALTER TABLE orders DROP COLUMN delivery")


def test_a_later_migration_keeps_the_orders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = during(folder, open_one)
    later = (*schema.MIGRATIONS, ("ALTER TABLE orders ADD COLUMN stars INTEGER", "UPDATE orders SET stars = 5"))
    monkeypatch.setattr(schema, "MIGRATIONS", later)

    assert during(folder, lambda history: history.find("ann", opened.id)) == opened


def test_a_migration_that_fails_leaves_the_file_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = during(folder, open_one)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("ALTER TABLE orders RENAME TO gone", "NOT SQL")))
        with pytest.raises(Exception, match="syntax error"):
            during(folder, open_one)

    assert during(folder, lambda history: history.find("ann", opened.id)) == opened


def test_an_old_database_becomes_what_a_new_one_is() -> None:
    check_upgrade(schema.sqlite_memory(), schema.sqlite_memory())


def check_upgrade(new: Engine, old: Engine) -> None:
    """Two empty databases, one made anew and one led through all versions, come to the same."""
    schema.migrate(new, patience=1)
    with schema.writing(old) as connection:
        schema.upgrade(connection, schema.MIGRATIONS)

    assert layout(old) == layout(new)
    new.dispose()
    old.dispose()


def layout(engine: Engine) -> dict[str, object]:
    """What the orders are in: columns, indexes, and what is unique."""
    tables = inspect(engine)
    return {
        "columns": {each["name"]: (str(each["type"]), each["nullable"]) for each in tables.get_columns("orders")},
        "key": tables.get_pk_constraint("orders")["constrained_columns"],
        # Without those that stand for what is unique: servers name them after how it was called at first.
        "indexes": {
            name: each["column_names"]
            for each in tables.get_indexes("orders")
            if (name := str(each["name"])).startswith("orders_by_")
        },
        "unique": [each["column_names"] for each in tables.get_unique_constraints("orders")],
    }


@pytest.mark.parametrize("stranger", ["a folder for a lock", "a table of somebody else's"])
def test_what_cannot_be_a_history_is_left_alone(folder: Path, stranger: str) -> None:
    folder.mkdir(exist_ok=True)
    if stranger == "a folder for a lock":
        (folder / "history.lock").mkdir()
    else:
        with closing(sqlite3.connect(folder / "history.sqlite3")) as other:
            other.execute("CREATE TABLE orders (id INTEGER)")

    assert "Nothing was ordered" in during(folder, refused)
