from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import MCPError
from mcp.client import Client, ClientRequestContext
from mcp.client.extension import advertise
from mcp_types import (
    INTERNAL_ERROR,
    CallToolResult,
    ElicitRequestParams,
    ElicitResult,
    ImageContent,
    InputRequiredResult,
    Result,
)
from pydantic import ConfigDict

from flux2_mcp.background import GRACE_PERIOD
from flux2_mcp.server import tasks_extension
from flux2_mcp.server.app import build_server
from flux2_mcp.server.tasks_extension import IDENTIFIER, PATIENCE
from flux2_mcp.server.tickets import GRACE, LATE
from flux2_mcp.simulator import Fault, Script
from tests.tasks_client import TaskParams, TaskRequest, TasksClient, TasksExtension, ask, tasks_client, tell
from tests.transports import Gate, creates, fetches, looks
from tests.world import World, every, text_of, world

pytestmark = pytest.mark.virtual_time

FOX = {"prompt": "a fox"}
FOREVER = 10**9
MISSING_CAPABILITY, INVALID_PARAMS, NO_SUCH_METHOD = -32021, -32602, -32601


class AnyResult(Result):
    """Whatever is answered."""

    model_config = ConfigDict(extra="allow")


def slow(home: Path, looks: int = 20, **more: object) -> World:
    """A world in which a picture takes longer than a client is kept waiting."""
    return world(home, Script(looks_until_done=looks, plain_pictures=True), intervals=every(0.2), **more)


@asynccontextmanager
async def client_in(here: World) -> AsyncGenerator[TasksClient]:
    """A client that declares the extension, and a server of its own, started now."""
    with anyio.fail_after(600):
        async with tasks_client(build_server(here.environment())) as client:
            yield client


async def plain_call(here: World, tool: str, **arguments: object) -> CallToolResult:
    """The same for a client that does not know what a task is."""
    async with here.client() as client:
        return await client.call_tool(tool, arguments)


def finish(here: World) -> None:
    """RunAPI has made all that was ordered."""
    for task in here.simulator.ledger.tasks():
        task.looks = FOREVER


# Who gets one.


async def test_a_call_that_takes_long_is_a_task_and_comes_to_what_the_call_would(tmp_path: Path) -> None:
    here = slow(tmp_path)
    async with client_in(here) as client:
        task = await client.start("generate", **FOX)
        asked = await client.get(task)
        result = await client.result(task)
    plain = await plain_call(here, "task_status", task_id=task.task_id)

    assert (task.status, asked.status) == ("working", "working")
    assert "made the picture" in text_of(result)
    assert result.content == plain.content
    assert len(here.paid) == 1


async def test_a_client_that_waits_for_tasks_by_itself_sees_nothing_of_them(tmp_path: Path) -> None:
    here = slow(tmp_path)
    async with Client(build_server(here.environment()), extensions=[TasksExtension()]) as client:
        result = await client.call_tool("generate", FOX)

    assert "made the picture" in text_of(result)
    assert any(isinstance(block, ImageContent) for block in result.content)


async def test_pictures_of_one_call_are_one_task(tmp_path: Path) -> None:
    here = slow(tmp_path)
    async with client_in(here) as client:
        task = await client.start("generate", **FOX, count=3)
        again = await client.start("task_status", task_id=task.task_id)
        result = await client.result(task)

    assert again.task_id == task.task_id
    assert "3 of 3 pictures are made; charged $0.15 in all." in text_of(result)
    assert len([block for block in result.content if isinstance(block, ImageContent)]) == 3


async def test_a_remix_and_a_look_that_waits_are_tasks_too(tmp_path: Path) -> None:
    here = slow(tmp_path)
    async with client_in(here) as client:
        made = await client.start("remix", prompt="as a drawing", source_image_urls=["https://files.example/a.png"])
        looked = await client.start("task_status", task_id=here.paid[0].id)
        result = await client.result(looked)

    assert looked.task_id == made.task_id
    assert "made the picture" in text_of(result)


