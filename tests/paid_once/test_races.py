from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
import uvicorn
from mcp.client import Client
from mcp.client.client import ConnectMode
from mcp_types import CallToolResult
from PIL import Image

from flux2_mcp.server.app import build_server
from flux2_mcp.server.strict import StrictServer
from flux2_mcp.simulator import Fault, Script, Simulator
from flux2_mcp.simulator.faults import On
from tests.databases import execute
from tests.paid_once.accounting import ledger_of, ledger_of_runapi
from tests.paid_once.backdating import time_passes
from tests.paid_once.conftest import Servers
from tests.processes import ABOUT, MODERN, finished, served
from tests.transports import Gate, NoNetwork, Wire, creates, fetches, looks
from tests.world import KEY, World, text_of, world

FOX = {"prompt": "a fox"}

REFUSALS = {
    "401": Fault(on="create", status=401, times=9),
    "402": Fault(on="create", status=402, times=9),
    "403": Fault(on="create", status=403, times=9),
    "404": Fault(on="create", status=404, times=9),
    "409": Fault(on="create", status=409, times=9),
    "429": Fault(on="create", status=429, times=9),
    "503": Fault(on="create", status=503, times=9),
}
REPLY_LOST = Fault(on="create", after=True, lose=True, times=9)


def small_world(home: Path, *faults: Fault, **environ: str) -> World:
    here = world(home, Script(looks_until_done=1, plain_pictures=True), environ=environ)
    here.simulator.faults.extend(faults)
    return here


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_of_the_second_try_does_not_undo_the_first(tmp_path: Path, refusal: Fault) -> None:
    """The task was made and its answer lost; that RunAPI refuses to answer now says nothing about it."""
    here = small_world(tmp_path, Fault(on="create", after=True, lose=True, times=3))
    async with here.client() as client:
        await client.call_tool("generate", FOX)
        [order] = await here.orders()
        here.simulator.faults[:] = [refusal]
        refused = await client.call_tool("generate", FOX)
        here.simulator.faults.clear()
        found = await client.call_tool("generate", FOX)
        ours = await ledger_of(client)

    assert "Nothing was charged" not in text_of(refused)
    assert f"task_id='{order.id}'" in text_of(refused)
    [task] = here.paid
    assert task.id in text_of(found)
    assert ours == ledger_of_runapi(here.simulator)


async def test_a_lost_network_does_not_undo_an_order_in_doubt(tmp_path: Path) -> None:
    here = small_world(tmp_path, Fault(on="create", after=True, lose=True, times=3))
    async with here.client() as client:
        await client.call_tool("generate", FOX)
    here.transport = NoNetwork()
    async with here.client() as client:
        offline = await client.call_tool("generate", FOX)
    here.transport = Wire(here.simulator)
    async with here.client() as client:
        found = await client.call_tool("generate", FOX)

    assert "Nothing was charged" not in text_of(offline)
    [task] = here.paid
    assert task.id in text_of(found)


async def test_a_picture_that_could_not_be_fetched_is_fetched_by_the_same_words(tmp_path: Path) -> None:
    """It was paid for, and nobody has it yet."""
    here = small_world(tmp_path, Fault(on="picture", status=500, times=9))
    async with here.client() as client:
        await client.call_tool("generate", FOX)
        here.simulator.faults.clear()
        found = await client.call_tool("generate", FOX)

    [task] = here.paid
    assert task.id in text_of(found)
    assert len(list(here.output.iterdir())) == 1


async def test_a_picture_that_was_being_fetched_at_the_end_is_saved_by_the_next_server(tmp_path: Path) -> None:
    """RunAPI's link dies after seven days, and nobody may ask again before. Who does may still want it elsewhere."""
    here = small_world(tmp_path)
    gate = here.transport = Gate(here.simulator, fetches)
    async with here.client() as client, anyio.create_task_group() as group:
        group.start_soon(client.call_tool, "generate", FOX)
        await gate.holds_one()
        group.cancel_scope.cancel()
    here.transport = Wire(here.simulator)
    async with here.client():
        await anyio.wait_all_tasks_blocked()
        await saved(here)

    [order] = await here.orders()
    assert [Path(path) for path in order.paths] == list(here.output.iterdir())
    async with here.client() as client:
        result = await client.call_tool("generate", {**FOX, "save_to": "foxes/first.png"})
    assert f"File: {here.output / 'foxes' / 'first.png'}" in text_of(result)
    assert len(here.paid) == 1


