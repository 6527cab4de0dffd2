from __future__ import annotations

from pathlib import Path
from typing import Literal

import anyio
import pytest
from mcp.client.client import ConnectMode

from flux2_mcp import polling
from flux2_mcp.runapi.create_limit import MOST_CREATES
from flux2_mcp.simulator import Fault, Script, Simulator
from tests.transports import Gate, creates
from tests.world import World, every, text_of, world

pytestmark = pytest.mark.virtual_time

FOREVER = 10**9


@pytest.mark.parametrize(
    "silence",
    [
        Fault(on="look", hang=60, times=99),
        Fault(on="create", hang=60, times=99),
        Fault(on="picture", hang=60, times=99),
    ],
    ids=["status request", "create request", "download"],
)
async def test_a_wait_of_3_s_returns_within_3_5_s_while_runapi_is_silent(tmp_path: Path, silence: Fault) -> None:
    """A host that gives up before we do would never see the id."""
    here = world(tmp_path, Script(looks_until_done=1, plain_pictures=True), intervals=polling.intervals)
    here.simulator.faults.append(silence)
    async with here.client() as client:
        await client.call_tool("task_status", {"task_id": ""})  # what is imported at first use is there
        began = anyio.current_time()
        result = await client.call_tool("generate", {"prompt": "a fox", "wait_seconds": 3})
        took = anyio.current_time() - began

    assert took < 3.5
    assert not result.is_error
    assert "task_id='" in text_of(result)
    assert ("it is being ordered" in text_of(result)) is (silence.on == "create")


async def test_no_picture_waits_for_the_price_list(tmp_path: Path) -> None:
    here = world(tmp_path, Script(looks_until_done=1, plain_pictures=True))
    here.simulator.faults.append(Fault(on="prices", hang=60, times=99))
    async with here.client() as client:
        with anyio.fail_after(2):
            result = await client.call_tool("generate", {"prompt": "a fox"})

    assert "made the picture" in text_of(result)


async def test_wait_seconds_0_hands_back_at_once(tmp_path: Path, era: ConnectMode) -> None:
    here = world(tmp_path, Script(looks_until_done=FOREVER), intervals=polling.intervals, mode=era)
    async with here.client() as client:
        await client.call_tool("task_status", {"task_id": ""})  # what is imported at first use is there
        seen = len(here.looks)
        began = anyio.current_time()
        result = await client.call_tool("generate", {"prompt": "a fox", "wait_seconds": 0})
        took = anyio.current_time() - began

    assert took < 0.5
    assert not result.is_error
    [task] = here.paid
    assert task.id in text_of(result)
    assert len(here.looks) == seen


async def test_running_out_of_time_is_a_normal_result_with_id_and_next_step(tmp_path: Path, era: ConnectMode) -> None:
    """It is no error that a picture takes its time; a model that reads "error" would order another one."""
    here = world(tmp_path, Script(looks_until_done=FOREVER), intervals=every(0.05), mode=era)
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox", "wait_seconds": 0.2})

    [task] = here.paid
    assert not result.is_error
    assert result.structured_content is not None
    assert result.structured_content["completed"] is False
    assert result.structured_content["pictures"][0]["task_id"] == task.id
    assert f"task_status with task_id='{task.id}'" in result.structured_content["next_step"]
    assert "do not generate again" in text_of(result)


async def test_a_picture_that_ran_out_of_time_comes_with_task_status(tmp_path: Path, era: ConnectMode) -> None:
    here = world(tmp_path, Script(looks_until_done=3, plain_pictures=True), mode=era)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox", "wait_seconds": 0})
        [task] = here.paid
        result = await client.call_tool("task_status", {"task_id": task.id})

    assert not result.is_error
    [saved] = here.output.iterdir()
    assert str(saved) in text_of(result)
    assert len(here.creates) == 1


async def test_task_status_looks_once_even_without_waiting(tmp_path: Path) -> None:
    here = world(tmp_path, Script(looks_until_done=1, plain_pictures=True), intervals=every(60.0))
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox", "wait_seconds": 0})
        [task] = here.paid
        result = await client.call_tool("task_status", {"task_id": task.id, "wait_seconds": 0})

    assert "made the picture" in text_of(result)
    assert len(here.looks) == 1


async def test_a_picture_whose_download_is_slow_is_there_with_the_next_look(tmp_path: Path) -> None:
    """Time ran out while the file was on its way: it is fetched to its end all the same."""
    here = world(tmp_path, Script(looks_until_done=1, plain_pictures=True))
    here.simulator.faults.append(Fault(on="picture", hang=0.6))
    async with here.client() as client:
        early = await client.call_tool("generate", {"prompt": "a fox", "wait_seconds": 0.3})
        [task] = here.paid
        later = await client.call_tool("task_status", {"task_id": task.id})

    assert f"{task.id}" in text_of(early)
    assert "still being fetched" in text_of(early)
    [saved] = here.output.iterdir()
    assert str(saved) in text_of(later)
    assert [seen.path for seen in here.simulator.requests if "/generated/" in seen.path] == [
        f"/generated/{task.picture_name}.png"
    ]


@pytest.mark.parametrize("dialect", ["sdk", "v1"])
@pytest.mark.parametrize("tool", ["generate", "remix"])
async def test_after_a_restart_a_task_is_looked_for_where_it_was_made(
    tmp_path: Path, dialect: Literal["sdk", "v1"], tool: str
) -> None:
    """At another address a look would be in vain."""
    here = world(tmp_path, Script(dialects=(dialect,), looks_until_done=3, plain_pictures=True))
    sources = {"source_image_urls": ["https://files.example/a.png"]} if tool == "remix" else {}
    async with here.client() as client:
        await client.call_tool(tool, {"prompt": "a fox", "wait_seconds": 0, **sources})
    before = len(here.looks)
    async with here.client() as client:
        await client.call_tool("task_status", {"task_id": here.paid[0].id, "wait_seconds": 0})

    assert {seen.status for seen in here.looks[before:]} == {200}


async def test_hundreds_of_orders_leave_connections_to_looks(tmp_path: Path) -> None:
    simulator = Simulator(Script(looks_until_done=1, plain_pictures=True))
    orders = Gate(simulator, creates)
    here = World(simulator, tmp_path, orders)
    async with here.client() as client:
        orders.open()
        await client.call_tool("generate", {"prompt": "a fox"})
        [task] = here.paid
        orders.close()
        async with anyio.create_task_group() as group:
            for number in range(MOST_CREATES + 5):
                group.start_soon(client.call_tool, "generate", {"prompt": f"fox {number}", "wait_seconds": 10})
            while orders.held < MOST_CREATES:  # noqa: ASYNC110 it tells of the first only
                await anyio.sleep(0.01)
            looked = await client.call_tool("task_status", {"task_id": task.id})
            assert orders.held == MOST_CREATES
            assert not looked.is_error
            orders.open()

    assert len(here.paid) == 1 + MOST_CREATES + 5