async def test_others_notice_nothing(tmp_path: Path) -> None:
    here = slow(tmp_path, looks=3)
    async with here.client() as plain, client_in(here) as client:
        listed = [await plain.list_tools(), await client.session.list_tools()]
        result = await plain.call_tool("generate", FOX)
    async with Client(build_server(here.environment()), mode="legacy", extensions=[advertise(IDENTIFIER)]) as legacy:
        of_legacy = await legacy.call_tool("generate", {"prompt": "a hare"})
        with pytest.raises(MCPError) as unknown:
            await ask(legacy.session, "get", "order-0123456789abcdef")

    assert listed[0].tools == listed[1].tools
    assert "made the picture" in text_of(result)
    assert "made the picture" in text_of(of_legacy)
    assert unknown.value.code == NO_SUCH_METHOD


async def test_the_server_says_that_it_has_tasks_and_needs_to_hear_it_too(tmp_path: Path) -> None:
    here = slow(tmp_path)
    async with here.client() as plain, client_in(here) as client:
        task = await client.start("generate", **FOX)
        declared = plain.server_capabilities.extensions
        refusals: list[int] = []
        for what in ("get", "cancel", "update"):
            with pytest.raises(MCPError) as refusal:
                await tell(plain.session, what, task.task_id)
            refusals.append(refusal.value.code)

    assert (declared or {})[IDENTIFIER] == {}
    assert refusals == [MISSING_CAPABILITY] * 3


# What is answered at once.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "a fox", "aspect": "1:1"}, "has no argument 'aspect'"),
        ({"prompt": "a fox", "max_cost_usd": 0.01}, "Nothing was charged"),
    ],
)
async def test_a_call_that_orders_nothing_is_refused_at_once(
    tmp_path: Path, arguments: dict[str, object], words: str
) -> None:
    async with client_in(slow(tmp_path)) as client:
        refusal = await client.call("generate", **arguments)

    assert isinstance(refusal, CallToolResult)
    assert refusal.is_error
    assert words in text_of(refusal)


async def test_an_answer_that_is_there_is_given(tmp_path: Path) -> None:
    here = world(tmp_path, Script(looks_until_done=0, plain_pictures=True))
    async with client_in(here) as client:
        result = await client.call("generate", **FOX)
        unfinished = await client.call("generate", prompt="a hare", wait_seconds=0)

    assert isinstance(result, CallToolResult)
    assert "made the picture" in text_of(result)
    assert isinstance(unfinished, CallToolResult)
    assert "is not ready yet" in text_of(unfinished)


async def test_the_person_is_asked_before_there_is_a_task(tmp_path: Path) -> None:
    here = slow(tmp_path, environ={"FLUX2_CONFIRM_OVER": "0.01"})

    async def person(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="accept", content={"spend": True})

    server = build_server(here.environment())
    async with Client(server, extensions=[TasksExtension()], elicitation_callback=person) as client:
        question = await client.session.call_tool("generate", FOX, allow_claimed=True, allow_input_required=True)
        paid = list(here.paid)
        result = await client.call_tool("generate", FOX)

    assert isinstance(question, InputRequiredResult)
    assert paid == []
    assert "made the picture" in text_of(result)


# What it says of itself.


async def test_it_says_how_far_it_is_and_for_how_long_it_can_be_had(tmp_path: Path) -> None:
    here = slow(tmp_path, FOREVER)
    async with client_in(here) as client:
        task = await client.start("generate", **FOX)
        await anyio.sleep(7)
        later = await client.get(task)
        finish(here)
        await client.result(task)

    [order] = await here.orders()
    assert task.task_id == order.id
    assert task.created_at == order.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert (task.ttl_ms, task.poll_interval_ms) == (7 * 24 * 3600 * 1000, 2000)
    assert later.status_message.startswith("Flux 2 Pro is painting, 7")
    assert later.last_updated_at >= task.last_updated_at
    assert {each[-1] for each in (task.last_updated_at, later.last_updated_at, later.created_at)} == {"Z"}
    assert later.created_at == task.created_at


async def test_it_goes_on_when_the_time_of_its_call_has_run_out(tmp_path: Path) -> None:
    """What is still to come is no result: nobody has to call task_status."""
    here = replace(slow(tmp_path, FOREVER), intervals=every(3))
    async with client_in(here) as client:
        task = await client.start("generate", **FOX, wait_seconds=10)
        await anyio.sleep(20)
        late = await client.get(task)
        await anyio.sleep(100)
        later = await client.get(task)
        seen = len(here.looks)
        await anyio.sleep(5)
        looked = len(here.looks) - seen
        finish(here)
        result = await client.result(task)

    assert (late.status, later.status) == ("working", "working")
    assert looked > 0
    assert "made the picture" in text_of(result)


