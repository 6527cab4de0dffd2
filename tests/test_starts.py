"""How calls begin, where many come at once."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import anyio
import httpx
import pytest
from mcp.client import Client, ClientRequestContext
from mcp_types import ElicitRequestParams, ElicitResult

from flux2_mcp.server.app import build_server
from flux2_mcp.server.starts import LONGEST, MOST
from flux2_mcp.simulator import Script, Simulator
from tests.pictures.fixtures import png
from tests.transports import Gate, Wire, creates, looks
from tests.world import World, every, text_of, world

pytestmark = pytest.mark.virtual_time

MANY = MOST + 5
"""No more than the rate limiter lets through at once."""


def small_world(home: Path) -> World:
    return world(home, Script(looks_until_done=1, plain_pictures=True), intervals=every(0.2))


def uploads(request: httpx.Request) -> bool:
    return request.url.path.endswith("/files/prepare")


class Clocked(Gate):
    """Knows when each request came that it holds."""

    def __init__(self, simulator: Simulator, kind: Callable[[httpx.Request], bool]) -> None:
        self.times: list[float] = []

        def noted(request: httpx.Request) -> bool:
            if is_one := kind(request):
                self.times.append(anyio.current_time())
            return is_one

        super().__init__(simulator, noted)

    async def holds(self, many: int) -> None:
        """Wait until so many are held."""
        while self.held < many:  # noqa: ASYNC110 the gate has an event for the first only
            await anyio.sleep(0.01)

    async def holds_then_opens(self, many: int) -> None:
        await self.holds(many)
        self.open()


def remix_of(n: int) -> dict[str, object]:
    picture = b64encode(png(f"#0000{n:02x}", edge=8)).decode()
    return {"prompt": f"fox {n}", "source_image_urls": [f"data:image/png;base64,{picture}"]}


async def call_all(client: Client, tool: str, all_arguments: Iterable[dict[str, object]]) -> list[str]:
    """What many calls at once come to."""
    texts: list[str] = []

    async def call(arguments: dict[str, object]) -> None:
        texts.append(text_of(await client.call_tool(tool, arguments)))

    async with anyio.create_task_group() as group:
        for arguments in all_arguments:
            group.start_soon(call, arguments)
    return texts


async def test_few_begin_at_a_time_and_what_hangs_holds_others_up_for_a_moment_only(tmp_path: Path) -> None:
    here = small_world(tmp_path)
    gate = here.transport = Clocked(here.simulator, uploads)
    async with here.client() as client, anyio.create_task_group() as group:
        group.start_soon(call_all, client, "remix", map(remix_of, range(MANY)))
        await gate.holds(MANY)
        gate.open()

    assert gate.times[MOST] - gate.times[0] >= LONGEST
    assert len(here.paid) == MANY


class Steps(Wire):
    """Holds looks, and apart from them uploads."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)
        self.looks = Gate(simulator, looks)
        self.uploads = Clocked(simulator, uploads)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await (self.looks if looks(request) else self.uploads).handle_async_request(request)


async def test_a_call_that_is_sent_again_has_the_same_picture_though_it_begins_after_the_answer(tmp_path: Path) -> None:
    """It came before: whether the host will ever read the answer, nobody knows."""
    here = small_world(tmp_path)
    steps = here.transport = Steps(here.simulator)
    server = build_server(here.environment())
    server.starts.longest = math.inf
    first, again = list[str](), list[str]()
    async with here.client(server=server) as client:

        async def call(texts: list[str]) -> None:
            texts += await call_all(client, "generate", [{"prompt": "a fox"}])

        async with anyio.create_task_group() as group:
            group.start_soon(call, first)
            await steps.looks.holds_one()
            group.start_soon(call_all, client, "remix", map(remix_of, range(MOST)))
            await steps.uploads.holds(MOST)
            group.start_soon(call, again)
            await anyio.wait_all_tasks_blocked()
            steps.looks.open()
            while not (first and (await here.orders())[-1].delivered):  # noqa: ASYNC110 there is no event for it
                await anyio.sleep(0.01)
            assert not again
            steps.uploads.open()

    assert "not ordered anew" in again[0]
    assert len(here.paid) == 1 + MOST


async def test_what_orders_nothing_waits_for_no_turn(tmp_path: Path) -> None:
    here = small_world(tmp_path)
    gate = here.transport = Clocked(here.simulator, uploads)
    server = build_server(here.environment())
    server.starts.longest = math.inf
    async with here.client(server=server) as client, anyio.create_task_group() as group:
        group.start_soon(call_all, client, "remix", map(remix_of, range(MANY)))
        await gate.holds(MOST)
        with anyio.fail_after(1):
            await client.call_tool("recent_tasks", {})
        gate.open()


