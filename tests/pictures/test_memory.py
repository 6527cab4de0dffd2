"""What stays in memory of pictures once their results were given."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import httpx
import pytest
from mcp.client import Client

from flux2_mcp.images import Picture
from flux2_mcp.images.fetching import AT_ONCE
from flux2_mcp.server import progress as progress_line
from flux2_mcp.simulator import Fault
from tests.transports import Gate, fetches
from tests.world import World, world

FOX = {"prompt": "a fox"}


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Only what nothing refers to any more is freed, as on a server whose collector is not called for a while."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def several(client: Client, _: World) -> None:
    await client.call_tool("generate", {**FOX, "count": 3})


async def remixed(client: Client, here: World) -> None:
    await client.call_tool("generate", FOX)
    [file] = here.output.glob("*.png")
    await client.call_tool("remix", {**FOX, "source_image_urls": [str(file)]})


async def looked_at_later(client: Client, here: World) -> None:
    await client.call_tool("generate", {**FOX, "wait_seconds": 0})
    await client.call_tool("task_status", {"task_id": here.paid[0].id})
    await client.call_tool("view_image", {"task_id": here.paid[0].id})


async def not_saved(client: Client, here: World) -> None:
    here.output.write_bytes(b"in the place of the folder")
    await client.call_tool("generate", FOX)


async def one_of_two_not_fetched(client: Client, here: World) -> None:
    here.simulator.faults.append(Fault(on="picture", status=404, times=1))
    await client.call_tool("generate", {**FOX, "count": 2})


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("calls", [several, remixed, looked_at_later, not_saved, one_of_two_not_fetched])
async def test_no_picture_is_held_once_its_result_was_given(
    tmp_path: Path, calls: Callable[[Client, World], Awaitable[None]]
) -> None:
    here = world(tmp_path)
    async with here.client() as client:
        await calls(client, here)
        held = [each for each in gc.get_objects() if isinstance(each, Picture)]

    assert here.paid
    assert len(held) == 0


async def test_few_pictures_are_held_at_the_same_time_and_the_others_say_that_they_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_line, "AT_LEAST_EVERY", 0.02)
    here = world(tmp_path)
    here.transport = gate = Gate(here.simulator, fetches)
    said: list[str] = []
    told = anyio.Event()

    async def listener(progress: float, total: float | None, message: str | None) -> None:
        said.append(message or "")
        if "other pictures are fetched first" in said[-1]:
            told.set()

    async def call(client: Client, prompt: str) -> None:
        await client.call_tool("generate", {"prompt": prompt, "count": 6}, progress_callback=listener)

    async with here.client() as client, anyio.create_task_group() as calls:
        for prompt in ("a fox", "a hare", "an owl"):
            calls.start_soon(call, client, prompt)
        await told.wait()
        assert gate.held <= AT_ONCE < len(here.paid)
        gate.open()

    assert len(list(here.output.glob("*.png"))) == len(here.paid) == 18


@pytest.mark.parametrize("environ", [{}, {"FLUX2_PREVIEW": "off"}], ids=["shown", "saved only"])
async def test_what_a_call_waits_with_holds_no_picture_that_is_put_away(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    """A call for two waits for the second with the preview of the first, its file and its size."""
    here = world(tmp_path, environ=environ)
    second: list[str] = []

    def fetches_second(request: httpx.Request) -> bool:
        if fetches(request) and request.url.path not in second:
            second.append(request.url.path)
        return fetches(request) and second.index(request.url.path) == 1

    here.transport = gate = Gate(here.simulator, fetches_second)

    async with here.client() as client, anyio.create_task_group() as calls:
        calls.start_soon(client.call_tool, "generate", {**FOX, "count": 2})
        await gate.holds_one()
        with anyio.fail_after(10):
            # Neither a folder nor the memory tells of what happens to it.
            while not list(here.output.glob("*.png")) or pictures_held():  # noqa: ASYNC110
                await anyio.sleep(0.01)
        gate.open()


def pictures_held() -> int:
    gc.collect()
    return sum(isinstance(each, Picture) for each in gc.get_objects())