async def test_a_failure_is_its_result(tmp_path: Path) -> None:
    here = world(tmp_path, Script(looks_until_done=10, failure_rate=1), intervals=every(0.1))
    async with client_in(here) as client:
        task = await client.start("generate", **FOX)
        result = await client.result(task)
        again = await client.result(task)

    assert result.is_error
    assert "Error executing tool generate: RunAPI could not make the picture" in text_of(result)
    assert again.is_error
    assert text_of(again).endswith(text_of(result).removeprefix("Error executing tool generate: "))


async def test_numbers_are_whole_and_what_there_is_no_word_for_is_left_out(tmp_path: Path) -> None:
    """Clients in other languages are strict about that."""
    here = slow(tmp_path)
    async with client_in(here) as client:
        task = await client.start("generate", **FOX)
        working = await as_sent(client, task.task_id)
        await client.result(task)
        completed = await as_sent(client, task.task_id)

    for sent in (working, completed):
        assert {type(sent[name]) for name in ("ttlMs", "pollIntervalMs")} == {int}
        assert sent["lastUpdatedAt"].endswith("Z")
    assert "statusMessage" in working
    assert "statusMessage" not in completed


async def as_sent(client: TasksClient, task_id: str) -> dict[str, Any]:
    """What tasks/get answers, before anything is made of it."""
    answer = await client.session.send_request(
        TaskRequest(method="tasks/get", params=TaskParams(task_id=task_id)), AnyResult
    )
    return answer.model_extra or {}


# When it is handed out.


@pytest.mark.parametrize(("answers_after", "waited"), [(0.5, 0.5), (60, LATE)])
async def test_a_client_waits_a_moment_for_runapi_to_accept_its_order(
    tmp_path: Path, answers_after: float, waited: float
) -> None:
    """A task that RunAPI has refused by then was never handed out."""
    here = slow(tmp_path, FOREVER)
    here.simulator.faults.append(Fault(on="create", hang=answers_after))
    async with client_in(here) as client:
        began = anyio.current_time()
        await client.start("generate", **FOX)
        took = anyio.current_time() - began
        finish(here)

    assert waited <= took <= waited + 2 * GRACE


# It outlives the process.


@pytest.mark.parametrize("count", [2, 8])
async def test_another_process_goes_on_with_it(tmp_path: Path, count: int) -> None:
    here = slow(tmp_path, FOREVER)
    async with client_in(here) as client:
        task = await client.start("generate", **FOX, count=count)
    async with client_in(here) as client:
        taken_up = await client.get(task)
        finish(here)
        result = await client.result(task)
        again = await client.result(task)

    assert taken_up.status == "working"
    assert taken_up.created_at == task.created_at
    assert f"{count} of {count} pictures are made" in text_of(result)
    assert result.content == again.content
    assert len(here.paid) == count


@pytest.mark.parametrize("turns", [0, 1, 20])
async def test_all_who_ask_at_once_get_what_has_ended(tmp_path: Path, turns: int) -> None:
    """It is looked at once for all of them, and nobody is told that it goes on: not who asks in the middle of it."""
    here = slow(tmp_path)
    async with client_in(here) as client:
        task = await client.start("generate", **FOX)
        first = await client.result(task)
    seen = len(here.simulator.requests)
    results: list[CallToolResult | None] = []

    async def get(client: TasksClient) -> None:
        results.append((await client.get(task)).result)

    async with client_in(here) as client, anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(get, client)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()

    assert [result and result.content for result in results] == [first.content] * 5
    assert len(here.simulator.requests) == seen


async def test_what_has_ended_is_not_said_to_go_on_while_its_picture_is_fetched(tmp_path: Path) -> None:
    """The file is gone, and storage is slow."""
    here = slow(tmp_path)
    async with client_in(here) as client:
        task = await client.start("generate", **FOX)
        await client.result(task)
    for file in here.output.iterdir():
        file.unlink()
    gate = here.transport = Gate(here.simulator, fetches)

    async def open_late() -> None:
        await gate.holds_one()
        await anyio.sleep(3 * PATIENCE)
        gate.open()

    async with client_in(here) as client, anyio.create_task_group() as group:
        group.start_soon(open_late)
        assert (await client.get(task)).status == "completed"


async def test_a_server_that_ends_waits_for_no_task(tmp_path: Path) -> None:
    here = slow(tmp_path, FOREVER)
    async with client_in(here) as client:
        await client.start("generate", **FOX)
        began = anyio.current_time()

    assert anyio.current_time() - began < GRACE_PERIOD


