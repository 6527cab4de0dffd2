from __future__ import annotations

import re
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.abc import Process
from mcp.client import Client
from mcp.client.client import ConnectMode
from mcp_types import CallToolResult

from flux2_mcp.simulator import Fault, Script, Simulator
from flux2_mcp.simulator.tasks import Task
from tests.platforms import not_on
from tests.processes import AT_ONCE, MODULE, environment, finished, served, started
from tests.world import text_of

HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


@asynccontextmanager
async def http_server(
    home: Path, base_url: str = "", *, often: bool = False
) -> AsyncGenerator[tuple[str, Process], None]:
    """`flux2-mcp serve --http` on a free port: its address, and the process; it writes to home/stderr.txt."""
    errors = home / "stderr.txt"
    with anyio.fail_after(60), errors.open("wb") as stderr:
        command, environ = (*MODULE, "serve", "--http", "--port", "0"), environment(home, base_url)
        async with started(*command, environ=environ, stderr=stderr, often=often) as process:
            yield await address_in(errors), process


async def address_in(errors: Path) -> str:
    """Where the server says that it serves, once it answers there; another process has no event to wait for."""
    address = re.compile(r"serving MCP at (http://127\.0\.0\.1:(\d+)/mcp)")
    while not (said := address.search(await anyio.Path(errors).read_text(encoding="utf-8"))):  # noqa: ASYNC110
        await anyio.sleep(0.05)
    while not await answers(int(said[2])):  # noqa: ASYNC110
        await anyio.sleep(0.05)
    return said[1]


async def answers(port: int) -> bool:
    try:
        async with await anyio.connect_tcp("127.0.0.1", port):
            return True
    except OSError:
        return False


async def is_ending(url: str) -> None:
    """Once it is, nobody listens there; another process has no event to wait for."""
    while await answers(httpx.URL(url).port or 0):  # noqa: ASYNC110
        await anyio.sleep(0.01)


async def test_http_serves_the_same_in_both_eras_and_to_this_machine_only(tmp_path: Path) -> None:
    """A web page that a person has open must not spend their money: DNS rebinding, foreign origins."""
    runapi = Simulator(Script(looks_until_done=1, plain_pictures=True))
    modes: list[ConnectMode] = ["legacy", "auto"]
    async with served(runapi) as (base_url, _), http_server(tmp_path, base_url) as (url, process):
        spoken: list[str] = []
        for mode in modes:
            async with Client(url, mode=mode) as client:
                spoken.append(client.protocol_version)
                result = await client.call_tool("generate", {"prompt": f"a {mode} fox"})
                assert "made the picture" in text_of(result)
        refused = [
            await status_of(url, {"Host": "evil.example"}),
            await status_of(url, {"Host": "evil.example:80"}),
            await status_of(url, {"Origin": "https://evil.example"}),
            await status_of(url, {"Origin": "null"}),
        ]
        welcome = await status_of(url, {})
        process.send_signal(signal.SIGTERM)
        with anyio.fail_after(AT_ONCE):
            await process.wait()

    assert spoken == ["2025-11-25", "2026-07-28"]
    assert welcome == 200
    assert all(400 <= status < 500 for status in refused)
    assert len(runapi.ledger.tasks()) == 2


@asynccontextmanager
async def a_call_in_flight(
    home: Path, era: ConnectMode, *, often: bool = False
) -> AsyncGenerator[tuple[Simulator, str, Process, list[CallToolResult]]]:
    """A generate that RunAPI has accepted and never finishes; its result comes into the list."""
    runapi = Simulator(Script(looks_until_done=10**9, plain_pictures=True))
    results: list[CallToolResult] = []

    async def call(client: Client) -> None:
        results.append(await client.call_tool("generate", {"prompt": "a fox"}))

    async with (
        served(runapi) as (base_url, _),
        http_server(home, base_url, often=often) as (url, process),
        Client(url, mode=era) as client,
        anyio.create_task_group() as group,
    ):
        # Otherwise this client would list them when it has the answer, to compare it with its schema.
        await client.list_tools()
        group.start_soon(call, client)
        while not runapi.ledger.tasks():  # noqa: ASYNC110 the simulator has no event for it
            await anyio.sleep(0.01)
        yield runapi, url, process, results


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129)])
async def test_a_signal_answers_the_call_in_flight_and_ends_the_server_without_a_complaint(
    tmp_path: Path, era: ConnectMode, name: str, code: int
) -> None:
    """Also while the client keeps a stream open for what the server may have to say."""
    async with a_call_in_flight(tmp_path, era) as (runapi, _, process, results):
        process.send_signal(getattr(signal, name))
        with anyio.fail_after(AT_ONCE):
            await process.wait()

    assert process.returncode == code
    [result] = results
    [task] = runapi.ledger.tasks()
    assert not result.is_error
    assert "not ready yet" in text_of(result)
    assert f"Call task_status with task_id='{task.id}'" in text_of(result)
    assert complaints(tmp_path) == []


async def test_a_call_that_is_nearly_done_when_a_signal_comes_is_finished(tmp_path: Path, era: ConnectMode) -> None:
    async with a_call_in_flight(tmp_path, era, often=True) as (runapi, url, process, results):
        process.send_signal(signal.SIGTERM)
        await is_ending(url)
        runapi.ledger.tasks()[0].looks = 10**9
        with anyio.fail_after(AT_ONCE):
            await process.wait()

    [result] = results
    assert "made the picture" in text_of(result)
    assert not result.is_error
    assert process.returncode == 143


