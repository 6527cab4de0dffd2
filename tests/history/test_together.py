from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import Connection, Engine

from flux2_mcp.errors import HistoryUnusable, OverLimit
from flux2_mcp.history import DURATIONS_LAST, History, Order, schema
from flux2_mcp.history.queries import Queries
from tests.history.orders import QUARTER, fox

TOGETHER = 50


async def all_at_once(history: History, *, cap: int | None = None) -> tuple[list[Order], list[Exception]]:
    """As many orders, each of a call of its own."""
    orders: list[Order] = []
    refusals: list[Exception] = []

    async def one(number: int) -> None:
        try:
            [(order, _)] = await history.open_orders(
                [fox(f"{number:02x}")], owner="ann", resume_within=QUARTER, daily_cap_cents=cap
            )
        except (HistoryUnusable, OverLimit) as refusal:
            refusals.append(refusal)
        else:
            orders.append(order)

    async with anyio.create_task_group() as calls:
        for number in range(TOGETHER):
            calls.start_soon(one, number)
    return orders, refusals


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    """Where each transaction that writes was begun."""
    begun: list[Engine] = []
    writing = schema.writing

    @contextmanager
    def counted(engine: Engine) -> Generator[Connection]:
        begun.append(engine)
        with writing(engine) as connection:
            yield connection

    monkeypatch.setattr(schema, "writing", counted)
    return begun


async def test_orders_that_come_together_share_their_transactions(history: History, transactions: list[Engine]) -> None:
    await history.deliveries("ann")
    transactions.clear()

    orders, _ = await all_at_once(history)

    assert len({order.id for order in orders}) == TOGETHER
    assert len(transactions) <= 3


@pytest.mark.virtual_time
async def test_durations_that_were_read_a_moment_ago_are_not_read_again(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of many calls asks for them, and they are only for the pace of looking."""
    reads: list[str] = []
    read = Queries.durations

    def counted(queries: Queries, owner: str, **kind: Any) -> list[timedelta]:  # noqa: ANN401 as it is asked for
        reads.append(owner)
        return read(queries, owner, **kind)

    monkeypatch.setattr(Queries, "durations", counted)
    for pause in (0.5, DURATIONS_LAST, 0):
        for owner in ("ann", "bob"):
            await history.durations(owner, action="text_to_image", model=fox().model, resolution="2k")
        await anyio.sleep(pause)

    assert reads == ["ann", "bob"] * 2


async def test_one_that_is_refused_takes_nothing_from_those_beside_it(history: History) -> None:
    """Each costs 5 cents."""
    orders, refusals = await all_at_once(history, cap=60)

    assert (len(orders), len(refusals)) == (12, 38)
    assert len((await history.recent("ann", limit=100)).orders) == 12


@pytest.mark.history_file
async def test_all_of_a_transaction_that_cannot_be_hear_of_it(history: History, folder: Path) -> None:
    """Each with an error of its own: two calls that raise the same one would add to one traceback."""
    await history.deliveries("ann")
    in_a_file = History(folder / "history.sqlite3")

    orders, refusals = await all_at_once(in_a_file)

    assert not orders
    assert len({id(refusal) for refusal in refusals}) == TOGETHER
    assert all("Nothing was ordered" in str(refusal) for refusal in refusals)
    await in_a_file.aclose()


async def test_what_was_asked_for_is_done_though_its_caller_is_cancelled_while_it_waits(history: History) -> None:
    """Behind others, in the queue for the next transaction."""

    async def cancelled() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await history.open_orders([fox("ff")], owner="ann", resume_within=QUARTER)

    async with anyio.create_task_group() as calls:
        calls.start_soon(all_at_once, history)
        calls.start_soon(cancelled)

    page = await history.recent("ann", limit=100)
    assert "ff" in {order.fingerprint for order in page.orders}
    assert len(page.orders) == TOGETHER + 1


async def test_a_command_that_ctrl_c_ends_while_it_waits_stops_nobody_else(history: History) -> None:
    """Asyncio cancels its task, and no shield of ours keeps that out."""
    await history.deliveries("ann")
    ours = [asyncio.create_task(history.open_orders([fox(mark)], owner="ann", resume_within=QUARTER)) for mark in "ab"]
    await asyncio.sleep(0)
    for task in ours:
        task.cancel()
    await asyncio.gather(*ours, return_exceptions=True)

    with anyio.fail_after(10):
        orders, _ = await all_at_once(history)
    assert len(orders) == TOGETHER


async def test_a_mistake_in_one_is_raised_where_it_was_asked_for(history: History) -> None:
    def mistaken(_: int) -> None:
        raise ZeroDivisionError

    async def mistake() -> None:
        with pytest.raises(ZeroDivisionError):
            await history.open_orders([fox("ff")], owner="ann", resume_within=QUARTER, check=mistaken)

    async with anyio.create_task_group() as calls:
        calls.start_soon(all_at_once, history)
        calls.start_soon(mistake)

    assert len((await history.recent("ann", limit=100)).orders) == TOGETHER
