from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from mcp.client.client import ConnectMode

from flux2_mcp.simulator import Fault, Script, Simulator
from tests.transports import Wire, looks
from tests.world import World, every, text_of, world

pytestmark = pytest.mark.virtual_time


class OneOfThem(Wire):
    """Answers every look at one chosen task, the first one that is looked at, in its own way."""

    def __init__(self, simulator: Simulator, answer: Mapping[str, object]) -> None:
        super().__init__(simulator)
        self._answer = answer
        self.chosen = ""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        task_id = request.url.path.rpartition("/")[2]
        if looks(request) and task_id == (self.chosen or task_id):
            self.chosen = task_id
            return httpx.Response(200, json={"id": task_id, **self._answer}, request=request)
        return await super().handle_async_request(request)


def world_where_one(home: Path, answer: Mapping[str, object], mode: ConnectMode) -> tuple[World, OneOfThem]:
    script = Script(looks_until_done=2, plain_pictures=True)
    here = world(home, script, mode=mode, intervals=every(0.05))
    wire = here.transport = OneOfThem(here.simulator, answer)
    return here, wire


async def test_eight_pictures_are_eight_tasks_with_a_key_each(tmp_path: Path, era: ConnectMode) -> None:
    here = world(tmp_path, Script(looks_until_done=2, plain_pictures=True), mode=era)
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox", "count": 8})

    assert not result.is_error
    assert len(here.paid) == 8
    assert len({seen.headers["idempotency-key"] for seen in here.creates}) == 8
    assert all(task.id in text_of(result) for task in here.paid)
    assert len(list(here.output.iterdir())) == 8


async def test_one_picture_that_fails_loses_no_other(tmp_path: Path, era: ConnectMode) -> None:
    here, wire = world_where_one(tmp_path, {"status": "failed", "error": "Content policy violation"}, era)
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox", "count": 8})

    assert not result.is_error
    assert "Content policy violation" in text_of(result)
    assert f"Task id: {wire.chosen}" in text_of(result)
    assert len(list(here.output.iterdir())) == 7
    assert all(task.id in text_of(result) for task in here.paid)


async def test_one_picture_that_never_ends_keeps_no_other_back(tmp_path: Path, era: ConnectMode) -> None:
    here, wire = world_where_one(tmp_path, {"status": "processing"}, era)
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox", "count": 8, "wait_seconds": 2})

    assert not result.is_error
    assert len(list(here.output.iterdir())) == 7
    assert f"Call task_status with task_id='{wire.chosen}'" in text_of(result)
    assert "7 of 8" in text_of(result)


async def test_one_order_that_is_refused_loses_no_other(tmp_path: Path, era: ConnectMode) -> None:
    here = world(tmp_path, Script(looks_until_done=2, plain_pictures=True), mode=era)
    here.simulator.faults.append(Fault(on="create", status=402))
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox", "count": 8})

    assert not result.is_error
    assert "Insufficient credits" in text_of(result)
    assert len(here.paid) == 7
    assert len(list(here.output.iterdir())) == 7


async def test_an_order_whose_answer_is_lost_is_shown_by_its_own_id(tmp_path: Path) -> None:
    here = world(tmp_path, Script(looks_until_done=2, plain_pictures=True))
    here.simulator.faults.append(Fault(on="create", after=True, lose=True, times=3))
    here.simulator.faults.append(Fault(on="create", after=True, status=500, times=3))
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox", "count": 2})
        unknown = [order for order in await here.orders() if order.state == "unknown"]
        results = [await client.call_tool("task_status", {"task_id": order.id}) for order in unknown]

    assert unknown
    for order, result in zip(unknown, results, strict=True):
        assert f"task_id='{order.id}'" in text_of(result)
        assert "It is not known whether RunAPI accepted the order" in text_of(result)
    assert len(here.simulator.ledger.tasks()) == 2


async def test_a_batch_is_resumed_as_a_whole(tmp_path: Path) -> None:
    here = world(tmp_path, Script(looks_until_done=2, plain_pictures=True))
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox", "count": 3, "wait_seconds": 0})
        result = await client.call_tool("generate", {"prompt": "a fox", "count": 3})

    assert len(here.simulator.ledger.tasks()) == 3
    assert all(task.id in text_of(result) for task in here.paid)
