"""A task of the tasks extension outlives the server that handed it out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from flux2_mcp.server.tasks_extension import IDENTIFIER
from flux2_mcp.simulator import Script, Simulator
from tests.paid_once.accounting import ledger_of_runapi, ledger_of_server
from tests.platforms import not_on
from tests.processes import Host, hosted, served

pytestmark = not_on("Windows", "it has no fork")

Json = dict[str, Any]
DECLARED: Json = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {IDENTIFIER: {}}}}
FOREVER = 10**9


async def asked(host: Host, method: str, **params: object) -> Json:
    """The result of a request of a client that declares the extension."""
    return (await host.answer(await host.request(method, {**params, "_meta": DECLARED})))["result"]


async def called(host: Host, tool: str, **arguments: object) -> Json:
    return await asked(host, "tools/call", name=tool, arguments=arguments)


@pytest.mark.parametrize("count", [1, 3])
async def test_after_a_kill_the_next_server_answers_for_the_task(tmp_path: Path, count: int) -> None:
    runapi = Simulator(Script(looks_until_done=FOREVER, plain_pictures=True))
    async with served(runapi) as (base_url, _):
        async with hosted(tmp_path, base_url, era="modern", often=True) as host:
            handed_out = await called(host, "generate", prompt="a fox", count=count)
            host.process.kill()
            await host.process.wait()
        async with hosted(tmp_path, base_url, era="modern", often=True) as host:
            taken_up = await asked(host, "tasks/get", taskId=handed_out["taskId"])
            again = await called(host, "generate", prompt="a fox", count=count)
            for task in runapi.ledger.tasks():
                task.looks = FOREVER
            with anyio.fail_after(30):
                while (task := await asked(host, "tasks/get", taskId=handed_out["taskId"]))["status"] == "working":  # noqa: ASYNC110 that is how it is waited for
                    await anyio.sleep(0.05)
            estimate = await called(host, "estimate_cost")
            listed = await called(host, "recent_tasks", limit=50)

    assert (handed_out["resultType"], taken_up["status"]) == ("task", "working")
    assert again["taskId"] == handed_out["taskId"]
    assert task["status"] == "completed"
    assert len([block for block in task["result"]["content"] if block["type"] == "image"]) == count
    assert len(runapi.ledger.tasks()) == count
    assert ledger_of_server(estimate["structuredContent"], listed["structuredContent"]) == ledger_of_runapi(runapi)
