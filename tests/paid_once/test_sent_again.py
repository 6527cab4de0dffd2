"""Calls that are sent again, by hosts that may not have read the first answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event

import anyio
import httpx
import pytest
from mcp.client import Client
from mcp_types import CallToolResult

from flux2_mcp import credentials
from flux2_mcp.app_state import app_state
from flux2_mcp.history import History
from flux2_mcp.server.app import build_server
from flux2_mcp.settings import Settings
from flux2_mcp.simulator import Script, Simulator
from flux2_mcp.studio import Job, ResultImage, Studio
from tests.databases import database_url
from tests.history.orders import fox
from tests.transports import Gate, Wire, fetches, looks
from tests.world import OWNER, World, every, text_of, world

FOX = {"prompt": "a fox"}
CHEERFUL = Script(looks_until_done=1, plain_pictures=True)


class SlowSource(Wire):
    """Holds looks, and the download of every picture that was made before."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)
        self.looks = Gate(simulator, looks)
        earlier = {seen.path for seen in simulator.requests}
        self.sources = Gate(simulator, lambda request: request.url.path in earlier)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await (self.sources if fetches(request) else self.looks).handle_async_request(request)


class SlowDelivery(History):
    """Takes its time to note the first results that were delivered."""

    is_told: anyio.Event
    may_note: anyio.Event

    async def delivered(self, *order_ids: str, owner: str) -> None:
        if not self.is_told.is_set():
            self.is_told.set()
            await self.may_note.wait()
        await super().delivered(*order_ids, owner=owner)


@asynccontextmanager
async def answered_while_sent_again(
    here: World, results: list[CallToolResult], *, elsewhere: bool
) -> AsyncGenerator[tuple[Client, dict[str, object]], None]:
    """A remix was answered; the same call had come a second time before, and reads its source until this ends.

    `elsewhere`: to another process. The second one may spend nothing.
    """
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a source"})
    [source] = here.output.iterdir()
    copy = source.with_name("copy.png")
    copy.write_bytes(source.read_bytes())
    remix = {**FOX, "source_image_urls": [f"flux2://tasks/{here.paid[0].id}/images/0"]}
    wire = here.transport = SlowSource(here.simulator)
    async with here.client() as client, here.client() as other:

        async def call(to: Client, **more: object) -> None:
            results.append(await to.call_tool("remix", {**remix, **more}))

        async with anyio.create_task_group() as group:
            group.start_soon(call, client)
            await wire.looks.holds_one()
            source.unlink()
            group.start_soon(partial(call, other if elsewhere else client, max_cost_usd=0))
            await wire.sources.holds_one()
            wire.looks.open()
            while not (results and (await here.orders())[0].delivered):  # noqa: ASYNC110 there is no event for it
                await anyio.sleep(0.01)
            yield client, {**FOX, "source_image_urls": [str(copy)]}
            wire.sources.open()


def are_repeats(*results: CallToolResult) -> list[bool]:
    assert not any(result.is_error for result in results)
    return ["not ordered anew" in text_of(result) for result in results]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same process", "other process"])
async def test_a_call_that_came_before_the_answer_has_its_picture_however_late_it_asks(
    tmp_path: Path, *, elsewhere: bool
) -> None:
    """Its source was still being read when the first result was noted as read, and another call came by."""
    here = world(tmp_path, CHEERFUL)
    results: list[CallToolResult] = []
    async with answered_while_sent_again(here, results, elsewhere=elsewhere) as (client, _):
        await client.call_tool("generate", {"prompt": "something else"})

    assert are_repeats(*results) == [False, True]
    assert len(here.paid) == 3


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same process", "other process"])
async def test_a_call_that_came_after_the_answer_is_new_while_another_may_still_have_it(
    tmp_path: Path, *, elsewhere: bool
) -> None:
    """Who came before takes up the new one then: two pictures for two fingerprints."""
    here = world(tmp_path, CHEERFUL)
    results: list[CallToolResult] = []
    async with answered_while_sent_again(here, results, elsewhere=elsewhere) as (client, remix):
        third = await client.call_tool("remix", remix)

    assert are_repeats(*results, third) == [False, True, False]
    assert len(here.paid) == 3