async def test_one_picture_of_a_call_that_was_seen_does_not_stand_for_the_other(tmp_path: Path) -> None:
    here = small_world(tmp_path, Fault(on="picture", status=500, times=99))
    foxes = {**FOX, "count": 2}
    async with here.client() as client:
        await client.call_tool("generate", foxes)
        here.simulator.faults.clear()
        await client.call_tool("task_status", {"task_id": here.paid[0].id})
        found = await client.call_tool("generate", foxes)

    assert len(here.paid) == 2
    assert all(task.id in text_of(found) for task in here.paid)


# The client goes away.


WHERE = pytest.mark.parametrize(
    ("holds", "after"),
    [(creates, False), (creates, True), (looks, False), (looks, True), (fetches, False), (fetches, True)],
    ids=["order sent", "order answered", "look sent", "look answered", "download begun", "download answered"],
)


@WHERE
async def test_a_cancelled_call_is_paid_once(
    tmp_path: Path, era: ConnectMode, holds: Callable[[httpx.Request], bool], *, after: bool
) -> None:
    """A host that asks again after a timeout gets the picture that was paid for already."""
    here = small_world(tmp_path)
    here.mode = era
    gate = here.transport = Gate(here.simulator, holds, after=after)
    async with here.client() as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "generate", FOX)
            await gate.holds_one()
            group.cancel_scope.cancel()
        gate.open()
        result = await client.call_tool("generate", FOX)
        ours = await ledger_of(client)

    [task] = here.paid
    assert task.id in text_of(result)
    assert "made the picture" in text_of(result)
    assert ours == ledger_of_runapi(here.simulator)


@asynccontextmanager
async def over_http(here: World) -> AsyncGenerator[tuple[str, StrictServer], None]:
    """The server of `flux2-mcp serve --http`, and its address on a free port."""
    ours = build_server(here.environment())
    app = ours.streamable_http_app(host="127.0.0.1")
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="on"))
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve)
            while not server.started:  # noqa: ASYNC110 uvicorn has no event for it
                await anyio.sleep(0.01)
            try:
                yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/mcp", ours
            finally:
                server.should_exit = True


@WHERE
async def test_a_call_whose_connection_drops_is_paid_once(
    tmp_path: Path, era: ConnectMode, holds: Callable[[httpx.Request], bool], *, after: bool
) -> None:
    """The host is gone without a word; nobody cancels anything for it."""
    here = small_world(tmp_path)
    gate = here.transport = Gate(here.simulator, holds, after=after)
    async with over_http(here) as (url, server):
        async with anyio.create_task_group() as group:
            group.start_soon(post, url, era)
            await gate.holds_one()
            group.cancel_scope.cancel()
        gate.open()
        await server.calls.end(within=30)  # they end by themselves: in the legacy era the call goes on
        async with Client(url, mode=era) as client:
            result = await client.call_tool("generate", FOX)
            ours = await ledger_of(client)

    [task] = here.paid
    assert task.id in text_of(result)
    assert ours == ledger_of_runapi(here.simulator)


async def post(url: str, era: ConnectMode) -> None:
    """Call generate by hand, so that dropping the connection is all that the server notices."""
    headers = {"Accept": "application/json, text/event-stream"}
    call: dict[str, object] = {"name": "generate", "arguments": FOX}
    async with httpx.AsyncClient(headers=headers, timeout=20) as http:
        if era == "legacy":
            hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": ABOUT}
            answer = await http.post(url, json=message("initialize", hello))
            http.headers["Mcp-Session-Id"] = answer.headers["mcp-session-id"]
            http.headers["MCP-Protocol-Version"] = "2025-11-25"
            await http.post(url, json={"jsonrpc": "2.0", "method": "notifications/initialized"})
        else:
            http.headers["MCP-Protocol-Version"] = "2026-07-28"
            http.headers["Mcp-Method"] = "tools/call"
            http.headers["Mcp-Name"] = "generate"
            call["_meta"] = MODERN
        answer = await http.post(url, json=message("tools/call", call))
        raise AssertionError(answer.text)  # the connection was to drop before


def message(method: str, params: Mapping[str, object]) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


