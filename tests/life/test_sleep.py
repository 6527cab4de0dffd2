"""A laptop that sleeps in the middle of a call, and a clock that was set meanwhile."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from mcp.client import Client
from mcp_types import CallToolResult

from flux2_mcp import polling
from flux2_mcp.server.app import build_server
from flux2_mcp.simulator import Script, Simulator
from tests.databases import history_in
from tests.paid_once.test_killed import called, check_pictures
from tests.platforms import not_on
from tests.processes import AT_ONCE, hosted, served
from tests.test_process import looked_at
from tests.virtual_time import VirtualTimeLoop
from tests.world import text_of, world

FOX = {"prompt": "a fox"}
HOUR = 3600.0
FEW = 2
"""Looks that may be made at once after a pause."""


def endless() -> Script:
    return Script(looks_until_done=10**9, plain_pictures=True)


@dataclass
class WallClock:
    """One that somebody sets."""

    off: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.off


@pytest.mark.virtual_time
@pytest.mark.parametrize("wall_clock", [timedelta(hours=3), timedelta(0), timedelta(hours=-3)], ids=str)
async def test_a_call_that_slept_for_hours_answers_and_looks_no_more_than_before(
    tmp_path: Path, wall_clock: timedelta
) -> None:
    """What it missed is not made up for. The wall clock may be set right only afterwards, or wrong."""
    here, clock = world(tmp_path, endless(), intervals=polling.intervals), WallClock()
    environment = replace(here.environment(), history=history_in(tmp_path / "data", now=clock))
    results: list[CallToolResult] = []
    before = 0

    async def call(client: Client) -> None:
        results.append(await client.call_tool("generate", FOX))

    async with Client(build_server(environment)) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(call, client)
            while len(here.looks) < FEW:  # noqa: ASYNC110 the simulator has no event for it
                await anyio.sleep(0.1)
            before = len(here.looks)
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualTimeLoop)
            loop.advance(3 * HOUR)
            clock.off = wall_clock
        woken = len(here.looks) - before
        [task] = here.paid
        task.looks = 10**9
        later = await client.call_tool("task_status", {"task_id": task.id})

    [result] = results
    assert not result.is_error
    assert f"Call task_status with task_id='{task.id}'" in text_of(result)
    assert woken <= FEW
    assert "made the picture" in text_of(later)
    assert len(here.paid) == 1


@not_on("Windows", "a process cannot be stopped there")
@pytest.mark.parametrize("wait", [30, 1], ids=["its wait goes on", "its wait is over"])
async def test_a_process_that_was_stopped_goes_on_where_it_was(tmp_path: Path, wait: int) -> None:
    """The picture was finished meanwhile."""
    runapi = Simulator(endless())
    async with served(runapi) as (base_url, _), hosted(tmp_path, base_url, often=True) as host:
        call = await host.call("generate", {**FOX, "wait_seconds": wait}, token="t")
        fox = await looked_at(runapi, FOX["prompt"], times=1)
        host.process.send_signal(signal.SIGSTOP)
        await anyio.sleep(1.2)
        fox.looks = seen = 10**9
        host.process.send_signal(signal.SIGCONT)
        result = (await host.answer(call, within=AT_ONCE))["result"]
        looks = fox.looks - seen
        found = await called(host, "task_status", {"task_id": fox.id})
        await host.hang_up()
        code = await host.ending()

    assert not result["isError"]
    assert fox.id in result["content"][0]["text"]
    assert looks <= FEW
    assert code == 0
    assert "Traceback" not in host.errors.read_text(encoding="utf-8")
    assert len(runapi.ledger.tasks()) == 1
    check_pictures(found, tasks=[fox.id])
