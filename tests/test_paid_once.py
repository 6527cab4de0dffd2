from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from mcp_types import CallToolResult

from flux2_mcp.simulator import Fault, Script
from tests.paid_once.accounting import ledger_of, ledger_of_runapi
from tests.paid_once.backdating import time_passes
from tests.transports import Gate, TimesOut, creates, looks
from tests.world import World, text_of, world

FOX = {"prompt": "a fox"}

LOST_ONCE = {
    "no answer": [Fault(on="create", after=True, lose=True)],
    "no answer, never arrived": [Fault(on="create", lose=True)],
    "500 after creation": [Fault(on="create", after=True, status=500)],
    "502 after creation": [Fault(on="create", after=True, status=502)],
    "503 after creation": [Fault(on="create", after=True, status=503)],
    "504 after creation": [Fault(on="create", after=True, status=504)],
    "429 before": [Fault(on="create", status=429)],
    "429 after creation": [Fault(on="create", after=True, status=429)],
    "empty after creation": [Fault(on="create", after=True, body=b"")],
    "cut off after creation": [Fault(on="create", after=True, body='{"id": "9f2c')],
    "a page after creation": [Fault(on="create", after=True, body="<html><title>Welcome</title></html>")],
    "two kinds": [Fault(on="create", after=True, lose=True), Fault(on="create", status=503)],
}
LOST_FOR_GOOD = {
    "never arrived": Fault(on="create", lose=True, times=99),
    "no answer": Fault(on="create", after=True, lose=True, times=99),
    "500": Fault(on="create", after=True, status=500, times=99),
    "502": Fault(on="create", after=True, status=502, times=99),
    "503": Fault(on="create", after=True, status=503, times=99),
    "not JSON": Fault(on="create", after=True, body="created!", times=99),
    "no id": Fault(on="create", after=True, body={"ok": True}, times=99),
    "a page": Fault(on="create", after=True, body="<html><title>Welcome</title></html>", times=99),
}


def small_world(home: Path, *faults: Fault) -> World:
    here = world(home, Script(looks_until_done=2, plain_pictures=True))
    here.simulator.faults.extend(faults)
    return here


def keys_used(here: World) -> set[str]:
    return {seen.headers["idempotency-key"] for seen in here.creates}


@pytest.mark.parametrize("faults", LOST_ONCE.values(), ids=LOST_ONCE)
async def test_an_order_that_stumbles_makes_one_task(tmp_path: Path, faults: Sequence[Fault]) -> None:
    """The same Idempotency-Key goes with every try."""
    here = small_world(tmp_path, *faults)
    async with here.client() as client:
        result = await client.call_tool("generate", FOX)

    assert not result.is_error
    [task] = here.simulator.ledger.tasks()
    assert task.id in text_of(result)
    assert len(here.creates) == len(faults) + 1
    assert len(keys_used(here)) == 1


async def test_an_answer_that_comes_too_late_makes_no_second_task(tmp_path: Path) -> None:
    here = small_world(tmp_path)
    here.transport = TimesOut(here.simulator, creates, times=2)
    async with here.client() as client:
        result = await client.call_tool("generate", FOX)

    [task] = here.simulator.ledger.tasks()
    assert task.id in text_of(result)
    assert len(keys_used(here)) == 1


@pytest.mark.parametrize("fault", LOST_FOR_GOOD.values(), ids=LOST_FOR_GOOD)
async def test_an_order_whose_outcome_is_unknown_is_found_again(tmp_path: Path, fault: Fault) -> None:
    """Whether RunAPI made the task we never heard; the same call, with the same key, pays for one picture."""
    here = small_world(tmp_path, fault)
    async with here.client() as client:
        lost = await client.call_tool("generate", FOX)
        [order] = await here.orders()
        here.simulator.faults.clear()
        found = await client.call_tool("generate", FOX)
        ours = await ledger_of(client)

    assert lost.is_error
    assert "Send the same call again within 15 minutes" in text_of(lost)
    assert f"task_status with task_id='{order.id}'" in text_of(lost)
    assert "Nothing was charged" not in text_of(lost)
    assert not found.is_error
    [task] = here.simulator.ledger.tasks()
    assert task.id in text_of(found)
    assert len(keys_used(here)) == 1
    assert ours == ledger_of_runapi(here.simulator)


async def test_an_unknown_outcome_is_found_after_a_restart(tmp_path: Path) -> None:
    here = small_world(tmp_path, LOST_FOR_GOOD["no answer"])
    async with here.client() as client:
        await client.call_tool("generate", FOX)
    here.simulator.faults.clear()
    async with here.client() as client:
        found = await client.call_tool("generate", FOX)

    [task] = here.simulator.ledger.tasks()
    assert task.id in text_of(found)
    assert len(keys_used(here)) == 1


@pytest.mark.parametrize("answer_was_lost", [True, False], ids=["made", "never heard of"])
async def test_to_look_at_an_order_whose_outcome_is_unknown_orders_nothing(
    tmp_path: Path, *, answer_was_lost: bool
) -> None:
    """task_status is said to be free and read-only, and no limit is asked about it."""
    here = small_world(tmp_path, Fault(on="create", after=answer_was_lost, lose=True, times=99))
    async with here.client() as client:
        await client.call_tool("generate", FOX)
        [order] = await here.orders()
        here.simulator.faults.clear()
        sent, paid = len(here.creates), len(here.paid)
        looked = await client.call_tool("task_status", {"task_id": order.id})
        estimate = await client.call_tool("estimate_cost", {})

    assert looked.is_error
    assert "It is not known whether RunAPI accepted the order" in text_of(looked)
    assert "Send the same call again within 15 minutes" in text_of(looked)
    assert (len(here.creates), len(here.paid)) == (sent, paid)
    assert estimate.structured_content is not None
    assert estimate.structured_content["spent_today_usd"] == 0.05


