"""Whatever a host keeps from its model, the picture and the facts get through."""

from __future__ import annotations

import json
import re
from io import BytesIO
from pathlib import Path

import pytest
from mcp.client.client import ConnectMode
from mcp_types import CallToolResult, ImageContent
from PIL import Image

from flux2_mcp.images import media_type_of
from flux2_mcp.simulator import Script
from tests.pictures.fixtures import encoded_result, images_in, links_in
from tests.pictures.hosts import HOSTS, content_only, structured_wins
from tests.world import World, text_of, world

FOREVER = 10**9
QUICK = Script(looks_until_done=1, plain_pictures=True)
CLAIMS = re.compile(
    r"(?:you|person|user|model) (?:can see|saw|has seen|have seen|is looking|are looking)|as you can see|"
    r"(?:shown|displayed|rendered|visible) (?:above|below|to)|is now (?:visible|displayed)",
    re.IGNORECASE,
)

every_host = pytest.mark.parametrize("name", HOSTS)


async def made(here: World, name: str, **arguments: object) -> CallToolResult:
    async with here.client(name) as client:
        return await client.call_tool("generate", {"prompt": "a red fox", **arguments})


def facts(here: World) -> list[str]:
    """What a person needs, to find the picture again and to know what it cost."""
    [task], [saved] = here.paid, here.output.iterdir()
    return [task.id, str(saved), f"/generated/{task.picture_name}.png", task.model, "0.05"]


@every_host
async def test_picture_and_facts_reach_the_model(tmp_path: Path, name: str, era: ConnectMode) -> None:
    here = world(tmp_path, QUICK, mode=era)
    result = await made(here, name)
    seen = HOSTS[name](result)

    assert [fact for fact in facts(here) if fact not in seen.words] == []
    [picture] = seen.pictures
    with Image.open(BytesIO(picture)) as image:
        assert image.size == (1024, 1024)
    # Some hosts fold pictures away or lose them (claude-ai-mcp#238 and #969): the text alone is enough.
    text = text_of(result)
    assert [fact for fact in facts(here) if fact not in text] == []
    assert re.search(r"URL: \S+ \(until \d{4}-\d\d-\d\d \d\d:\d\d UTC\)", text)
    assert "1024 × 1024 pixels" in text
    assert "$0.05" in text


@every_host
async def test_an_unfinished_result_is_data_too(tmp_path: Path, name: str) -> None:
    """There is no picture yet that it could displace, and a program can act on it."""
    here = world(tmp_path, Script(looks_until_done=FOREVER))
    result = await made(here, name, wait_seconds=0)

    [task] = here.paid
    assert not result.is_error
    assert result.structured_content is not None
    assert result.structured_content["completed"] is False
    assert f"task_status with task_id='{task.id}'" in HOSTS[name](result).words
    assert f"task_status with task_id='{task.id}'" in text_of(result)


@every_host
async def test_a_picture_that_could_not_be_shown_is_data_in_every_host(tmp_path: Path, name: str) -> None:
    here = world(tmp_path, QUICK, environ={"FLUX2_PREVIEW": "off"})
    result = await made(here, name)

    assert images_in(result) == []
    assert "No preview is attached." in text_of(result)
    assert [fact for fact in facts(here) if fact not in HOSTS[name](result).words] == []


async def test_structured_is_said_to_all_when_the_user_wants_it(tmp_path: Path, era: ConnectMode) -> None:
    """Its facts are then all that Claude Code's model gets; that is the user's choice."""
    here = world(tmp_path, QUICK, mode=era, environ={"FLUX2_RESULT": "structured"})
    result = await made(here, "claude-code")
    seen = structured_wins(result)

    assert [fact for fact in facts(here) if fact not in seen.words] == []
    assert result.structured_content is not None
    [picture] = result.structured_content["pictures"]
    [image] = picture["images"]
    assert (image["width"], image["height"], image["media_type"]) == (1024, 1024, "image/png")
    assert image["url_expires_at"]
    assert images_in(result)


async def test_content_is_all_when_the_user_wants_it(tmp_path: Path, era: ConnectMode) -> None:
    here = world(tmp_path, QUICK, mode=era, environ={"FLUX2_RESULT": "content"})
    result = await made(here, "claude-ai")

    assert result.structured_content is None
    assert content_only(result).pictures


@every_host
async def test_structured_content_never_holds_a_picture(tmp_path: Path, name: str) -> None:
    """Hosts put it into the conversation as text (claude-code#70280)."""
    here = world(tmp_path, QUICK, environ={"FLUX2_RESULT": "structured"})
    async with here.client(name) as client:
        result = await client.call_tool("generate", {"prompt": "a fox", "count": 2})

    structured = json.dumps(result.structured_content)
    assert len(images_in(result)) == 2
    assert not re.search(r"[A-Za-z0-9+/=]{200}", structured)
    assert len(structured) < 4_000


@pytest.mark.parametrize(
    ("environ", "edge"), [({}, 1024), ({"FLUX2_PREVIEW": "256"}, 256), ({"FLUX2_PREVIEW": "auto"}, 1024)]
)
async def test_a_preview_is_as_large_as_the_user_wants(tmp_path: Path, environ: dict[str, str], edge: int) -> None:
    result = await made(world(tmp_path, QUICK, environ=environ), "claude-ai")

    [preview] = [block for block in result.content if isinstance(block, ImageContent)]
    [data] = images_in(result)
    with Image.open(BytesIO(data)) as image:
        assert max(image.size) == edge
    assert preview.mime_type == media_type_of(data)


@pytest.mark.parametrize("name", ["claude-code", "claude-ai"])
async def test_nobody_is_said_to_have_seen_it(tmp_path: Path, name: str) -> None:
    """The model would describe what it cannot see (claude-ai-mcp#643 and #731)."""
    here = world(tmp_path, QUICK)
    async with here.client(name) as client:
        results = [
            await client.call_tool("generate", {"prompt": "a fox"}),
            await client.call_tool("generate", {"prompt": "two foxes", "count": 2}),
            await client.call_tool("task_status", {"task_id": here.paid[0].id}),
            await client.call_tool("view_image", {"task_id": here.paid[0].id}),
        ]

    for result in results:
        assert not CLAIMS.search(encoded_result(result))
    assert all("not describe what you cannot see" in text_of(result) for result in results[:3])


@every_host
async def test_a_picture_can_be_looked_at_again(tmp_path: Path, name: str) -> None:
    here = world(tmp_path, QUICK)
    async with here.client(name) as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        [task] = here.paid
        result = await client.call_tool("view_image", {"task_id": task.id, "max_edge": 300})

    seen = HOSTS[name](result)
    [picture] = seen.pictures
    with Image.open(BytesIO(picture)) as image:
        assert image.size == (300, 300)
    assert task.id in seen.words
    [link] = links_in(result)
    assert (str(link.uri), link.mime_type) == (f"flux2://tasks/{task.id}/images/0", "image/png")
