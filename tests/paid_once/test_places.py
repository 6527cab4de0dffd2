"""One picture that two processes save, and that is wanted elsewhere while they do."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import httpx
from mcp.client import Client
from mcp_types import CallToolResult

from flux2_mcp.history import History, Order
from flux2_mcp.server.app import build_server
from flux2_mcp.simulator import Script, Simulator
from tests.databases import database_url
from tests.transports import Gate, Wire, fetches, looks
from tests.world import World, text_of, world

FOX = {"prompt": "a fox"}


class LateToNote(History):
    """Takes its time between the file and the note of where it lies."""

    has_file: anyio.Event
    may_note: anyio.Event

    async def saved(self, order: Order, paths: Iterable[Path | str]) -> Order:
        self.has_file.set()
        await self.may_note.wait()
        return await super().saved(order, paths)


class TwoPictures(Wire):
    """RunAPI makes two pictures of one order; the second cannot be had at first."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)
        self.has_both = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.query == b"second" and not self.has_both:
            return httpx.Response(404, request=request)
        answer = await super().handle_async_request(request)
        if not looks(request):
            return answer
        task = json.loads(await answer.aread())
        if images := task.get("images"):
            task["images"] = [*images, {"url": f"{images[0]['url']}?second"}]
        return httpx.Response(answer.status_code, json=task, request=request)


def cheerful_world(home: Path) -> World:
    return world(home, Script(looks_until_done=1, plain_pictures=True))


@asynccontextmanager
async def late_to_note(here: World) -> AsyncGenerator[tuple[Client, LateToNote], None]:
    """A client whose server takes its time to note where a file lies."""
    folder = here.home / "data"
    history = LateToNote(folder, url=database_url(folder))
    history.has_file, history.may_note = anyio.Event(), anyio.Event()
    environment = replace(here.environment(), history=history)
    with anyio.fail_after(30):
        async with Client(build_server(environment)) as client:
            yield client, history


def files_in(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if path.is_file()}


async def check_one_file(here: World, results: list[CallToolResult]) -> None:
    """It lies where it was wanted last, and where the history and every result say."""
    [file] = files_in(here.output)
    [order] = await here.orders()
    assert Path(file).parent == here.output / "elsewhere"
    assert order.paths == (file,)
    assert [f"File: {file}" in text_of(result) for result in results] == [True, True]


async def test_a_file_that_was_noted_first_is_not_replaced_by_one_that_is_wanted_no_more(tmp_path: Path) -> None:
    here = cheerful_world(tmp_path)
    results: list[CallToolResult] = []

    async def call(client: Client, **more: str) -> None:
        results.append(await client.call_tool("generate", {**FOX, **more}))

    async with late_to_note(here) as (late, history), here.client() as other, anyio.create_task_group() as group:
        group.start_soon(call, late)
        await history.has_file.wait()
        await call(other, save_to="elsewhere")
        history.may_note.set()

    await check_one_file(here, results)


async def test_each_call_has_its_file_where_it_asked_for_it(tmp_path: Path) -> None:
    """The second, in another process, still fetches the picture when the first has saved it, and is noted."""
    here = cheerful_world(tmp_path)
    results: list[CallToolResult] = []

    async def call(client: Client, **more: str) -> None:
        results.append(await client.call_tool("generate", {**FOX, **more}))

    async with late_to_note(here) as (late, history):
        gate = here.transport = Gate(here.simulator, fetches)
        async with here.client() as other, anyio.create_task_group() as group:
            group.start_soon(call, late)
            await history.has_file.wait()
            group.start_soon(partial(call, other, save_to="elsewhere"))
            await gate.holds_one()
            history.may_note.set()
            while not results:  # noqa: ASYNC110 there is no event for it
                await anyio.sleep(0.01)
            gate.open()

    [order] = await here.orders()
    [elsewhere] = files_in(here.output / "elsewhere")
    [usual] = files_in(here.output) - {elsewhere}
    assert order.paths == (elsewhere,)
    assert all(f"File: {file}" in text_of(result) for file, result in zip((usual, elsewhere), results, strict=True))


async def test_only_what_was_saved_a_moment_ago_makes_way_for_the_files_of_another(tmp_path: Path) -> None:
    """An earlier result has named the other file already."""
    here = cheerful_world(tmp_path)
    wire = here.transport = TwoPictures(here.simulator)
    async with here.client() as client:
        await client.call_tool("generate", FOX)
    earlier = files_in(here.output)
    wire.has_both = True
    async with late_to_note(here) as (late, history), here.client() as other, anyio.create_task_group() as group:
        group.start_soon(late.call_tool, "generate", FOX)
        await history.has_file.wait()
        await other.call_tool("generate", {**FOX, "save_to": "elsewhere"})
        history.may_note.set()

    [order] = await here.orders()
    assert len(earlier) == 1
    assert files_in(here.output / "elsewhere") == set(order.paths)
    assert files_in(here.output) == earlier | set(order.paths)
    assert len(order.paths) == 2