async def test_an_order_in_doubt_that_no_call_takes_up_any_more_is_looked_for_at_runapi(tmp_path: Path) -> None:
    here = small_world(tmp_path, LOST_FOR_GOOD["no answer"])
    async with here.client() as client:
        await client.call_tool("generate", FOX)
        [order] = await here.orders()
        time_passes(tmp_path, minutes=16)
        looked = await client.call_tool("task_status", {"task_id": order.id})

    assert "would be a new order. Look for it in the account at https://runapi.ai" in text_of(looked)


async def test_an_order_that_stays_unknown_can_be_asked_for_again_and_again(tmp_path: Path) -> None:
    here = small_world(tmp_path, LOST_FOR_GOOD["no answer"])
    async with here.client() as client:
        lost = [await client.call_tool("generate", FOX) for _ in range(3)]
        [order] = await here.orders()

    assert all(f"task_id='{order.id}'" in text_of(each) for each in lost)
    assert len(here.simulator.ledger.tasks()) == 1
    assert len(keys_used(here)) == 1


async def test_an_order_that_was_refused_is_a_new_order_the_next_time(tmp_path: Path) -> None:
    """Nothing was made, so nothing is resumed; the refused key is not used again."""
    here = small_world(tmp_path, Fault(on="create", status=402))
    async with here.client() as client:
        refused = await client.call_tool("generate", FOX)
        made = await client.call_tool("generate", FOX)

    assert refused.is_error
    assert "Nothing was charged" in text_of(refused)
    assert not made.is_error
    assert len(here.simulator.ledger.tasks()) == 1
    assert len(keys_used(here)) == 2


async def test_two_identical_calls_at_once_share_one_task(tmp_path: Path) -> None:
    """A host that asks again while the first call still runs wants the same picture, not a second one."""
    here = small_world(tmp_path)
    gate = here.transport = Gate(here.simulator, looks)
    results: list[CallToolResult] = []
    async with here.client() as client, anyio.create_task_group() as group:

        async def ask() -> None:
            results.append(await client.call_tool("generate", FOX))

        group.start_soon(ask)
        await gate.holds_one()
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        gate.open()

    [task] = here.simulator.ledger.tasks()
    assert [task.id in text_of(result) for result in results] == [True, True]
    assert len(list(here.output.iterdir())) == 1


async def test_two_identical_calls_before_any_answer_share_one_order(tmp_path: Path) -> None:
    here = small_world(tmp_path)
    gate = here.transport = Gate(here.simulator, creates)
    async with here.client() as client, anyio.create_task_group() as group:
        group.start_soon(client.call_tool, "generate", FOX)
        await gate.holds_one()
        group.start_soon(client.call_tool, "generate", FOX)
        await anyio.wait_all_tasks_blocked()
        gate.open()

    assert len(here.simulator.ledger.tasks()) == 1
    assert len(here.creates) == 1


async def test_two_servers_with_one_history_share_one_task(tmp_path: Path) -> None:
    """Two hosts on one machine, or a host that started its server twice."""
    here = small_world(tmp_path)
    gate = here.transport = Gate(here.simulator, looks)
    async with here.client() as one, here.client() as other, anyio.create_task_group() as group:
        group.start_soon(one.call_tool, "generate", FOX)
        await gate.holds_one()
        group.start_soon(other.call_tool, "generate", FOX)
        await anyio.wait_all_tasks_blocked()
        gate.open()

    assert len(here.simulator.ledger.tasks()) == 1


async def test_a_call_that_ran_out_of_time_is_resumed_by_its_words(tmp_path: Path) -> None:
    here = small_world(tmp_path)
    async with here.client() as client:
        await client.call_tool("generate", {**FOX, "wait_seconds": 0})
        result = await client.call_tool("generate", FOX)

    [task] = here.simulator.ledger.tasks()
    assert task.id in text_of(result)
    assert "not ordered anew" in text_of(result)


@pytest.mark.parametrize(
    "spelt_out",
    [{"aspect_ratio": "1:1"}, {"output_resolution": "1k"}, {"prompt": " a fox\n"}, {"count": 1, "model": "flux-2-pro"}],
    ids=str,
)
async def test_what_is_usual_anyway_makes_no_other_call(tmp_path: Path, spelt_out: dict[str, object]) -> None:
    here = small_world(tmp_path)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox", "wait_seconds": 0})
        result = await client.call_tool("generate", {"prompt": "a fox", **spelt_out})

    assert "not ordered anew" in text_of(result)
    assert len(here.simulator.ledger.tasks()) == 1


async def test_words_whose_picture_was_handed_over_mean_a_new_picture(tmp_path: Path) -> None:
    here = small_world(tmp_path)
    async with here.client() as client:
        await client.call_tool("generate", FOX)
        await client.call_tool("generate", FOX)

    assert len(here.simulator.ledger.tasks()) == 2


@pytest.mark.parametrize(
    "other",
    [{"prompt": "a vixen"}, {**FOX, "model": "flux-2-flex"}, {**FOX, "count": 2}, {**FOX, "repeat": True}],
    ids=["prompt", "model", "count", "repeat"],
)
async def test_another_request_is_another_order(tmp_path: Path, other: dict[str, object]) -> None:
    here = small_world(tmp_path)
    async with here.client() as client:
        await client.call_tool("generate", {**FOX, "wait_seconds": 0})
        result = await client.call_tool("generate", other)

    assert not result.is_error
    assert len(here.simulator.ledger.tasks()) == 1 + (2 if "count" in other else 1)