async def test_the_row_is_part_of_the_wait(tmp_path: Path) -> None:
    """A host that gives up after a minute must not hear nothing until then."""
    here = small_world(tmp_path)
    steps = here.transport = Steps(here.simulator)
    server = build_server(here.environment())
    server.starts.longest = 8
    texts: list[str] = []
    async with here.client(server=server) as client, anyio.create_task_group() as group:
        group.start_soon(call_all, client, "remix", map(remix_of, range(MOST)))
        await steps.uploads.holds(MOST)
        began = anyio.current_time()
        texts += await call_all(client, "generate", [{"prompt": "a fox", "wait_seconds": 10}])
        assert 9 < anyio.current_time() - began < 11
        steps.uploads.open()
        steps.looks.open()

    assert "not ready yet" in texts[0]


async def test_a_call_whose_order_is_on_its_way_holds_nobody_up(tmp_path: Path) -> None:
    """However slow RunAPI is."""
    here = small_world(tmp_path)
    gate = here.transport = Clocked(here.simulator, creates)
    server = build_server(here.environment())
    server.starts.longest = math.inf
    texts: list[str] = []
    async with here.client(server=server) as client, anyio.create_task_group() as group:
        group.start_soon(gate.holds_then_opens, MANY)
        texts += await call_all(client, "generate", [{"prompt": f"fox {n}"} for n in range(MANY)])

    assert all("made the picture" in text for text in texts)
    assert len(here.paid) == MANY


async def test_no_call_of_the_row_orders_anything_once_the_server_has_to_end(tmp_path: Path) -> None:
    """Those that have begun may answer; whoever still stands in the row could not be told what it ordered."""
    here = small_world(tmp_path)
    gate = here.transport = Clocked(here.simulator, uploads)
    server = build_server(here.environment())
    server.starts.longest = math.inf
    texts: list[str] = []
    async with here.client(server=server) as client, anyio.create_task_group() as group:

        async def call_foxes() -> None:
            texts.extend(await call_all(client, "generate", [{"prompt": f"fox {n}"} for n in range(3)]))

        group.start_soon(call_all, client, "remix", map(remix_of, range(MOST)))
        await gate.holds(MOST)
        group.start_soon(call_foxes)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(partial(server.end_calls, within=2))
        while len(texts) < 3:  # noqa: ASYNC110 there is no event for it
            await anyio.sleep(0.01)
        gate.open()

    told = "This server is shutting down. Nothing was ordered. Send the same call again once it is back."
    assert [told in text for text in texts] == [True] * 3
    assert len(here.paid) == MOST
    assert not any(task.prompt.startswith("fox") and task.action == "text_to_image" for task in here.paid)


async def test_a_person_who_was_asked_after_the_row_is_waited_for_with_the_whole_time(tmp_path: Path) -> None:
    """The wait begins anew with their answer."""
    here = world(tmp_path, Script(looks_until_done=10**9), intervals=every(0.2), mode="legacy")
    here.environ["FLUX2_CONFIRM_OVER"] = "0.06"
    gate = here.transport = Clocked(here.simulator, uploads)
    server = build_server(here.environment())
    server.starts.longest = 8
    answered, texts = list[float](), list[str]()

    async def person(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        answered.append(anyio.current_time())
        return ElicitResult(action="accept", content={"spend": True})

    async with Client(server, mode="legacy", elicitation_callback=person) as client, anyio.create_task_group() as group:
        short = ({**remix_of(n), "wait_seconds": 1} for n in range(MOST))
        group.start_soon(call_all, client, "remix", short)
        await gate.holds(MOST)
        texts += await call_all(client, "generate", [{"prompt": "a fox", "count": 2, "wait_seconds": 10}])
        assert 9.5 < anyio.current_time() - answered[0] < 11
        gate.open()

    assert "still to come" in texts[0]


async def test_nothing_is_ordered_for_a_person_who_agrees_when_the_server_has_to_end(tmp_path: Path) -> None:
    here = world(tmp_path, Script(looks_until_done=1), intervals=every(0.2), mode="legacy")
    here.environ["FLUX2_CONFIRM_OVER"] = "0.01"
    server = build_server(here.environment())

    async def person(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        group.start_soon(partial(server.end_calls, within=2))
        await anyio.sleep(1)
        return ElicitResult(action="accept", content={"spend": True})

    async with Client(server, mode="legacy", elicitation_callback=person) as client, anyio.create_task_group() as group:
        [text] = await call_all(client, "generate", [{"prompt": "a fox"}])
        assert "This server is shutting down. Nothing was ordered." in text

    assert here.paid == []
