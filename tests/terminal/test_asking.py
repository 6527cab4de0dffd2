"""What costs nothing: status, estimate and account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flux2_mcp.simulator import Fault, Script, Simulator
from tests.processes import served
from tests.terminal.conftest import Command


async def test_status_looks_once_and_fetches_what_is_there(command: Command, tmp_path: Path) -> None:
    runapi = Simulator(Script(looks_until_done=3, plain_pictures=True))
    async with served(runapi) as (base_url, _):
        await command("generate", "a fox", "--wait", "0", base_url=base_url)
        [task] = runapi.books.paid_tasks()
        early = await command("status", task.id, base_url=base_url)
        task.looks = 3
        late = await command("status", task.id, base_url=base_url)

    assert early.code == 5
    assert early.out == ""
    assert late.code == 0, late.err
    [picture] = (tmp_path / "pictures").iterdir()
    assert late.out.splitlines()[0] == str(picture)
    assert len(runapi.books.tasks()) == 1


async def test_status_waits_when_it_is_told_to(command: Command) -> None:
    runapi = Simulator(Script(looks_until_done=2, plain_pictures=True))
    async with served(runapi) as (base_url, _):
        await command("generate", "a fox", "--wait", "0", base_url=base_url)
        [task] = runapi.books.paid_tasks()
        ended = await command("status", task.id, "--wait", "--json", base_url=base_url)

    document: dict[str, Any] = json.loads(ended.out)
    assert ended.code == 0, ended.err
    assert document["outcome"] == "done"
    assert document["pictures"][0]["task_id"] == task.id


async def test_status_of_what_nobody_knows_ends_with_2(command: Command) -> None:
    async with served() as (base_url, _):
        ended = await command("status", "tsk_0000", base_url=base_url)

    assert ended.code == 2
    assert "knows a task 'tsk_0000'" in ended.err


async def test_a_task_without_an_image_is_looked_at_again_with_a_command(command: Command) -> None:
    """In a terminal there is no tool to call."""
    async with served() as (base_url, runapi):
        ended = await command("generate", "a fox [simulate: empty]", base_url=base_url)
        [task] = runapi.books.tasks()

    assert ended.code == 1
    assert f"`flux2-mcp status {task.id}`" in ended.err
    assert "task_status" not in ended.err


async def test_an_estimate_orders_nothing(command: Command) -> None:
    async with served() as (base_url, runapi):
        ended = await command("estimate", "a fox", "--resolution", "2k", "--count", "4", base_url=base_url)
        remix = await command("estimate", "as a woodcut", "--source", "fox.png", "--json", base_url=base_url)

    document: dict[str, Any] = json.loads(remix.out)
    assert ended.code == 0, ended.err
    assert ended.out.startswith("cost: $0.28 (4 × $0.07), for flux-2-pro-text-to-image\n")
    assert "balance: $10.00" in ended.out
    assert document["model"] == "flux-2-pro-remix-image"
    assert document["allowed"] is True
    assert not runapi.books.tasks()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a fox", "--max-cost", "0.01"], "not allowed: "),
        (["a fox", "--aspect-ratio", "21:9"], "cannot make '21:9'"),
        (["a fox", "--count", "9"], "--count is 1 to 8"),
    ],
    ids=["limit", "ratio", "count"],
)
async def test_an_estimate_of_what_would_be_refused_ends_with_2(
    command: Command, arguments: list[str], words: str
) -> None:
    async with served() as (base_url, _):
        ended = await command("estimate", *arguments, base_url=base_url)

    assert ended.code == 2
    assert words in ended.out + ended.err
    assert "max_cost_usd" not in ended.out


async def test_the_account_says_what_is_there_and_what_the_limits_leave(command: Command) -> None:
    async with served() as (base_url, _):
        await command("generate", "a fox", base_url=base_url)
        ended = await command("account", base_url=base_url, FLUX2_DAILY_BUDGET="0.50")
        document: dict[str, Any] = json.loads((await command("account", "--json", base_url=base_url)).out)

    assert ended.code == 0, ended.err
    assert ended.out.splitlines() == [
        "balance: $9.95",
        "spent today: $0.05, at this address, from midnight UTC",
        "left today: $0.45",
        "at most per call: $1.00",
    ]
    assert document["balance_usd"] == 9.95


async def test_an_account_whose_key_is_refused_says_so(command: Command) -> None:
    runapi = Simulator()
    runapi.faults.append(Fault(on="balance", status=401, body={"error": "Key revoked"}, times=99))
    async with served(runapi) as (base_url, _):
        account = await command("account", base_url=base_url)
        document = await command("account", "--json", base_url=base_url)
        estimate = await command("estimate", "a fox", base_url=base_url)

    assert [account.code, document.code, estimate.code] == [2, 2, 2]
    assert "RunAPI said: Key revoked" in account.err
    assert "`flux2-mcp login` for a new key" in account.err
    assert "RunAPI said: Key revoked" in document.err
    assert "not allowed: RunAPI said: Key revoked" in estimate.out


async def test_an_account_without_a_balance_says_why(command: Command) -> None:
    runapi = Simulator()
    runapi.faults.append(Fault(on="balance", status=503, times=99))
    async with served(runapi) as (base_url, _):
        no_answer = await command("account", base_url=base_url)
        no_key = await command("account", base_url=base_url, RUNAPI_API_KEY="")

    assert "balance: RunAPI does not tell; `flux2-mcp doctor` says why" in no_answer.out
    assert "balance: no key: `flux2-mcp login`" in no_key.out
