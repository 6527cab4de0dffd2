"""RunAPI names one task for two orders: both are kept, and the result says that they stand for one picture."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from mcp.client.client import ConnectMode
from mcp_types import PromptReference, ResourceTemplateReference

from flux2_mcp.history import Order
from flux2_mcp.simulator import Script, Simulator
from tests.transports import TimesOut, Wire, creates, looks
from tests.world import World, text_of, world

FOX, VIXEN = {"prompt": "a fox"}, {"prompt": "a vixen"}
SAID = "So both stand for one picture; no second one was made."


class NamesOneTask(Wire):
    """Answers every order as it has answered the first."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)
        self._answer: bytes | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not creates(request):
            return await super().handle_async_request(request)
        if self._answer is None:
            self._answer = await (await super().handle_async_request(request)).aread()
        return httpx.Response(200, content=self._answer, request=request)


def one_task(home: Path, mode: ConnectMode = "auto", **environ: str) -> World:
    here = world(home, Script(looks_until_done=2, plain_pictures=True), mode=mode, environ=environ)
    here.transport = NamesOneTask(here.simulator)
    return here


async def both(here: World) -> tuple[Order, Order]:
    second, first = await here.orders()
    return first, second


async def test_the_second_order_says_whose_task_it_was_given(tmp_path: Path, era: ConnectMode) -> None:
    here = one_task(tmp_path, era)
    async with here.client("claude-ai") as client:
        fox = await client.call_tool("generate", FOX)
        vixen = await client.call_tool("generate", VIXEN)
    first, second = await both(here)
    [task] = here.paid

    assert SAID not in text_of(fox)
    assert not vixen.is_error
    assert SAID in text_of(vixen)
    assert f"RunAPI named task {task.id} for order {second.id}" in text_of(vixen)
    assert f"it was order {first.id}'s already" in text_of(vixen)
    assert "whether the second order was charged too is not known" in text_of(vixen)
    assert f"task_id='{second.id}'" in text_of(vixen)
    assert vixen.structured_content is not None
    assert SAID in vixen.structured_content["pictures"][0]["note"]


async def test_both_orders_are_found_by_their_ids(tmp_path: Path) -> None:
    here = one_task(tmp_path)
    async with here.client() as client:
        await client.call_tool("generate", FOX)
        await client.call_tool("generate", VIXEN)
        first, second = await both(here)
        found = [await client.call_tool("task_status", {"task_id": id}) for id in (first.id, second.id)]
        by_task = await client.call_tool("task_status", {"task_id": here.paid[0].id})
        viewed = await client.call_tool("view_image", {"task_id": second.id})
        recent = await client.call_tool("recent_tasks", {})

    assert ["made the picture" in text_of(each) for each in found] == [True, True]
    assert [SAID in text_of(each) for each in (*found, by_task)] == [False, True, False]
    assert all(
        path in text_of(each) for each, order in zip(found, (first, second), strict=True) for path in order.paths
    )
    assert not viewed.is_error
    assert recent.structured_content is not None
    listed = {each["prompt"]: each["task_id"] for each in recent.structured_content["tasks"]}
    assert listed == {"a fox": here.paid[0].id, "a vixen": second.id}
    assert SAID in recent.structured_content["note"]


async def test_both_orders_are_offered_by_their_ids(tmp_path: Path, era: ConnectMode) -> None:
    """The task's id is that of the first one only."""
    here = one_task(tmp_path, era)
    template = ResourceTemplateReference(uri="flux2://tasks/{task_id}")
    async with here.client() as client:
        await client.call_tool("generate", FOX)
        await client.call_tool("generate", VIXEN)
        ids = await client.complete(template, {"name": "task_id", "value": ""})
        photos = await client.complete(PromptReference(name="restyle_photo"), {"name": "photo", "value": ""})
    _, second = await both(here)

    known = [second.id, here.paid[0].id]
    assert ids.completion.values == known
    assert photos.completion.values == [f"flux2://tasks/{id}/images/0" for id in known]


