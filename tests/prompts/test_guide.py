from __future__ import annotations

import re
from pathlib import Path

from mcp.client.client import ConnectMode
from mcp_types import TextResourceContents

from flux2_mcp.catalogue import Request, catalogue
from tests.world import world


async def guide(home: Path, era: ConnectMode = "auto") -> str:
    async with world(home, mode=era, environ={"RUNAPI_API_KEY": ""}).client() as client:
        [content] = (await client.read_resource("flux2://guide")).contents
    assert isinstance(content, TextResourceContents)
    assert content.mime_type == "text/markdown"
    return content.text


async def test_the_guide_is_short_and_needs_no_key(tmp_path: Path, era: ConnectMode) -> None:
    text = await guide(tmp_path, era)

    assert text.startswith("# Prompting Flux 2")
    assert len(text.splitlines()) <= 120


async def test_the_guides_json_is_a_prompt(tmp_path: Path) -> None:
    [example] = re.findall(r"```json\n(.*?)```", await guide(tmp_path), re.DOTALL)

    catalogue().check(Request(action="text_to_image", prompt=example))


async def test_the_guide_names_the_models_and_limits_that_there_are(tmp_path: Path) -> None:
    """Whoever changes catalogue.json has to change guide.md."""
    text = await guide(tmp_path)
    tiers = catalogue().tiers

    assert set(re.findall(r"`(flux-2-\w+)`", text)) == {f"flux-2-{name}" for name in tiers}
    assert (tiers["pro"].most_sources, tiers["flex"].most_sources, tiers["max"].most_sources) == (8, 8, 1)
    assert tiers["max"].resolutions == ("1k",)
    assert tiers["pro"].cents["1k"] < tiers["flex"].cents["1k"]
    assert not tiers["max"].cents
