"""Every picture has an address of ours, at which it can be read again for nothing."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.client import ConnectMode
from mcp.shared.exceptions import MCPError
from mcp_types import BlobResourceContents, ResourceTemplateReference, TextResourceContents
from PIL import Image

from flux2_mcp.simulator import Fault, Script
from tests.images.examples import JPEG, PNG, WEBP, shown
from tests.pictures.fixtures import PictureServer, answers, images_in, links_in
from tests.world import World, text_of, world

QUICK = Script(looks_until_done=1, plain_pictures=True)
FOREVER = 10**9
INVALID_PARAMS = -32602
TASK, PICTURE = "flux2://tasks/{task_id}", "flux2://tasks/{task_id}/images/{index}"


async def picture_at(client: Client, uri: str) -> tuple[bytes, str | None]:
    [content] = (await client.read_resource(uri)).contents
    assert isinstance(content, BlobResourceContents)
    return base64.b64decode(content.blob), content.mime_type


async def facts_at(client: Client, uri: str) -> dict[str, Any]:
    [content] = (await client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    assert content.mime_type == "application/json"
    return json.loads(content.text)


async def refusal(client: Client, uri: str) -> MCPError:
    with pytest.raises(MCPError) as caught:
        await client.read_resource(uri)
    return caught.value


def fetched(here: World) -> int:
    return sum("/generated/" in seen.path for seen in here.simulator.requests)


@pytest.mark.parametrize("data", [PNG, JPEG, WEBP], ids=["PNG", "JPEG", "WebP"])
async def test_the_original_is_read_from_its_file(tmp_path: Path, data: bytes) -> None:
    """Byte for byte, and as what it is."""
    here = world(tmp_path, QUICK)
    server = here.transport = PictureServer(here.simulator, answers(data))
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox"})
        asked = len(server.asked)
        original, media_type = await picture_at(client, f"flux2://tasks/{here.paid[0].id}/images/0")

    [saved] = here.output.iterdir()
    assert original == data == saved.read_bytes()
    assert media_type == links_in(result)[0].mime_type == Image.MIME[shown(data).format or ""]
    assert len(server.asked) == asked


async def test_an_original_whose_file_is_gone_is_fetched_again(tmp_path: Path, era: ConnectMode) -> None:
    here = world(tmp_path, QUICK, mode=era)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        [saved] = here.output.iterdir()
        before = saved.read_bytes()
        saved.unlink()
        original, _ = await picture_at(client, f"flux2://tasks/{here.paid[0].id}/images/0")

    assert original == before
    assert fetched(here) == 2
    assert [path.read_bytes() for path in here.output.iterdir()] == [before]


async def test_without_files_an_original_is_fetched_each_time(tmp_path: Path) -> None:
    here = world(tmp_path, QUICK, environ={"FLUX2_SAVE": "off"})
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        original, media_type = await picture_at(client, f"flux2://tasks/{here.paid[0].id}/images/0")

    assert shown(original).size == (1024, 1024)
    assert media_type == "image/png"
    assert not here.output.exists()


async def test_an_original_that_is_nowhere_any_more_is_said_to_be(tmp_path: Path) -> None:
    here = world(tmp_path, QUICK)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        next(here.output.iterdir()).unlink()
        here.simulator.faults.append(Fault(on="picture", status=404, times=9))
        error = await refusal(client, f"flux2://tasks/{here.paid[0].id}/images/0")

    assert "answered with HTTP status 404; the link may have expired." in str(error)


async def test_a_picture_that_a_task_does_not_have_is_told_as_such(tmp_path: Path) -> None:
    here = world(tmp_path, QUICK)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        task_id = here.paid[0].id
        for index in ("1", "99999999999999999999"):
            error = (await refusal(client, PICTURE.format(task_id=task_id, index=index))).error
            assert error.code == INVALID_PARAMS
            assert f"Task {task_id} has 1 picture(s), counted from 0." in error.message


async def test_an_index_that_is_no_number_is_told_as_such(tmp_path: Path) -> None:
    here = world(tmp_path, QUICK)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        for index in ("abc", "0.5", "%20", "0x1", "-1", "+0", "0_0", "%D9%A0"):
            error = (await refusal(client, PICTURE.format(task_id=here.paid[0].id, index=index))).error
            assert error.code == INVALID_PARAMS
            assert "counted from 0" in error.message


async def test_no_id_at_all_is_told_as_such(tmp_path: Path, era: ConnectMode) -> None:
    here = world(tmp_path, QUICK, mode=era)
    async with here.client() as client:
        error = await refusal(client, TASK.format(task_id=""))

    assert error.error.code == INVALID_PARAMS
    assert here.simulator.requests == []


@pytest.mark.parametrize("uri", [TASK, PICTURE])
async def test_an_id_that_nobody_knows_is_told_as_such(tmp_path: Path, uri: str, era: ConnectMode) -> None:
    here = world(tmp_path, QUICK, mode=era)
    async with here.client() as client:
        error = await refusal(client, uri.format(task_id="nobody-knows-it", index=0))

    assert error.error.code == INVALID_PARAMS
    assert "Neither this server nor RunAPI knows a task 'nobody-knows-it' for this key." in error.error.message


async def test_a_picture_that_is_still_being_made_says_how_to_wait_for_it(tmp_path: Path, era: ConnectMode) -> None:
    here = world(tmp_path, Script(looks_until_done=FOREVER), mode=era)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox", "wait_seconds": 0})
        task_id = here.paid[0].id
        error = await refusal(client, f"flux2://tasks/{task_id}/images/0")
        facts = await facts_at(client, f"flux2://tasks/{task_id}")
        viewed = await client.call_tool("view_image", {"task_id": task_id})

    wait = f"Task {task_id} is still being made. Call task_status with task_id='{task_id}' to wait for it."
    assert wait in error.error.message
    assert wait in text_of(viewed)
    assert facts["completed"] is False
    assert f"task_status with task_id='{task_id}'" in facts["next_step"]


async def test_a_task_that_failed_says_why(tmp_path: Path) -> None:
    here = world(tmp_path, QUICK)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox [simulate: failed]"})
        [order] = await here.orders()
        error = await refusal(client, f"flux2://tasks/{order.task_id}/images/0")
        facts = await facts_at(client, f"flux2://tasks/{order.task_id}")

    assert "Content policy violation" in error.error.message
    assert facts["pictures"][0]["status"] == "failed"
    assert "Content policy violation" in facts["pictures"][0]["error"]


async def test_a_task_can_be_read_as_data(tmp_path: Path, era: ConnectMode) -> None:
    here = world(tmp_path, QUICK, mode=era)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        [task], [saved] = here.paid, here.output.iterdir()
        facts = await facts_at(client, f"flux2://tasks/{task.id}")

    [picture] = facts["pictures"]
    [image] = picture["images"]
    assert facts["completed"] is True
    assert facts["cost_usd"] == picture["cost_usd"] == 0.05
    assert (picture["task_id"], picture["status"], picture["model"]) == (task.id, "completed", task.model)
    assert image["path"] == str(saved)
    assert task.picture_name in image["url"]
    assert image["url_expires_at"]


async def test_the_links_of_every_result_lead_to_the_originals(tmp_path: Path, era: ConnectMode) -> None:
    here = world(tmp_path, QUICK, mode=era)
    async with here.client() as client:
        first = await client.call_tool("generate", {"prompt": "a fox", "count": 3})
        task_id = here.paid[0].id
        results = [
            first,
            await client.call_tool("task_status", {"task_id": task_id}),
            await client.call_tool("view_image", {"task_id": task_id}),
            await client.call_tool(
                "remix", {"prompt": "a fox", "source_image_urls": [f"flux2://tasks/{task_id}/images/0"]}
            ),
        ]
        for result in results:
            links = links_in(result)
            assert len(links) == len(images_in(result))
            for link in links:
                original, media_type = await picture_at(client, str(link.uri))
                assert (len(original), media_type) == (link.size, link.mime_type)


async def test_reading_spends_nothing(tmp_path: Path, era: ConnectMode) -> None:
    here = world(tmp_path, QUICK, mode=era)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        task_id = here.paid[0].id
        for _ in range(2):
            await picture_at(client, f"flux2://tasks/{task_id}/images/0")
            await facts_at(client, f"flux2://tasks/{task_id}")
            await facts_at(client, "flux2://tasks")
            await facts_at(client, "flux2://pricing")
            await facts_at(client, "flux2://account")
        for uri in (TASK, PICTURE):
            await refusal(client, uri.format(task_id="nobody", index=0))

    assert len(here.creates) == len(here.paid) == 1


async def test_reading_sends_no_order_that_never_arrived(tmp_path: Path) -> None:
    """Whoever reads, and hosts read by themselves, has not said that they pay."""
    here = world(tmp_path, QUICK)
    here.simulator.faults.append(Fault(on="create", lose=True, times=99))
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        here.simulator.faults.clear()
        [order] = await here.orders()
        sent = len(here.creates)
        facts = await facts_at(client, TASK.format(task_id=order.id))
        error = await refusal(client, PICTURE.format(task_id=order.id, index=0))

    next_step = f"task_status with task_id='{order.id}' only looks"
    assert facts["completed"] is False
    assert next_step in str(facts["next_step"])
    assert next_step in error.error.message
    assert len(here.creates) == sent
    assert here.paid == []


async def test_looking_sends_no_order_that_never_arrived(tmp_path: Path) -> None:
    """view_image is said to be read-only: hosts call it without asking."""
    here = world(tmp_path, QUICK)
    here.simulator.faults.append(Fault(on="create", lose=True, times=99))
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        here.simulator.faults.clear()
        [order] = await here.orders()
        result = await client.call_tool("view_image", {"task_id": order.id})

    assert result.is_error
    assert here.paid == []


async def test_ids_of_tasks_are_completed(tmp_path: Path) -> None:
    here = world(tmp_path, QUICK)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox", "count": 3, "wait_seconds": 0})
        ids = {task.id for task in here.paid}
        for template in (TASK, PICTURE):
            reference = ResourceTemplateReference(uri=template)
            everything = await client.complete(reference, {"name": "task_id", "value": ""})
            one = await client.complete(reference, {"name": "task_id", "value": here.paid[0].id[:12]})
            nothing = await client.complete(reference, {"name": "task_id", "value": "nobody"})
            assert set(everything.completion.values) == ids
            assert one.completion.values == [here.paid[0].id]
            assert nothing.completion.values == []


async def test_a_picture_can_be_looked_at_up_to_an_edge(tmp_path: Path) -> None:
    """From its file, however often."""
    here = world(tmp_path, QUICK)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox", "output_resolution": "2k"})
        for edge in (64, 500, 2048):
            result = await client.call_tool("view_image", {"task_id": here.paid[0].id, "max_edge": edge})
            [data] = images_in(result)
            assert max(shown(data).size) == edge
            assert "2048 × 2048 pixels" in text_of(result)

    assert fetched(here) == 1


async def test_what_cannot_be_looked_at_is_said_to_be(tmp_path: Path) -> None:
    here = world(tmp_path, QUICK)
    wrong = [
        ("max_edge", 63, "max_edge"),
        ("max_edge", 2049, "max_edge"),
        ("index", 1, "from 0"),
        ("index", -1, "index"),
    ]
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        for name, value, words in wrong:
            result = await client.call_tool("view_image", {"task_id": here.paid[0].id, name: value})
            assert result.is_error
            assert words in text_of(result)
