"""No result is larger than the strictest host accepts, and every picture is what it says it is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import httpx
import pytest
from mcp.client.client import ConnectMode
from mcp_types import CallToolResult, ImageContent

from flux2_mcp.images import Picture, media_type_of
from flux2_mcp.images.previewing import BUDGET
from flux2_mcp.simulator import Script
from tests.images.examples import JPEG, PNG, WEBP, noise
from tests.pictures.fixtures import PictureServer, encoded_result, images_in, links_in
from tests.world import World, text_of, world

MOST = 950_000
"""Bytes of a whole tools/call result; Claude Desktop refuses 1,048,576."""
LONG_FOLDER = "/".join(["pictures of the most improbable things"] * 4)
"""Paths are in the text, in the structured content and in the links."""


def gallery(home: Path, pictures: Sequence[Picture], mode: ConnectMode = "auto") -> World:
    """A world in which the first picture made is the first of these, and so on."""
    here = world(home, Script(looks_until_done=1, plain_pictures=True), mode=mode)
    nth = count()
    here.transport = PictureServer(
        here.simulator, lambda _: httpx.Response(200, content=pictures[next(nth) % len(pictures)].data)
    )
    return here


async def made(here: World, number: int, **more: object) -> CallToolResult:
    """The result with everything that makes one long, in a host that is sent structured content too."""
    async with here.client("claude-ai") as client:
        arguments = {"prompt": "a fox " * 200, "count": number, "save_to": LONG_FOLDER, **more}
        result = await client.call_tool("generate", arguments)
    assert not result.is_error
    assert result.structured_content is not None
    return result


def check_types(result: CallToolResult) -> None:
    """A host's API refuses a conversation with a picture that is not what it says (claude-code#12009)."""
    blocks = [block for block in result.content if isinstance(block, ImageContent)]
    assert [block.mime_type for block in blocks] == [media_type_of(data) for data in images_in(result)]


async def test_noise_at_full_size_fits_into_every_host(tmp_path: Path) -> None:
    """Nothing compresses worse."""
    result = await made(gallery(tmp_path, [noise(2048)]), 8)

    assert len(images_in(result)) == 8
    assert len(encoded_result(result).encode()) < MOST
    check_types(result)


async def test_noise_with_alpha_at_full_size_fits_into_every_host(tmp_path: Path) -> None:
    result = await made(gallery(tmp_path, [noise(1024, "RGBA")]), 2)

    assert len(images_in(result)) == 2
    assert len(encoded_result(result).encode()) < MOST
    check_types(result)


@pytest.mark.parametrize("number", range(1, 9))
async def test_whatever_is_beside_the_previews_leaves_them_their_budget(tmp_path: Path, number: int) -> None:
    """128 pixels stand for 1k here.

    That the previews of each mix of sizes keep to their budget is shown in tests/images/test_previews.py.
    """
    result = await made(gallery(tmp_path, [noise(128)]), number)

    shown = sum(len(block.data) for block in result.content if isinstance(block, ImageContent))
    assert len(images_in(result)) == number
    assert len(encoded_result(result).encode()) - shown + BUDGET < MOST
    check_types(result)


async def test_a_picture_to_look_at_again_fits_too(tmp_path: Path) -> None:
    here = gallery(tmp_path, [noise(2048)])
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        results = [
            await client.call_tool("view_image", {"task_id": here.paid[0].id, "max_edge": edge}) for edge in (64, 2048)
        ]

    for result in results:
        assert len(images_in(result)) == 1
        assert len(encoded_result(result).encode()) < MOST
        check_types(result)


@pytest.mark.parametrize(
    ("data", "media_type", "ending"),
    [(PNG, "image/png", ".png"), (JPEG, "image/jpeg", ".jpg"), (WEBP, "image/webp", ".webp")],
    ids=["PNG", "JPEG", "WebP"],
)
async def test_every_type_that_is_named_is_that_of_the_bytes(
    tmp_path: Path, data: bytes, media_type: str, ending: str
) -> None:
    """RunAPI's addresses end in .png, whatever lies there."""
    here = gallery(tmp_path, [Picture(data, "image/png", 30, 20)])
    result = await made(here, 1, save_to="")

    [saved], [link] = here.output.iterdir(), links_in(result)
    assert saved.suffix == ending
    assert saved.read_bytes() == data
    assert link.mime_type == media_type
    assert link.size == len(data)
    assert f"30 × 20 pixels, {media_type.removeprefix('image/').upper()}" in text_of(result)
    assert result.structured_content is not None
    assert result.structured_content["pictures"][0]["images"][0]["media_type"] == media_type
    check_types(result)
