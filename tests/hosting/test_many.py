"""Many calls at once, replicas, and the end of a server."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx
import httpx2
import pytest
from mcp.client import Client
from mcp.client.context import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, ElicitRequestParams, ElicitResult

from flux2_mcp.simulator import Script, Simulator
from tests.hosting.world import ADA, BEN, HEADERS, LIST_TOOLS, Hosts, bearer
from tests.processes import AT_ONCE, MODULE, ended, environment, served, started
from tests.test_http import address_in
from tests.world import APPS, NO_CERTIFICATES, text_of


async def test_a_caller_has_only_so_many_calls_and_the_others_go_on(hosts_of_era: Hosts) -> None:
    hosts_of_era.simulator = Simulator(Script(looks_until_done=10**9, plain_pictures=True))
    of_hers = of_his = of_all = CallToolResult(content=[])
    async with (
        hosts_of_era.server(FLUX2_MAX_CALLS_PER_CALLER="2", FLUX2_MAX_CALLS="3") as server,
        anyio.create_task_group() as group,
    ):
        for prompt in ("a fox", "a hare"):
            group.start_soon(lambda prompt=prompt: server.call(ADA, "generate", prompt=prompt, wait_seconds=60))
        while len(server.here.paid) < 2:  # noqa: ASYNC110 the simulator has no event for it
            await anyio.sleep(0.01)
        of_hers = await server.call(ADA, "generate", prompt="an owl")
        of_his = await server.call(BEN, "recent_tasks")
        group.start_soon(lambda: server.call(BEN, "generate", prompt="a wren", wait_seconds=60))
        while len(server.here.paid) < 3:  # noqa: ASYNC110 the same
            await anyio.sleep(0.01)
        of_all = await server.call(BEN, "recent_tasks")
        group.cancel_scope.cancel()

    assert "2 calls of yours are in flight" in text_of(of_hers)
    assert "Nothing was sent or charged." in text_of(of_hers)
    assert not of_his.is_error
    assert "This server carries out 3 calls at once" in text_of(of_all)
    assert len(server.here.paid) == 3


async def test_the_answer_to_a_question_may_reach_another_replica(hosts: Hosts) -> None:
    """In the modern era a host sends the call again with the answer, and a load balancer sends it anywhere."""
    asked: list[str] = []

    async def agree(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"spend": True})

    asks = "0.01"
    async with hosts.server(FLUX2_CONFIRM_OVER=asks) as one, hosts.server(FLUX2_CONFIRM_OVER=asks) as other:
        turns = iter([one.url, other.url] * 20)
        async with (
            httpx2.AsyncClient(headers=bearer(ADA), timeout=30, transport=_Balanced(turns)) as http,
            Client(streamable_http_client(one.url, http_client=http), elicitation_callback=agree) as client,
        ):
            result = await client.call_tool("generate", {"prompt": "a fox"})

    assert not result.is_error, text_of(result)
    assert len(asked) == 1
    assert len(one.here.paid) == 1


async def test_a_question_is_not_answered_by_somebody_else(hosts: Hosts) -> None:
    first: list[bytes] = []

    async def agree(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="decline")

    async with hosts.server(FLUX2_CONFIRM_OVER="0.01") as server:
        async with (
            httpx2.AsyncClient(headers=bearer(ADA), timeout=30, transport=_Noting(first)) as http,
            Client(streamable_http_client(server.url, http_client=http), elicitation_callback=agree) as client,
        ):
            await client.call_tool("generate", {"prompt": "a fox"})
        second = json.loads(next(body for body in reversed(first) if b"requestState" in body))
        second["params"]["inputResponses"] = {
            name: {"action": "accept", "content": {"spend": True}} for name in second["params"]["inputResponses"]
        }
        headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "generate"}
        answer = await server.post({**headers, **bearer(BEN)}, second)

    assert "invalid_request_state" in answer.text
    assert server.here.paid == []


async def test_a_server_that_ends_refuses_what_comes_and_hands_out_ids(tmp_path: Path) -> None:
    runapi = Simulator(Script(looks_until_done=10**9, plain_pictures=True))
    errors = tmp_path / "stderr.txt"
    late = httpx.Response(0)
    async with served(runapi) as (base_url, _):
        environ = {
            **environment(tmp_path, base_url),
            "RUNAPI_API_KEY": "",
            "FLUX2_OUTPUT_DIR": "",
            "FLUX2_HTTP_AUTH": "runapi-key",
        }
        command = (*MODULE, "serve", "--http", "--port", "0")
        with errors.open("wb") as stderr:
            async with started(*command, environ=environ, stderr=stderr) as process:
                url = await address_in(errors)
                texts: list[str] = []

                async def call() -> None:
                    async with (
                        httpx2.AsyncClient(verify=NO_CERTIFICATES, headers=bearer(ADA), timeout=30) as http,
                        Client(streamable_http_client(url, http_client=http), mode="legacy") as client,
                    ):
                        await client.list_tools()
                        texts.append(text_of(await client.call_tool("generate", {"prompt": "a fox"})))

                async with httpx.AsyncClient(
                    verify=NO_CERTIFICATES, headers={**HEADERS, **bearer(BEN)}, timeout=30
                ) as open_connection:
                    await open_connection.post(url, json=LIST_TOOLS)
                    async with anyio.create_task_group() as group:
                        group.start_soon(call)
                        while not runapi.ledger.tasks():  # noqa: ASYNC110 the simulator has no event for it
                            await anyio.sleep(0.01)
                        process.send_signal(signal.SIGTERM)
                        await _no_longer_listens(url)
                        late = await open_connection.post(url, json=LIST_TOOLS)
                    with anyio.fail_after(AT_ONCE):
                        await process.wait()

    [task] = runapi.ledger.tasks()
    assert late.status_code == 503
    assert int(late.headers["Retry-After"]) > 0
    assert f"task_id='{task.id}'" in texts[0]
    assert process.returncode == 143
    assert "Traceback" not in errors.read_text()


@pytest.mark.parametrize(
    ("environ", "arguments", "words"),
    [
        ({}, ["--host", "0.0.0.0"], "FLUX2_HTTP_AUTH"),  # noqa: S104 what is refused
        ({"FLUX2_HTTP_AUTH": "runapi-key"}, ["--host", "0.0.0.0"], "FLUX2_ALLOWED_HOSTS"),  # noqa: S104 the same
        ({"FLUX2_HTTP_AUTH": "runapi-key", "FLUX2_ALLOWED_HOSTS": "https://a.example"}, [], "'https://a.example'"),
        ({"FLUX2_HTTP_AUTH": "runapi-key", "RUNAPI_API_KEY": ADA}, [], "FLUX2_HTTP_AUTH=tokens"),
        ({"FLUX2_HTTP_AUTH": "tokens", "RUNAPI_API_KEY": ""}, [], "Set RUNAPI_API_KEY"),
        ({"FLUX2_HTTP_AUTH": "oauth", "RUNAPI_API_KEY": ADA}, [], "needs FLUX2_OAUTH_ISSUER"),
        ({"FLUX2_HTTP_AUTH": "runapi-key", "FLUX2_SECRET": "short"}, [], "32 characters"),
    ],
)
async def test_a_server_that_would_be_open_to_anybody_does_not_start(
    tmp_path: Path, environ: dict[str, str], arguments: list[str], words: str
) -> None:
    everything = {**environment(tmp_path, ""), "RUNAPI_API_KEY": "", **environ}
    result = await ended(*MODULE, "serve", "--http", "--port", "0", *arguments, environ=everything)

    assert result.returncode == 2
    assert words in result.stderr.decode()
    assert b"Traceback" not in result.stderr


class _Balanced(httpx2.AsyncHTTPTransport):
    """Sends each request to the next of these addresses."""

    def __init__(self, urls: Iterator[str]) -> None:
        super().__init__(verify=NO_CERTIFICATES)
        self._urls = urls

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.url = httpx2.URL(next(self._urls))
        return await super().handle_async_request(request)


class _Noting(httpx2.AsyncHTTPTransport):
    """Notes what is sent."""

    def __init__(self, bodies: list[bytes]) -> None:
        super().__init__(verify=NO_CERTIFICATES)
        self._bodies = bodies

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self._bodies.append(request.content)
        return await super().handle_async_request(request)


async def _no_longer_listens(url: str) -> None:
    port = httpx.URL(url).port or 0
    while True:
        try:
            async with await anyio.connect_tcp("127.0.0.1", port):
                await anyio.sleep(0.02)
        except OSError:
            return


async def test_who_has_apps_is_known_to_every_replica(hosts_of_era: Hosts) -> None:
    """A legacy client says so only when it connects, and no server keeps a session."""
    async with hosts_of_era.server() as server:
        async with server.client(ADA, extensions=[APPS]) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            made = await client.call_tool("generate", {"prompt": "a fox", "wait_seconds": 20})
        async with server.client(ADA) as client:
            without = {tool.name for tool in (await client.list_tools()).tools}

    assert tools - without == {"gallery_search", "gallery_task", "gallery_account"}
    assert (made.meta or {})["flux2-mcp/task_ids"] == [task.id for task in server.here.paid]