@not_on("Windows", "it has no SIGHUP")
async def test_a_terminal_that_closes_ends_no_call_in_flight(tmp_path: Path, era: ConnectMode) -> None:
    """The server gets SIGHUP from the shell, which passes its own on, and from the system."""
    async with a_call_in_flight(tmp_path, era) as (_, url, process, results):
        process.send_signal(signal.SIGHUP)
        await is_ending(url)
        process.send_signal(signal.SIGHUP)
        with anyio.fail_after(AT_ONCE):
            await process.wait()

    assert process.returncode == 129
    [result] = results
    assert "not ready yet" in text_of(result)
    assert complaints(tmp_path) == []


async def test_a_request_that_is_still_arriving_when_a_signal_comes_is_answered(tmp_path: Path) -> None:
    """Nothing was sent to its client yet; without an answer it would not know whether to try again."""
    async with http_server(tmp_path) as (url, process):
        async with await anyio.connect_tcp("127.0.0.1", httpx.URL(url).port or 0) as client:
            lines = ("POST /mcp HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in HEADERS.items()))
            await client.send("\r\n".join((*lines, "Content-Length: 1000", "", "{")).encode())
            assert await status_of(url, {}) == 200  # by now the server has heard of the other one too
            process.send_signal(signal.SIGTERM)
            answer = b""
            with anyio.fail_after(AT_ONCE), suppress(anyio.EndOfStream):
                while True:
                    answer += await client.receive()
        with anyio.fail_after(AT_ONCE):
            await process.wait()

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"This server is shutting down." in answer
    assert process.returncode == 143


async def test_a_second_signal_ends_the_server_at_once(tmp_path: Path) -> None:
    """The first one gives the call in flight its seconds; who presses Ctrl-C again does not want to wait."""
    runapi = Simulator(Script(looks_until_done=10**9, plain_pictures=True))
    async with (
        served(runapi) as (base_url, _),
        http_server(tmp_path, base_url) as (url, process),
        httpx.AsyncClient(headers=HEADERS, timeout=60) as http,
        anyio.create_task_group() as group,
    ):
        runapi.faults.append(Fault(on="create", hang=60))
        group.start_soon(generated, http, url)
        while not any(seen.method == "POST" for seen in runapi.requests):  # noqa: ASYNC110 there is no event for it
            await anyio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        await anyio.sleep(0.3)  # two signals at one moment would be one
        assert process.returncode is None
        process.send_signal(signal.SIGINT)
        with anyio.fail_after(1.5):
            await process.wait()

    assert process.returncode == 130
    assert complaints(tmp_path) == []


async def generated(http: httpx.AsyncClient, url: str) -> None:
    """A call whose server ends meanwhile."""
    session = (await http.post(url, json=HELLO)).headers["mcp-session-id"]
    call = {"name": "generate", "arguments": {"prompt": "a fox"}}
    with suppress(httpx.HTTPError):
        await http.post(
            url,
            json={"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call},
            headers={"mcp-session-id": session},
        )


async def test_a_signal_ends_the_server_at_once_when_nothing_is_asked(tmp_path: Path, era: ConnectMode) -> None:
    async with http_server(tmp_path) as (url, process), Client(url, mode=era) as client:
        await client.list_tools()
        process.send_signal(signal.SIGTERM)
        with anyio.fail_after(AT_ONCE):
            await process.wait()

    assert process.returncode == 143
    assert complaints(tmp_path) == []


def complaints(home: Path) -> list[str]:
    """What the server wrote besides its address."""
    return (home / "stderr.txt").read_text(encoding="utf-8").splitlines()[1:]


async def status_of(url: str, headers: dict[str, str]) -> int:
    async with httpx.AsyncClient() as http:
        return (await http.post(url, json=HELLO, headers={**HEADERS, **headers})).status_code


async def test_a_client_that_hangs_up_stops_the_looking_in_the_modern_era(tmp_path: Path) -> None:
    runapi = Simulator(Script(looks_until_done=10**9, plain_pictures=True))
    async with served(runapi) as (base_url, _), http_server(tmp_path, base_url, often=True) as (url, _):
        async with Client(url) as client, anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "generate", {"prompt": "a fox"})
            while not runapi.ledger.tasks():  # noqa: ASYNC110 the simulator has no event for it
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()
        [fox] = runapi.ledger.tasks()
        seen = -1
        # The server looks at another task meanwhile, as often as it would look at this one.
        async with Client(url) as client, anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "generate", {"prompt": "a hare"})
            hare = await another(runapi, fox)
            await looked_at(hare, times=1)
            seen = fox.looks
            await looked_at(hare, times=10)
            group.cancel_scope.cancel()

    assert fox.looks == seen
    assert len(runapi.ledger.paid_tasks()) == 2


async def another(runapi: Simulator, task: Task) -> Task:
    while not (others := [each for each in runapi.ledger.tasks() if each is not task]):  # noqa: ASYNC110 the simulator has no event for it
        await anyio.sleep(0.01)
    return others[0]


async def looked_at(task: Task, *, times: int) -> None:
    while task.looks < times:  # noqa: ASYNC110 the simulator has no event for it
        await anyio.sleep(0.01)


@pytest.mark.parametrize("host", ["0.0.0.0", "flux.example"])  # noqa: S104 the point of the test
async def test_an_address_that_others_can_reach_is_refused(tmp_path: Path, host: str) -> None:
    ended = await finished(tmp_path, "-m", "flux2_mcp", "serve", "--http", "--host", host)

    assert ended.returncode == 2
    assert ended.stdout == b""
    said = ended.stderr.decode()
    assert "this machine only" in said
    assert "Use --host 127.0.0.1" in said
    assert "serving" not in said
    assert "Traceback" not in said
