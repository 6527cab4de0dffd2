"""Two servers on one PostgreSQL: a caller may reach either, at any time."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL

import anyio
import httpx
import psycopg
import pytest
from anyio.abc import Process
from mcp.client import Client
from mcp_types import CallToolResult

from flux2_mcp.history import History
from flux2_mcp.history.broadcast import CHANNEL
from flux2_mcp.simulator import Script, Simulator
from tests.hosting.test_webhooks import PUBLIC, ToServer
from tests.hosting.world import ADA, HEADERS, SECRET, HostedWorld, Hosts, bearer, client_of
from tests.platforms import only_on
from tests.postgresql import Cluster
from tests.processes import MODULE, environment, served, started
from tests.world import NO_CERTIFICATES, text_of

pytestmark = only_on("Linux", "Debian's PostgreSQL is easily had")

FOX = {"prompt": "a fox"}


@pytest.fixture
def url(cluster: Cluster, tmp_path: Path) -> str:
    return cluster.url_for(tmp_path)


async def until_all_hear(cluster: Cluster, how_many: int) -> None:
    """Until so many servers listen to each other."""
    listening = "SELECT count(*) FROM pg_stat_activity WHERE query = %s"
    async with await psycopg.AsyncConnection.connect(cluster.url, autocommit=True) as connection:
        while await (await connection.execute(listening, [f"LISTEN {CHANNEL}"])).fetchone() != (how_many,):  # noqa: ASYNC110 nobody says when
            await anyio.sleep(0.01)


async def test_a_webhook_that_reaches_one_ends_the_wait_at_the_other(hosts: Hosts, cluster: Cluster, url: str) -> None:
    way = ToServer()
    runapi = hosts.simulator = Simulator(Script(looks_until_done=1, plain_pictures=True), webhook_transport=way)
    settings = {"FLUX2_PUBLIC_URL": PUBLIC, "FLUX2_DATABASE_URL": url}
    results: list[CallToolResult] = []

    async def call(server: HostedWorld) -> None:
        results.append(await server.call(ADA, "generate", **FOX, wait_seconds=60))

    with anyio.fail_after(20):
        async with hosts.server(**settings) as one, hosts.server(**settings) as other:
            await until_all_hear(cluster, 2)
            way.url = other.url.removesuffix("/mcp")
            async with anyio.create_task_group() as group:
                group.start_soon(call, one)
                while not runapi.ledger.tasks():  # noqa: ASYNC110 the simulator has no event for it
                    await anyio.sleep(0.01)
                runapi.ledger.tasks()[0].looks = 10**9
                await runapi.deliver_webhooks()

    assert "made the picture" in text_of(results[0])


async def test_budgets_hold_for_all_replicas_together(hosts: Hosts, url: str) -> None:
    """Each picture costs 5 cents."""
    settings = {"FLUX2_DATABASE_URL": url, "FLUX2_DAILY_BUDGET": "0.20"}
    results: list[CallToolResult] = []

    async def call(client: Client, number: int) -> None:
        results.append(await client.call_tool("generate", {"prompt": f"fox {number}", "wait_seconds": 0}))

    async with (
        hosts.server(**settings) as one,
        hosts.server(**settings) as other,
        one.client(ADA) as first,
        other.client(ADA) as second,
        anyio.create_task_group() as group,
    ):
        for number in range(10):
            group.start_soon(call, first, number)
            group.start_soon(call, second, 100 + number)

    assert len(hosts.simulator.ledger.paid_tasks()) == 4
    assert sorted(result.is_error or False for result in results) == [False] * 4 + [True] * 16


async def test_the_same_call_at_both_is_one_order(hosts: Hosts, url: str) -> None:
    results: list[CallToolResult] = []

    async def call(client: Client) -> None:
        results.append(await client.call_tool("generate", FOX))

    async with (
        hosts.server(FLUX2_DATABASE_URL=url) as one,
        hosts.server(FLUX2_DATABASE_URL=url) as other,
        one.client(ADA) as first,
        other.client(ADA) as second,
        anyio.create_task_group() as group,
    ):
        for client in (first, second) * 5:
            group.start_soon(call, client)

    assert len(hosts.simulator.ledger.paid_tasks()) == 1
    assert not any(result.is_error for result in results)


async def test_a_database_that_restarts_under_load_loses_nothing(hosts: Hosts, cluster: Cluster, url: str) -> None:
    """A call that could not be noted was not sent; sent again, it costs what it would have cost."""
    prompts = [f"fox {number}" for number in range(40)]
    unanswered: list[str] = []

    async def call(client: Client, prompt: str) -> None:
        result = await client.call_tool("generate", {"prompt": prompt})
        if result.is_error:
            unanswered.append(prompt)

    async def all_of(clients: Sequence[Client], wanted: Sequence[str]) -> None:
        async with anyio.create_task_group() as group:
            for number, prompt in enumerate(wanted):
                group.start_soon(call, clients[number % 2], prompt)
                await anyio.sleep(0.01)

    async with (
        hosts.server(FLUX2_DATABASE_URL=url) as one,
        hosts.server(FLUX2_DATABASE_URL=url) as other,
        one.client(ADA) as first,
        other.client(ADA) as second,
    ):
        async with anyio.create_task_group() as group:
            group.start_soon(all_of, (first, second), prompts)
            while not hosts.simulator.ledger.tasks():  # noqa: ASYNC110 as above
                await anyio.sleep(0.01)
            await anyio.to_thread.run_sync(cluster.stop)
            await anyio.to_thread.run_sync(cluster.start)
        with anyio.fail_after(30):
            while again := unanswered.copy():
                unanswered.clear()
                # At the other one.
                await all_of((second, first), again)
        listed = await first.call_tool("recent_tasks", {"limit": 50})

    paid = hosts.simulator.ledger.paid_tasks()
    assert sorted(task.prompt for task in paid) == sorted(prompts)
    assert listed.structured_content is not None
    assert {entry["task_id"] for entry in listed.structured_content["tasks"]} == {task.id for task in paid}


async def test_a_lost_database_is_said_where_it_is_asked_for_and_heals(
    hosts: Hosts, cluster: Cluster, url: str
) -> None:
    async with (
        hosts.server(FLUX2_DATABASE_URL=url) as server,
        httpx.AsyncClient(verify=NO_CERTIFICATES, base_url=server.url.removesuffix("/mcp"), timeout=30) as http,
    ):
        before = await http.get("/readyz")
        await anyio.to_thread.run_sync(cluster.stop)
        without = await http.get("/readyz")
        alive = await http.get("/healthz")
        refused = await server.call(ADA, "generate", **FOX)
        ordered = list(hosts.simulator.ledger.tasks())
        await anyio.to_thread.run_sync(cluster.start)
        with anyio.fail_after(20):
            while (await http.get("/readyz")).status_code != 200:  # noqa: ASYNC110 another process has no event for it
                await anyio.sleep(0.05)
        made = await server.call(ADA, "generate", **FOX)

    assert [each.status_code for each in (before, without, alive)] == [200, 503, 200]
    assert without.json()["history"] != "ok"
    assert "its database cannot be reached. Nothing was ordered." in text_of(refused)
    assert "FLUX2_HISTORY" not in text_of(refused)
    assert ordered == []
    assert not made.is_error


@dataclass
class Replica:
    """A server as a process."""

    process: Process
    url: str


@asynccontextmanager
async def replica(home: Path, base_url: str, database: str) -> AsyncGenerator[Replica]:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    environ = {
        **environment(home, base_url),
        "RUNAPI_API_KEY": "",
        "FLUX2_HTTP_AUTH": "runapi-key",
        "FLUX2_OUTPUT_DIR": "",
        "FLUX2_SECRET": SECRET,
        "FLUX2_DATABASE_URL": database,
    }
    with anyio.fail_after(60):
        async with started(*MODULE, "serve", "--http", "--port", str(port), environ=environ, often=True) as process:
            async with httpx.AsyncClient() as http:
                while True:
                    try:
                        await http.get(f"http://127.0.0.1:{port}/healthz")
                        break
                    except httpx.ConnectError:
                        await anyio.sleep(0.02)
            yield Replica(process, f"http://127.0.0.1:{port}/mcp")


async def test_what_waits_at_one_that_is_killed_goes_on_at_the_other(tmp_path: Path, url: str) -> None:
    script = Script(looks_until_done=10**9, plain_pictures=True)
    async with (
        served(Simulator(script)) as (base_url, runapi),
        replica(tmp_path, base_url, url) as one,
        replica(tmp_path, base_url, url) as other,
    ):

        async def call() -> None:
            params = {"name": "generate", "arguments": {**FOX, "wait_seconds": 60}}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            async with httpx.AsyncClient(timeout=60) as http:
                with pytest.raises(httpx.RemoteProtocolError):
                    await http.post(one.url, json=body, headers=HEADERS | bearer(ADA))

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            while not await _accepted(url, runapi):  # noqa: ASYNC110 nobody says when
                await anyio.sleep(0.02)
            one.process.send_signal(SIGKILL)
        for task in runapi.ledger.tasks():
            task.looks = 10**9
        async with client_of(other.url, ADA) as client:
            result = await client.call_tool("generate", FOX)

    [task] = runapi.ledger.paid_tasks()
    assert "made the picture" in text_of(result)
    assert task.id in text_of(result)


async def _accepted(url: str, runapi: Simulator) -> bool:
    """Whether the task is noted."""
    if not runapi.ledger.tasks():
        return False
    history = History(None, url=url)
    try:
        [owner] = await history.owners() or [""]
        return await history.find(owner, runapi.ledger.tasks()[0].id) is not None
    finally:
        await history.aclose()
