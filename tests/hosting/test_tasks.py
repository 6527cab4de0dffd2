"""The tasks extension on a server that many use: whose a task is, and which replica answers for it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp import MCPError
from mcp_types import CallToolResult

from flux2_mcp.simulator import Script, Simulator
from tests.hosting.world import ADA, BEN, HostedWorld, Hosts, bearer
from tests.tasks_client import TasksClient, TasksExtension, tell
from tests.world import text_of

FOX = {"prompt": "a fox"}
FOREVER = 10**9
HEADER_MISMATCH, INVALID_PARAMS = -32020, -32602


@asynccontextmanager
async def tasks_client(server: HostedWorld, credential: str) -> AsyncGenerator[TasksClient]:
    async with server.client(credential, extensions=[TasksExtension()]) as client:
        yield TasksClient(client.session)


@pytest.fixture
def slow(hosts: Hosts) -> Hosts:
    """Hosts whose RunAPI takes until it is told to finish."""
    hosts.simulator = Simulator(Script(looks_until_done=FOREVER, plain_pictures=True))
    return hosts


def finish(hosts: Hosts) -> None:
    for task in hosts.simulator.ledger.tasks():
        task.looks = FOREVER


async def test_a_task_is_its_callers_alone(slow: Hosts) -> None:
    """Others learn nothing, not even that there is one."""
    async with slow.server() as server, tasks_client(server, ADA) as ada, tasks_client(server, BEN) as ben:
        task = await ada.start("generate", **FOX, count=2)
        [first, second] = task.task_id.split(".")
        mine = await ben.start("generate", prompt="a hare")
        refusals: list[str] = []
        for id in (task.task_id, first, f"{mine.task_id}.{second}", "order-0123456789abcdef"):
            for what in ("get", "cancel", "update"):
                with pytest.raises(MCPError) as refusal:
                    await tell(ben.session, what, id)
                assert refusal.value.code == INVALID_PARAMS
                refusals.append(refusal.value.message.replace(id, "ID"))
        finish(slow)
        result = await ada.result(task)

    assert len(set(refusals)) == 1
    assert "2 of 2 pictures are made" in text_of(result)


async def test_a_replica_that_never_heard_of_it_answers_for_it(slow: Hosts) -> None:
    async with slow.server() as one, slow.server() as other:
        async with tasks_client(one, ADA) as ada:
            task = await ada.start("generate", **FOX)
        async with tasks_client(other, ADA) as ada:
            elsewhere = await ada.get(task)
            finish(slow)
            result = await ada.result(task)
        async with tasks_client(one, ADA) as ada:
            again = await ada.result(task)
            other_fox = await ada.start("generate", **FOX)

    assert (elsewhere.status, elsewhere.created_at) == ("working", task.created_at)
    assert "made the picture" in text_of(result)
    assert result.content == again.content
    assert other_fox.task_id != task.task_id
    assert len(slow.simulator.ledger.tasks()) == 2


async def test_a_proxy_is_told_which_task_a_request_is_about(slow: Hosts) -> None:
    async with slow.server() as server, tasks_client(server, ADA) as ada:
        task = await ada.start("generate", **FOX)
        body: dict[str, Any] = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tasks/get",
            "params": {
                "taskId": task.task_id,
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
                },
            },
        }
        headers = {**bearer(ADA), "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tasks/get"}
        wrong = await server.post({**headers, "Mcp-Name": "another"}, body)
        missing = await server.post(headers, body)
        right = await server.post({**headers, "Mcp-Name": task.task_id}, body)

    assert [each.status_code for each in (wrong, missing, right)] == [400, 400, 200]
    assert {each.json()["error"]["code"] for each in (wrong, missing)} == {HEADER_MISMATCH}
    assert right.json()["result"]["status"] == "working"


async def test_a_task_counts_among_the_calls_of_its_caller(slow: Hosts) -> None:
    """As long as it is waited for here; a client that leaves does not get round the limit."""
    async with slow.server(FLUX2_MAX_CALLS_PER_CALLER="1") as server, tasks_client(server, ADA) as ada:
        task = await ada.start("generate", **FOX)
        refused = await ada.call("generate", prompt="a hare")
        await ada.cancel(task)
        other = await ada.start("generate", prompt="a hare")
        crowded = await ada.get(await taken_elsewhere(slow))

    assert isinstance(refused, CallToolResult)
    assert "1 calls of yours are in flight" in text_of(refused)
    assert other.status == "working"
    assert "1 calls of yours are in flight" in crowded.status_message
    assert crowded.status == "working"


async def taken_elsewhere(hosts: Hosts) -> str:
    """A task that another replica has handed out."""
    async with hosts.server() as replica, tasks_client(replica, ADA) as ada:
        return (await ada.start("generate", prompt="an owl")).task_id