async def test_a_result_that_a_host_had_time_to_read_is_not_given_again(tmp_path: Path) -> None:
    """A second is over here at once; the same words in the next session mean another picture."""
    here = small_world(tmp_path)
    async with here.client() as client:
        await client.call_tool("generate", FOX)
        while not (await here.orders())[0].delivered:  # noqa: ASYNC110 there is no event for it
            await anyio.sleep(0.01)
    async with here.client() as client:
        again = await client.call_tool("generate", FOX)

    assert "not ordered anew" not in text_of(again)
    assert len(here.paid) == 2


@pytest.mark.parametrize("what", ["create", "look", "picture"])
async def test_a_host_that_closes_stdin_in_the_middle_finds_its_picture_again(
    servers: Servers, tmp_path: Path, what: On
) -> None:
    runapi = Simulator(Script(looks_until_done=1, plain_pictures=True))
    runapi.faults.append(Fault(on=what, after=True, hang=60))
    async with served(runapi) as (base_url, _):
        async with servers.server(tmp_path, base_url) as host:
            await host.call("generate", FOX)
            while runapi.faults:  # noqa: ASYNC110 the simulator has no event for it
                await anyio.sleep(0.01)
            await host.hang_up()
            await host.process.wait()
        async with servers.server(tmp_path, base_url) as host:
            result = (await host.answer(await host.call("generate", FOX)))["result"]

    [task] = runapi.ledger.tasks()
    assert not result["isError"]
    assert task.id in result["content"][0]["text"]


# Two at once.


async def test_a_call_that_is_sent_again_while_it_runs_is_paid_once(servers: Servers, tmp_path: Path) -> None:
    """A host that lost patience asks again under a new request id, and cancels nothing."""
    runapi = Simulator(Script(looks_until_done=4, plain_pictures=True))
    async with served(runapi) as (base_url, _), servers.server(tmp_path, base_url) as host:
        await host.call("generate", FOX)
        while not runapi.ledger.tasks():  # noqa: ASYNC110 the simulator has no event for it
            await anyio.sleep(0.01)
        result = (await host.answer(await host.call("generate", FOX)))["result"]

    [task] = runapi.ledger.tasks()
    assert task.id in result["content"][0]["text"]


async def test_an_order_that_was_given_up_is_not_sent_after_all(tmp_path: Path) -> None:
    """Its upload took a quarter of an hour, and another process took it for dead and gave its money back."""
    here = small_world(tmp_path)
    here.output.mkdir()
    Image.new("RGB", (8, 6), "red").save(here.output / "mine.png")
    gate = here.transport = Gate(here.simulator, lambda request: request.url.path.endswith("/files/prepare"))
    results: list[CallToolResult] = []

    async def call(client: Client) -> None:
        remix = {**FOX, "source_image_urls": [str(here.output / "mine.png")]}
        results.append(await client.call_tool("remix", remix))

    async with here.client() as slow, here.client() as other, anyio.create_task_group() as group:
        group.start_soon(call, slow)
        await gate.holds_one()
        time_passes(tmp_path, minutes=16)
        [order] = await here.orders()
        results.append(await other.call_tool("task_status", {"task_id": order.id}))
        gate.open()

    assert ["was never sent" in text_of(result) for result in results] == [True, True]
    assert here.creates == []


