"""With saving and previews off nobody wants the bytes of a picture: they are fetched only when somebody asks."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest
from mcp.client import Client
from mcp.client.client import ConnectMode
from mcp_types import CallToolResult, TextResourceContents

from flux2_mcp.background import meanwhile
from flux2_mcp.simulator import Script
from tests.pictures.fixtures import images_in
from tests.transports import Gate, fetches
from tests.world import World, text_of, world

NEITHER = {"FLUX2_SAVE": "off", "FLUX2_PREVIEW": "off"}
FOX = {"prompt": "a fox"}


def links_only(home: Path, mode: ConnectMode = "auto", **environ: str) -> World:
    script = Script(looks_until_done=2, plain_pictures=True)
    return world(home, script, environ={**NEITHER, **environ}, mode=mode)


def downloads(here: World) -> int:
    return sum("/generated/" in seen.path for seen in here.simulator.requests)


async def test_a_picture_that_is_neither_shown_nor_saved_is_not_downloaded(tmp_path: Path, era: ConnectMode) -> None:
    here = links_only(tmp_path, era)
    heard: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message or "")

    async with here.client() as client:
        made = await client.call_tool("generate", FOX, progress_callback=hear)
        [task] = here.paid
        asked = await client.call_tool("task_status", {"task_id": task.id})
        [shown] = (await client.read_resource(f"flux2://tasks/{task.id}")).contents

    assert downloads(here) == 0
    for result in (made, asked):
        assert f"URL: https://runapi.test/generated/{task.picture_name}.png (until " in text_of(result)
        assert "cost: $0.05" in text_of(result)
        assert result.structured_content is not None
        assert result.structured_content["completed"] is True
        [image] = result.structured_content["pictures"][0]["images"]
        assert image.keys() == {"url", "url_expires_at"}
    assert isinstance(shown, TextResourceContents)
    assert "note" not in json.loads(shown.text)["pictures"][0]["images"][0]
    assert not [words for words in (text_of(made), text_of(asked), *heard) if "etch" in words]


async def test_several_pictures_are_left_where_they_are(tmp_path: Path) -> None:
    here = links_only(tmp_path)
    async with here.client() as client:
        made = await client.call_tool("generate", {**FOX, "count": 3})

    assert "3 of 3 pictures are made; charged $0.15 in all" in text_of(made)
    assert "etch" not in text_of(made)
    assert downloads(here) == 0


async def test_a_link_that_was_handed_over_is_a_delivery(tmp_path: Path) -> None:
    """The same words mean a new picture then, as always."""
    here = links_only(tmp_path)
    async with here.client() as client:
        await client.call_tool("generate", FOX)
        again = await client.call_tool("generate", FOX)

    assert len(here.paid) == 2
    assert "not ordered anew" not in text_of(again)


async def test_whoever_asks_for_the_picture_gets_it(tmp_path: Path) -> None:
    here = links_only(tmp_path)
    async with here.client() as client:
        await client.call_tool("generate", FOX)
        [task] = here.paid
        viewed = await client.call_tool("view_image", {"task_id": task.id})
        after_the_view = downloads(here)
        await client.read_resource(f"flux2://tasks/{task.id}/images/0")

    assert len(images_in(viewed)) == 1
    assert (after_the_view, downloads(here)) == (1, 2)
    assert not here.output.exists()


async def test_whoever_wants_a_link_waits_for_no_download_of_others(tmp_path: Path) -> None:
    """Nor does whoever wants the picture get the answer of somebody who leaves it where it is."""
    here = links_only(tmp_path)
    here.transport = gate = Gate(here.simulator, fetches)
    viewed: list[CallToolResult] = []

    async def view(client: Client, task_id: str) -> None:
        viewed.append(await client.call_tool("view_image", {"task_id": task_id}))

    async with here.client() as client:
        await client.call_tool("generate", FOX)
        [task] = here.paid
        async with meanwhile(view, client, task.id):
            await gate.holds_one()
            with anyio.fail_after(10):
                asked = await client.call_tool("task_status", {"task_id": task.id})
            gate.open()
            while not viewed:
                await anyio.lowlevel.checkpoint()

    assert f"URL: https://runapi.test/generated/{task.picture_name}.png (until " in text_of(asked)
    assert len(images_in(viewed[0])) == 1
    assert downloads(here) == 1


async def test_a_call_that_names_a_path_has_its_picture_saved(tmp_path: Path) -> None:
    here = links_only(tmp_path)
    async with here.client() as client:
        made = await client.call_tool("generate", {**FOX, "save_to": "fox.png"})

    assert f"File: {here.output / 'fox.png'}" in text_of(made)
    assert (here.output / "fox.png").is_file()


@pytest.mark.parametrize("wanted", [{"FLUX2_SAVE": "on"}, {"FLUX2_PREVIEW": "auto"}], ids=str)
async def test_one_of_the_two_is_reason_enough(tmp_path: Path, wanted: dict[str, str]) -> None:
    here = links_only(tmp_path)
    here.environ |= wanted
    async with here.client() as client:
        made = await client.call_tool("generate", FOX)

    assert downloads(here) == 1
    assert "Size: " in text_of(made)


@pytest.mark.parametrize("preview", ["off", "auto"])
async def test_a_start_that_may_save_nothing_fetches_nothing(tmp_path: Path, preview: str) -> None:
    """It learns what became of the order; nobody looks at what it could fetch."""
    here = links_only(tmp_path, FLUX2_PREVIEW=preview)
    async with here.client() as client:
        await client.call_tool("generate", {**FOX, "wait_seconds": 0})
    [left_open] = await here.orders()
    here.paid[0].looks = 2
    async with here.client():
        while (await here.orders())[0].state != "completed":
            await anyio.lowlevel.checkpoint()

    assert left_open.state == "accepted"
    assert downloads(here) == 0
