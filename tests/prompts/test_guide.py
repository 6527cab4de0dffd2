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
    text = await guide(tmp_path)

    assert set(re.findall(r"`(flux-2-[\w-]+)`", text)) == {model.name for model in catalogue().models}
    assert "| `flux-2-pro` | fast and affordable; the default |\n| `flux-2-flex` |" in text
    assert "The API takes 3 to 5000\n" in text
    assert "Up to 8 images with `flux-2-pro` and `flux-2-flex`, 1 with `flux-2-max`." in text
    assert "`flux-2-max` needs a ratio of its own." in text
    assert "RunAPI offers ratios, and 1k or 2k." in text