class TwoGates(Wire):
    """Holds looks, and apart from them every question for a price but the first."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)
        self.looks = Gate(simulator, looks)
        self.quotes = Gate(simulator, lambda _: True)
        self._asked = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        is_quote = "price_quotes" in request.url.path
        self._asked += is_quote
        return await (self.quotes if is_quote and self._asked > 1 else self.looks).handle_async_request(request)


async def test_a_call_that_was_sent_again_before_the_answer_wants_the_same_picture(tmp_path: Path) -> None:
    """The answer came while the second call was still asking for the price; whether the host read it, nobody knows."""
    here = small_world(tmp_path, FLUX2_ALLOW_UNKNOWN_PRICE="true")
    gates = here.transport = TwoGates(here.simulator)
    fox = {**FOX, "model": "flux-2-max", "aspect_ratio": "1:1"}
    results: list[CallToolResult] = []

    async def call(client: Client) -> None:
        results.append(await client.call_tool("generate", fox))

    async with here.client() as client:
        async with anyio.create_task_group() as group:
            group.start_soon(call, client)
            await gates.looks.holds_one()
            group.start_soon(call, client)
            await gates.quotes.holds_one()
            gates.looks.open()
            while not results:  # noqa: ASYNC110 there is no event for it
                await anyio.sleep(0.01)
            gates.quotes.open()
        later = await client.call_tool("generate", fox)

    assert ["not ordered anew" in text_of(result) for result in [*results, later]] == [False, True, False]
    assert len(here.paid) == 2


@pytest.mark.parametrize("tool", ["generate", "remix"])
async def test_two_processes_with_one_request_at_one_instant_make_one_task(
    servers: Servers, tmp_path: Path, tool: str
) -> None:
    """On a new computer: they also make the database, at the same instant."""
    arguments: dict[str, object] = {**FOX, "count": 2}
    if tool == "remix":
        source = tmp_path / "pictures" / "mine.png"
        source.parent.mkdir()
        Image.new("RGB", (8, 6), "red").save(source)
        arguments |= {"source_image_urls": [str(source)]}
    runapi = Simulator(Script(looks_until_done=4, plain_pictures=True))
    async with (
        served(runapi) as (base_url, _),
        servers.server(tmp_path, base_url) as one,
        servers.server(tmp_path, base_url) as other,
    ):
        numbers = await one.call(tool, arguments), await other.call(tool, arguments)
        answers = await one.answer(numbers[0]), await other.answer(numbers[1])

    tasks = runapi.ledger.tasks()
    assert len(tasks) == 2
    assert runapi.ledger.spent_cents(KEY) == 10
    for answer in answers:
        assert all(task.id in answer["result"]["content"][0]["text"] for task in tasks)


async def test_one_process_that_is_refused_does_not_undo_the_order_of_the_other(tmp_path: Path) -> None:
    """RunAPI may say 409 while it still works on the first request with that key."""
    here = small_world(tmp_path)
    gate = Gate(here.simulator, creates)
    async with AsyncExitStack() as stack:
        here.transport = gate
        one = await stack.enter_async_context(here.client())
        here.transport = Wire(here.simulator)
        other = await stack.enter_async_context(here.client())
        group = await stack.enter_async_context(anyio.create_task_group())
        group.start_soon(one.call_tool, "generate", FOX)
        await gate.holds_one()
        here.simulator.faults.append(Fault(on="create", status=409))
        refused = await other.call_tool("generate", FOX)
        gate.open()
        while not here.paid:  # noqa: ASYNC110 the simulator has no event for it
            await anyio.sleep(0.01)
        found = await other.call_tool("task_status", {"task_id": here.paid[0].id})

    assert "Nothing was charged" not in text_of(refused)
    assert not found.is_error
    assert len(here.paid) == 1


async def test_a_used_key_is_never_called_free(tmp_path: Path) -> None:
    """409 says that there is an order with this key already; only ours has it."""
    here = small_world(tmp_path, Fault(on="create", status=409))
    async with here.client() as client:
        refused = await client.call_tool("generate", FOX)
        made = await client.call_tool("generate", FOX)

    assert "It is not known whether RunAPI accepted the order" in text_of(refused)
    assert not made.is_error
    assert len({seen.headers["idempotency-key"] for seen in here.creates}) == 1


# A history that keeps less.


async def test_a_private_history_finds_a_lost_order_by_the_same_call(tmp_path: Path) -> None:
    here = small_world(tmp_path, REPLY_LOST, FLUX2_HISTORY="private")
    async with here.client() as client:
        await client.call_tool("generate", FOX)
    here.simulator.faults.clear()
    async with here.client() as client:
        [order] = await here.orders()
        by_id = await client.call_tool("task_status", {"task_id": order.id})
        result = await client.call_tool("generate", FOX)
        ours = await ledger_of(client)

    assert "Send the same call again" in text_of(by_id)
    [task] = here.paid
    assert task.id in text_of(result)
    assert ours == ledger_of_runapi(here.simulator)
    assert "a fox" not in str(execute(tmp_path / "data", "SELECT * FROM orders"))


async def test_a_private_remix_whose_answer_was_lost_is_found_by_the_same_call(tmp_path: Path) -> None:
    """A second upload would have another address, and the Idempotency-Key would not fit."""
    here = small_world(tmp_path, REPLY_LOST, FLUX2_HISTORY="private")
    here.output.mkdir()
    Image.new("RGB", (8, 6), "red").save(here.output / "mine.png")
    remix = {**FOX, "source_image_urls": [str(here.output / "mine.png")]}
    async with here.client() as client:
        await client.call_tool("remix", remix)
    here.simulator.faults.clear()
    async with here.client() as client:
        result = await client.call_tool("remix", remix)
        ours = await ledger_of(client)

    [task] = here.paid
    assert task.id in text_of(result)
    assert ours == ledger_of_runapi(here.simulator)


async def test_without_a_history_a_process_still_pays_once(tmp_path: Path) -> None:
    here = small_world(tmp_path, REPLY_LOST, FLUX2_HISTORY="off", FLUX2_DAILY_BUDGET="0.05")
    async with here.client() as client:
        await client.call_tool("generate", FOX)
        here.simulator.faults.clear()
        result = await client.call_tool("generate", FOX)
        beyond = await client.call_tool("generate", FOX)
        ours = await ledger_of(client)

    [task] = here.paid
    assert task.id in text_of(result)
    assert "today's limit" in text_of(beyond)
    assert ours == ledger_of_runapi(here.simulator)
    assert not (tmp_path / "data").exists()


@pytest.mark.history_file
async def test_pictures_are_made_with_a_damaged_history(tmp_path: Path) -> None:
    here = small_world(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "history.sqlite3").write_bytes(b"not a database at all" * 500)
    async with here.client() as client:
        result = await client.call_tool("generate", FOX)
        listed = await client.call_tool("recent_tasks", {})
        ours = await ledger_of(client)

    assert not result.is_error
    assert listed.structured_content is not None
    assert "damaged" in listed.structured_content["note"]
    assert ours == ledger_of_runapi(here.simulator)


# After the end.


async def test_a_picture_that_was_finished_meanwhile_is_saved_by_the_next_server(tmp_path: Path) -> None:
    here = small_world(tmp_path)
    async with here.client() as client:
        await client.call_tool("generate", {**FOX, "wait_seconds": 0})
    async with here.client() as client:
        await saved(here)
        ours = await ledger_of(client)

    assert len(list(here.output.iterdir())) == 1
    assert ours == ledger_of_runapi(here.simulator)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same place", "other place"])
async def test_two_servers_that_save_one_picture_leave_one_file(tmp_path: Path, *, elsewhere: bool) -> None:
    """The next server, or `recover`, fetches what a call of the first is fetching at this moment."""
    here = small_world(tmp_path)
    gate = here.transport = Gate(here.simulator, fetches)
    results: list[CallToolResult] = []

    async def call(client: Client, **more: str) -> None:
        results.append(await client.call_tool("generate", {**FOX, **more}))

    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(here.client())
        here.transport = Wire(here.simulator)
        other = await stack.enter_async_context(here.client())
        async with anyio.create_task_group() as group:
            group.start_soon(call, one)
            await gate.holds_one()
            await call(other, **({"save_to": "elsewhere"} if elsewhere else {}))
            gate.open()

    [file] = [path for path in here.output.rglob("*") if path.is_file()]
    [order] = await here.orders()
    assert order.paths == (str(file),)
    assert [f"File: {file}" in text_of(result) for result in results] == [True, True]
    assert ("elsewhere" in file.parts) is elsewhere


async def test_recover_fetches_what_was_finished_and_says_what_is_not_known(servers: Servers, tmp_path: Path) -> None:
    runapi = Simulator(Script(looks_until_done=1, plain_pictures=True))
    async with served(runapi) as (base_url, _):
        async with servers.server(tmp_path, base_url) as host:
            await host.answer(await host.call("generate", {**FOX, "wait_seconds": 0}))
            runapi.faults.append(REPLY_LOST)
            lost = await host.answer(await host.call("generate", {"prompt": "a hare"}))
            runapi.faults.clear()
        ended = await finished(tmp_path, "-m", "flux2_mcp", "recover", RUNAPI_BASE_URL=base_url)

    [order] = re.findall("order-[0-9a-f]+", lost["result"]["content"][0]["text"])[:1]
    [picture] = (tmp_path / "pictures").iterdir()
    task = runapi.ledger.tasks()[0]
    made, unknown = ended.stdout.decode().splitlines()
    assert made == f"{task.id}: made; {picture}"
    assert unknown.startswith(f"{order}: ")
    assert "It is not known whether RunAPI accepted the order" in unknown
    assert "Run the same generate or remix command again within 15 minutes of the first, without --repeat" in unknown
    assert ended.returncode == 5
    assert len(runapi.ledger.tasks()) == 2


async def saved(here: World) -> None:
    """Wait until a picture lies in the folder, and the history knows where."""
    with anyio.fail_after(30):
        while not any(order.paths for order in await here.orders()):  # noqa: ASYNC110 there is no event for it
            await anyio.sleep(0.01)
