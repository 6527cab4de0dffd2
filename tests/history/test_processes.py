from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from flux2_mcp.history import History, Order
from tests.history.orders import MIDNIGHT, during, fox, order
from tests.history.other_process import KILLED, go, others


async def list_all(history: History) -> tuple[Order, ...]:
    return (await history.recent("ann", limit=1000)).orders


def test_an_intent_outlives_a_process_that_is_killed_right_after_it(folder: Path) -> None:
    with others(folder, "die", how_many=1) as [process]:
        [said] = go([process])

    [survivor] = during(folder, list_all)
    assert process.returncode == KILLED
    assert (survivor.id, survivor.state, survivor.idempotency_key) == (said, "intended", "key-1")
    assert survivor.request == fox().request


def test_processes_with_one_request_on_a_new_machine_make_one_order(folder: Path) -> None:
    """They also make the database, at the same instant."""
    with others(folder, "open", how_many=5) as processes:
        said = go(processes)

    [only] = during(folder, list_all)
    assert sorted(said) == [f"{only.id} False"] + [f"{only.id} True"] * 4


def test_processes_do_not_overspend_a_daily_cap_together(folder: Path) -> None:
    with others(folder, "spend", how_many=3) as processes:
        opened = [int(said) for said in go(processes)]

    assert sum(opened) == 20
    assert during(folder, lambda history: history.spent_cents("ann", since=MIDNIGHT)) == 100


def test_processes_that_paint_at_once_do_not_lock_each_other_out(folder: Path) -> None:
    with others(folder, "paint", how_many=3) as processes:
        said = go(processes)

    assert said == ["done"] * 3
    assert [order.state for order in during(folder, list_all)] == ["completed"] * 60


def test_threads_with_a_history_each_make_one_order(folder: Path) -> None:
    begin = Barrier(6, timeout=10)

    async def story(history: History) -> str:
        return (await order(history, fox()))[0].id

    def live(_: int) -> str:
        begin.wait()
        return during(folder, story)

    with ThreadPoolExecutor(6) as threads:
        ids = list(threads.map(live, range(6)))

    assert len(set(ids)) == 1


@pytest.mark.history_file
def test_processes_that_find_a_damaged_file_at_one_instant_agree_on_the_new_one(folder: Path) -> None:
    folder.mkdir()
    (folder / "history.sqlite3").write_bytes(b"not a database at all" * 500)

    with others(folder, "open", how_many=4) as processes:
        said = go(processes)

    [only] = during(folder, list_all)
    assert {line.split()[0] for line in said} == {only.id}
    assert len(list(folder.glob("history.corrupt-*.sqlite3"))) == 1