async def test_who_asks_at_once_shares_the_looks(tmp_path: Path) -> None:
    here = replace(slow(tmp_path, FOREVER), intervals=every(60))
    async with client_in(here) as client:
        task = await client.start("generate", **FOX)
    async with client_in(here) as client:
        await anyio.sleep(10)  # until its start has looked at what was left open
        seen = len(here.looks)
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(client.get, task)

    assert len(here.looks) - seen == 1


async def test_results_that_nobody_fetches_make_room_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are made anew from the history, which does not know which tool was called."""
    monkeypatch.setattr(tasks_extension, "MOST_KEPT", 1)
    here = world(tmp_path, Script(looks_until_done=10, failure_rate=1), intervals=every(0.1))
    async with client_in(here) as client:
        tasks = [await client.start("generate", prompt=f"fox {number}") for number in range(3)]
        await anyio.sleep(30)
        results = [await client.result(task) for task in reversed(tasks)]

    assert [text_of(result).startswith("Error executing tool generate") for result in results] == [True, False, False]
    assert all("RunAPI could not make the picture" in text_of(result) for result in results)


async def test_an_order_that_another_process_is_sending_is_left_to_it(tmp_path: Path) -> None:
    here = slow(tmp_path, FOREVER)
    here.transport = gate = Gate(here.simulator, creates, after=True)
    async with client_in(here) as one, client_in(here) as other:
        task = await one.start("generate", **FOX)
        elsewhere = await other.get(task)
        gate.open()
        finish(here)
        result = await other.result(task)

    assert elsewhere.status_message == "The order is on its way to RunAPI"
    assert "made the picture" in text_of(result)
    assert len(here.paid) == 1


@pytest.mark.parametrize(
    "unknown",
    ["", "order-0123456789abcdef", "order-", "x" * 5000, "order-0123456789abcdef.order-0123456789abcdee", "a\0b"],
)
async def test_an_id_that_nobody_gave_is_unknown(tmp_path: Path, unknown: str) -> None:
    here = slow(tmp_path)
    async with client_in(here) as client:
        answers: list[tuple[int, str]] = []
        for what in ("get", "cancel", "update"):
            with pytest.raises(MCPError) as refusal:
                await tell(client.session, what, unknown)
            answers.append((refusal.value.code, refusal.value.message))

    assert {code for code, _ in answers} == {INVALID_PARAMS}
    assert all("knows no task" in words for _, words in answers)


async def test_orders_that_do_not_belong_together_give_no_more_than_a_call_can_have(tmp_path: Path) -> None:
    here = slow(tmp_path)
    async with client_in(here) as client:
        for number in range(9):
            await client.start("generate", prompt=f"fox {number}")
        ids = [order.id for order in await here.orders()]
        with pytest.raises(MCPError) as refusal:
            await client.get(".".join(ids))

    assert refusal.value.code == INVALID_PARAMS


async def test_a_history_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    here = slow(tmp_path, FOREVER)
    async with client_in(here) as client:
        task = await client.start("generate", **FOX)
    data = here.home / "data"
    data.rename(here.home / "aside")
    data.write_text("in the way")
    async with client_in(here) as client:
        with pytest.raises(MCPError) as refusal:
            await client.get(task)

    assert refusal.value.code == INTERNAL_ERROR
    assert str(data) in refusal.value.message


async def test_what_cannot_be_looked_at_now_can_be_later(tmp_path: Path) -> None:
    """That there is no key today is not what became of the picture."""
    here = slow(tmp_path, FOREVER)
    async with client_in(here) as client:
        task = await client.start("generate", **FOX)
    keyless = slow(tmp_path, environ={"RUNAPI_API_KEY": ""})
    async with client_in(keyless) as client:
        with pytest.raises(MCPError) as refusal:
            await client.get(task)
    finish(here)
    async with client_in(here) as client:
        result = await client.result(task)

    assert "API key" in refusal.value.message
    assert "made the picture" in text_of(result)


# Paid once.


async def test_until_its_result_was_fetched_the_same_call_is_the_same_task(tmp_path: Path) -> None:
    here = slow(tmp_path)
    async with client_in(here) as client:
        task = await client.start("generate", **FOX)
        await anyio.sleep(10)
        found = await client.call("generate", **FOX)
    assert len(here.paid) == 1
    assert isinstance(found, CallToolResult)
    assert "found again" in text_of(found)
    assert task.status == "working"


async def test_once_its_result_was_fetched_the_same_call_is_another_picture(tmp_path: Path) -> None:
    here = slow(tmp_path)
    async with client_in(here) as client:
        task = await client.start("generate", **FOX)
        resumed = await client.start("generate", **FOX)
        await client.result(task)
        other = await client.start("generate", **FOX)

    assert resumed.task_id == task.task_id
    assert other.task_id != task.task_id
    assert len(here.paid) == 2


async def test_a_result_that_nobody_fetched_is_not_delivered(tmp_path: Path) -> None:
    """Also when its call has long ended, and the process with it."""
    here = slow(tmp_path)
    async with client_in(here) as client:
        task = await client.start("generate", **FOX)
        await anyio.sleep(30)
    async with client_in(here) as client:
        found = await client.call("generate", **FOX)

    [order] = await here.orders()
    assert task.task_id == order.id
    assert isinstance(found, CallToolResult)
    assert len(here.paid) == 1


# Cancelling.


async def test_cancelling_ends_the_wait_and_loses_no_picture(tmp_path: Path) -> None:
    here = slow(tmp_path, FOREVER)
    async with client_in(here) as client:
        task = await client.start("generate", **FOX)
        await client.cancel(task)
        cancelled = await client.get(task)
        seen = len(here.looks)
        await anyio.sleep(30)
        looked = len(here.looks) - seen
        finish(here)
        found = await client.call("generate", **FOX)

    assert cancelled.status == "cancelled"
    assert "RunAPI cannot cancel what was ordered" in cancelled.status_message
    assert looked == 0
    assert isinstance(found, CallToolResult)
    assert "found again" in text_of(found)
    assert len(here.paid) == 1


async def test_it_can_be_cancelled_in_another_process(tmp_path: Path) -> None:
    here = slow(tmp_path, FOREVER)
    async with client_in(here) as client:
        task = await client.start("generate", **FOX)
    async with client_in(here) as client:
        await client.cancel(task)
        cancelled = await client.get(task)

    assert cancelled.status == "cancelled"


async def test_what_has_ended_is_not_cancelled(tmp_path: Path) -> None:
    here = slow(tmp_path)
    async with client_in(here) as client:
        task = await client.start("generate", **FOX)
        await anyio.sleep(10)
        await client.cancel(task)
        result = await client.result(task)
        await client.cancel(task)
        again = await client.get(task)

    assert "made the picture" in text_of(result)
    assert again.status == "completed"


async def test_a_call_that_is_cancelled_before_it_has_a_task_is_cancelled(tmp_path: Path) -> None:
    here = slow(tmp_path, FOREVER)
    here.transport = gate = Gate(here.simulator, creates, after=True)
    async with client_in(here) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.session.call_tool, "generate", FOX)
            await gate.holds_one()
            group.cancel_scope.cancel()
        gate.open()
        await anyio.sleep(10)

    assert here.looks == []
    assert len(here.paid) == 1


async def test_answers_to_questions_that_were_not_asked_are_ignored(tmp_path: Path) -> None:
    here = slow(tmp_path)
    async with client_in(here) as client:
        task = await client.start("generate", **FOX)
        await tell(client.session, "update", task.task_id, spend={"action": "accept"})
        result = await client.result(task)

    assert "made the picture" in text_of(result)


# What goes wrong beside it.


async def test_looks_that_fail_end_nothing(tmp_path: Path) -> None:
    here = slow(tmp_path, FOREVER)
    async with client_in(here) as client:
        task = await client.start("generate", **FOX)
    here.simulator.faults.append(Fault(on="look", status=500, times=20))
    async with client_in(here) as client:
        asked = await client.get(task)
        finish(here)
        result = await client.result(task)

    assert asked.status == "working"
    assert "made the picture" in text_of(result)


async def test_a_silent_runapi_keeps_no_client_waiting(tmp_path: Path) -> None:
    here = slow(tmp_path, FOREVER)
    async with client_in(here) as client:
        task = await client.start("generate", **FOX)
    here.transport = Gate(here.simulator, looks, after=False)
    async with client_in(here) as client:
        began = anyio.current_time()
        asked = await client.get(task)
        took = anyio.current_time() - began

    assert asked.status == "working"
    assert took < 4
