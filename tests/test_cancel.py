from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import httpx
import pytest
from mcp import MCPError
from mcp.client import Client
from mcp.client.client import ConnectMode

from flux2_mcp import polling
from flux2_mcp.simulator import Script
from tests.transports import Gate, creates, fetches, looks
from tests.world import World, text_of, world

pytestmark = pytest.mark.virtual_time

FOX = {"prompt": "a fox"}


def gated_world(home: Path, era: ConnectMode, holds: Callable[[httpx.Request], bool], *, after: bool) -> World:
    """A world with a gate in its wire."""
    here = world(home, Script(looks_until_done=2, plain_pictures=True), mode=era)
    here.transport = Gate(here.simulator, holds, after=after)
    return here


def gate_of(here: World) -> Gate:
    assert isinstance(here.transport, Gate)
    return here.transport


async def cancelled_call(client: Client, gate: Gate) -> None:
    """Order a fox, and hang up as soon as the gate holds a request."""
    async with anyio.create_task_group() as group:
        group.start_soon(client.call_tool, "generate", FOX)
        await gate.holds_one()
        group.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("holds", "after"),
    [(creates, False), (creates, True), (looks, False), (looks, True), (fetches, False)],
    ids=["order on its way", "answer to the order on its way", "look on its way", "answer on its way", "download"],
)
async def test_a_cancelled_call_is_found_again_by_its_id(
    tmp_path: Path, era: ConnectMode, holds: Callable[[httpx.Request], bool], *, after: bool
) -> None:
    """The order is in the history before anything is sent, so task_status finds what came of it.

    That the same words find it too is shown in tests/paid_once/test_races.py.
    """
    here = gated_world(tmp_path, era, holds, after=after)
    async with here.client() as client:
        await cancelled_call(client, gate_of(here))
        gate_of(here).open()
        [order] = await here.orders()
        result = await client.call_tool("task_status", {"task_id": order.id})

    [task] = here.paid
    assert task.id in text_of(result)
    assert "made the picture" in text_of(result)


@pytest.mark.parametrize("holds", [creates, looks], ids=["ordering", "waiting"])
async def test_a_cancelled_call_makes_no_further_status_request(
    tmp_path: Path, era: ConnectMode, holds: Callable[[httpx.Request], bool]
) -> None:
    here = gated_world(tmp_path, era, holds, after=True)
    async with here.client() as client:
        await cancelled_call(client, gate_of(here))
        seen = len(here.looks)
        gate_of(here).open()
        await anyio.wait_all_tasks_blocked()
        await client.list_tools()

    assert len(here.looks) == seen
    assert len(here.paid) == 1


async def test_the_answer_to_an_order_is_written_down_though_its_call_is_gone(tmp_path: Path, era: ConnectMode) -> None:
    """Nobody has to ask again for RunAPI's id to be known."""
    here = gated_world(tmp_path, era, creates, after=True)
    async with here.client() as client:
        await cancelled_call(client, gate_of(here))
        gate_of(here).open()
        with anyio.fail_after(5):
            while not (order := (await here.orders())[0]).task_id:
                await anyio.wait_all_tasks_blocked()

    assert order.task_id == here.paid[0].id
    assert len(here.creates) == 1


async def test_nobody_looks_at_a_task_that_no_call_waits_for(tmp_path: Path) -> None:
    """Not even what looks, two seconds after the start, for pictures that were left open."""
    here = world(tmp_path, Script(looks_until_done=2, plain_pictures=True), intervals=polling.intervals)
    async with here.client() as client:
        await client.call_tool("generate", {**FOX, "wait_seconds": 0})
        await anyio.sleep(2.3)

    assert len(here.paid) == 1
    assert not here.looks


async def test_a_cancelled_call_is_found_again_after_a_restart(tmp_path: Path, era: ConnectMode) -> None:
    """The order was written down before it was sent, and its task as soon as RunAPI named it."""
    here = gated_world(tmp_path, era, looks, after=False)
    async with here.client() as client:
        await cancelled_call(client, gate_of(here))
    gate_of(here).open()
    async with here.client() as client:
        result = await client.call_tool("generate", FOX)

    [task] = here.paid
    assert task.id in text_of(result)
    assert "made the picture" in text_of(result)


async def test_an_order_whose_answer_came_after_the_end_is_found_again_after_a_restart(
    tmp_path: Path, era: ConnectMode
) -> None:
    """The server ended while RunAPI's answer was on its way: the Idempotency-Key finds the task."""
    here = gated_world(tmp_path, era, creates, after=True)
    async with here.client() as client:
        await cancelled_call(client, gate_of(here))
    gate_of(here).open()
    async with here.client() as client:
        result = await client.call_tool("generate", FOX)

    [task] = here.paid
    assert task.id in text_of(result)
    assert len({seen.headers["idempotency-key"] for seen in here.creates}) == 1


async def test_a_call_that_the_client_stops_waiting_for_stops_looking(tmp_path: Path, era: ConnectMode) -> None:
    """A client's own timeout cancels the call on the wire."""
    here = gated_world(tmp_path, era, looks, after=True)
    async with here.client() as client:
        async with anyio.create_task_group() as group:

            async def impatient_call() -> None:
                with pytest.raises(MCPError):
                    await client.call_tool("generate", FOX, read_timeout_seconds=0.5)

            group.start_soon(impatient_call)
            await gate_of(here).holds_one()
        seen = len(here.looks)
        gate_of(here).open()
        await anyio.wait_all_tasks_blocked()

    assert len(here.looks) == seen
    assert len(here.paid) == 1
