"""How many of the model's tokens we take before and after a picture."""

from __future__ import annotations

import json
from pathlib import Path

from mcp_types import TextContent

from flux2_mcp.server.app import INSTRUCTIONS, build_server
from tests.world import world


async def test_the_list_of_tools_is_short(tmp_path: Path) -> None:
    """Over stdio, where there is the most of it; some hosts send it with every turn."""
    tools = await build_server(world(tmp_path).environment(), over_stdio=True).list_tools()
    listed = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]

    assert len(json.dumps(listed, ensure_ascii=False, separators=(",", ":"))) <= 6800


async def test_a_finished_picture_takes_few_words(tmp_path: Path) -> None:
    async with world(tmp_path).client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox in the snow, at dawn"})

    words = sum(len(block.text) for block in result.content if isinstance(block, TextContent))
    assert not result.is_error
    assert words <= 900


def test_the_instructions_are_read_at_a_glance() -> None:
    assert len(INSTRUCTIONS.splitlines()) <= 10
