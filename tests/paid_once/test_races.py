from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from flux2_mcp.simulator import Fault, Script
from tests.paid_once.ledgers import ledger_of, ledger_of_runapi
from tests.wires import Gate, NoNetwork, Wire, fetches
from tests.world import World, text_of, world

FOX = {"prompt": "a fox"}

REFUSALS = {
    "401": Fault(on="create", status=401, times=9),
    "402": Fault(on="create", status=402, times=9),
    "403": Fault(on="create", status=403, times=9),
    "404": Fault(on="create", status=404, times=9),
    "409": Fault(on="create", status=409, times=9),
    "429": Fault(on="create", status=429, times=9),
    "503": Fault(on="create", status=503, times=9),
}


def small_world(home: Path, *faults: Fault, **environ: str) -> World:
    here = world(home, Script(looks_until_done=1, plain_pictures=True), environ=environ)
    here.simulator.faults.extend(faults)
    return here


@pytest.mark.parametrize("by", ["id", "words"])
@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_of_the_second_try_does_not_undo_the_first(tmp_path: Path, refusal: Fault, by: str) -> None:
    """The task was made and its answer lost; that RunAPI refuses to answer now says nothing about it."""
    here = small_world(tmp_path, Fault(on="create", after=True, lose=True, times=3))
    async with here.client() as client:
        await client.call_tool("generate", FOX)
        [order] = await here.orders()
        again = ("task_status", {"task_id": order.id}) if by == "id" else ("generate", FOX)
        here.simulator.faults[:] = [refusal]
        refused = await client.call_tool(*again)
        here.simulator.faults.clear()
        found = await client.call_tool("generate", FOX)
        ours = await ledger_of(client)

    assert "Nothing was charged" not in text_of(refused)
    assert f"task_id='{order.id}'" in text_of(refused)
    [task] = here.paid
    assert task.id in text_of(found)
    assert ours == ledger_of_runapi(here.simulator)


async def test_a_lost_network_does_not_undo_an_order_in_doubt(tmp_path: Path) -> None:
    here = small_world(tmp_path, Fault(on="create", after=True, lose=True, times=3))
    async with here.client() as client:
        await client.call_tool("generate", FOX)
    here.transport = NoNetwork()
    async with here.client() as client:
        offline = await client.call_tool("generate", FOX)
    here.transport = Wire(here.simulator)
    async with here.client() as client:
        found = await client.call_tool("generate", FOX)

    assert "Nothing was charged" not in text_of(offline)
    [task] = here.paid
    assert task.id in text_of(found)


async def test_a_picture_that_could_not_be_fetched_is_fetched_by_the_same_words(tmp_path: Path) -> None:
    """It was paid for, and nobody has it yet."""
    here = small_world(tmp_path, Fault(on="picture", status=500, times=9))
    async with here.client() as client:
        await client.call_tool("generate", FOX)
        here.simulator.faults.clear()
        found = await client.call_tool("generate", FOX)

    [task] = here.paid
    assert task.id in text_of(found)
    assert len(list(here.output.iterdir())) == 1


async def test_a_picture_that_was_being_fetched_at_the_end_is_saved_by_the_next_server(tmp_path: Path) -> None:
    """RunAPI's link dies after seven days, and nobody may ask again before."""
    here = small_world(tmp_path)
    gate = here.transport = Gate(here.simulator, fetches)
    async with here.client() as client, anyio.create_task_group() as group:
        group.start_soon(client.call_tool, "generate", FOX)
        await gate.holds_one()
        group.cancel_scope.cancel()
    here.transport = Wire(here.simulator)
    async with here.client():
        await anyio.wait_all_tasks_blocked()
        await saved(here)

    [order] = await here.orders()
    assert [Path(path) for path in order.paths] == list(here.output.iterdir())


async def saved(here: World) -> None:
    """Wait until a picture lies in the folder, and the history knows where."""
    with anyio.fail_after(5):
        while not any(order.paths for order in await here.orders()):  # noqa: ASYNC110 there is no event for it
            await anyio.sleep(0.01)