async def test_a_call_that_comes_while_a_result_is_noted_is_new(tmp_path: Path) -> None:
    here = world(tmp_path, CHEERFUL)
    history = SlowDelivery(tmp_path / "data")
    history.is_told, history.may_note = anyio.Event(), anyio.Event()
    with anyio.fail_after(30):
        async with Client(build_server(replace(here.environment(), history=history))) as client:
            first = await client.call_tool("generate", FOX)
            await history.is_told.wait()
            again = await client.call_tool("generate", FOX)
            history.may_note.set()

    assert are_repeats(first, again) == [False, False]
    assert len(here.paid) == 2


class SlowCount(History):
    """Lets the second call wait until it knows how much was delivered."""

    asked: int = 0
    may_know: anyio.Event

    async def deliveries(self, owner: str) -> int:
        self.asked += 1
        if self.asked == 2:
            await self.may_know.wait()
        return await super().deliveries(owner)


@pytest.mark.virtual_time
async def test_a_call_that_came_before_the_answer_has_its_picture_however_long_the_history_takes_to_count(
    tmp_path: Path,
) -> None:
    """On a loaded server the result may be delivered and counted in between."""
    here = world(tmp_path, CHEERFUL, intervals=every(0.1))
    gate = here.transport = Gate(here.simulator, looks)
    history = SlowCount(tmp_path / "data", url=database_url(tmp_path / "data"))
    history.may_know = anyio.Event()
    results: list[CallToolResult] = []
    async with here.client(server=build_server(replace(here.environment(), history=history))) as client:

        async def call() -> None:
            results.append(await client.call_tool("generate", FOX))

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await gate.holds_one()
            group.start_soon(call)
            while history.asked < 2:  # noqa: ASYNC110 there is no event for it
                await anyio.sleep(0.01)
            gate.open()
            while not (results and (await here.orders())[0].delivered):  # noqa: ASYNC110 there is no event for it
                await anyio.sleep(0.01)
            history.may_know.set()

    assert are_repeats(*results) == [False, True]
    assert len(here.paid) == 1


async def test_what_is_handed_over_while_a_call_gets_ready_was_not_delivered_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes to read the key: the call may be the same one, sent again."""
    may_read, read = Event(), credentials.credentials

    def slow(settings: Settings, *, home: Path) -> credentials.Credentials:
        may_read.wait(30)
        return read(settings, home=home)

    monkeypatch.setattr(credentials, "credentials", slow)
    here = world(tmp_path)
    async with app_state(here.environment()) as state:
        [(order, _)] = await state.history.open_orders([fox()], owner=OWNER, resume_within=None)
        studios: list[Studio] = []

        async def get_ready() -> None:
            studios.append(await state.studio())

        async with anyio.create_task_group() as group:
            group.start_soon(get_ready)
            await anyio.wait_all_tasks_blocked()
            image = ResultImage("https://runapi.test/fox.png", wanted=False)
            state.deliveries.note(OWNER, [Job(order, images=[image])])
            assert not studios, "it reads the key in a thread"
            may_read.set()
            await get_ready()

        early, late = sorted(studios, key=lambda studio: len(studio.uncounted))
        assert early.uncounted == frozenset()
        assert late.uncounted == {order.id}


@pytest.mark.virtual_time
async def test_results_that_follow_each_other_are_all_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also the second, which comes while the first waits to be counted; calls to this process know of both at once."""
    here = world(tmp_path, CHEERFUL, intervals=every(0.01))
    async with here.client() as client:
        first = await client.call_tool("generate", FOX)
        await anyio.sleep(0.5)
        others = [await client.call_tool("generate", words) for words in ({"prompt": "a hare"}, FOX)]
        await anyio.sleep(5)
        orders = await here.orders()

    assert are_repeats(first, *others) == [False] * 3
    assert len(here.paid) == 3
    assert [order.delivered for order in orders] == [True] * 3
    assert [record for record in caplog.records if record.name.startswith("flux2_mcp")] == []
