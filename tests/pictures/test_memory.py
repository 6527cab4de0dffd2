"""What stays in memory of pictures once their results were given."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from mcp.client import Client

from flux2_mcp.images import Picture
from flux2_mcp.simulator import Fault
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