async def test_a_shared_task_without_a_picture_keeps_the_orders_own_id(tmp_path: Path) -> None:
    here = one_task(tmp_path)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox [simulate: empty]"})
        vixen = await client.call_tool("generate", VIXEN)
    _, second = await both(here)

    assert vixen.is_error
    assert "it shows no image" in text_of(vixen)
    assert f"Look once more with task_status and task_id='{second.id}'" in text_of(vixen)


async def test_a_task_that_two_pictures_of_one_call_share_is_counted_once(tmp_path: Path) -> None:
    here = one_task(tmp_path)
    async with here.client() as client:
        result = await client.call_tool("generate", {**FOX, "count": 2})

    assert "2 of 2 pictures are made; charged $0.05 in all." in text_of(result)
    assert text_of(result).count(SAID) == 1


class StatesNoCost(NamesOneTask):
    """Shows a completed task without what it cost."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if not looks(request):
            return response
        body = json.loads(await response.aread())
        body.pop("usage", None)
        return httpx.Response(response.status_code, json=body, request=request)


async def test_a_cost_that_is_not_stated_is_not_called_nothing(tmp_path: Path) -> None:
    here = one_task(tmp_path)
    here.transport = StatesNoCost(here.simulator)
    async with here.client() as client:
        result = await client.call_tool("generate", {**FOX, "count": 2})

    assert "2 of 2 pictures are made; RunAPI has not stated the cost." in text_of(result)


async def test_a_shared_task_that_still_runs_is_followed_by_the_orders_own_id(tmp_path: Path) -> None:
    here = one_task(tmp_path)
    async with here.client() as client:
        await client.call_tool("generate", {**FOX, "wait_seconds": 0})
        running = await client.call_tool("generate", {**VIXEN, "wait_seconds": 0})
    _, second = await both(here)
    async with here.client() as client:
        found = await client.call_tool("task_status", {"task_id": second.id})

    assert f"Call task_status with task_id='{second.id}' in a minute" in text_of(running)
    assert SAID in text_of(running)
    assert SAID in text_of(found)


async def test_a_shared_task_that_fails_says_so_too(tmp_path: Path) -> None:
    here = one_task(tmp_path)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox [simulate: failed]"})
        failed = await client.call_tool("generate", VIXEN)

    assert failed.is_error
    assert "Content policy violation" in text_of(failed)
    assert SAID in text_of(failed)


@pytest.mark.parametrize("times", [2, 3], ids=["within the call", "by a later call"])
async def test_the_same_order_may_be_given_its_task_again_and_again(tmp_path: Path, times: int) -> None:
    here = world(tmp_path, Script(looks_until_done=2, plain_pictures=True))
    here.transport = TimesOut(here.simulator, creates, times=times)
    async with here.client() as client:
        results = [await client.call_tool("generate", {**FOX, "wait_seconds": 0})]
        results += [await client.call_tool("generate", FOX)]
        [order] = await here.orders()
        results += [await client.call_tool("task_status", {"task_id": order.id})]

    assert "made the picture" in text_of(results[-1])
    assert not [each for each in results if "both stand for one picture" in text_of(each)]
    assert order.shared_with is None
    assert len(here.paid) == 1


async def test_a_task_that_was_only_looked_at_before_is_no_other_order(tmp_path: Path) -> None:
    """Somebody found the id at RunAPI while the answer to the order was lost."""
    here = world(tmp_path, Script(looks_until_done=2, plain_pictures=True))
    here.transport = TimesOut(here.simulator, creates, times=3)
    async with here.client() as client:
        await client.call_tool("generate", FOX)
        await client.call_tool("task_status", {"task_id": here.paid[0].id})
        found = await client.call_tool("generate", FOX)

    assert "made the picture" in text_of(found)
    assert "both stand for one picture" not in text_of(found)
    assert f"task_id='{here.paid[0].id}'" in text_of(found)
