from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

from mcp_types import ImageContent, TextContent
from PIL import Image

from flux2_mcp.simulator import Script
from tests.world import text_of, world


async def test_a_picture_arrives_as_preview_file_and_words(tmp_path: Path) -> None:
    """The promise: see it, find it, know its cost."""
    here = world(tmp_path, Script(looks_until_done=2))
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a red fox", "aspect_ratio": "16:9"})

    assert not result.is_error
    [saved] = here.output.iterdir()
    assert isinstance(result.content[0], TextContent)
    assert str(saved) in result.content[0].text
    assert "$0.05" in result.content[0].text
    with Image.open(saved) as picture:
        assert picture.width / picture.height == 16 / 9
    [preview] = [block for block in result.content if isinstance(block, ImageContent)]
    with Image.open(BytesIO(base64.b64decode(preview.data))) as shown:
        assert preview.mime_type == f"image/{str(shown.format).lower()}"


async def test_a_slow_task_keeps_its_id(tmp_path: Path) -> None:
    """The task was paid for, so the model must learn how to get it later."""
    here = world(tmp_path, Script(looks_until_done=10**9))
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox", "wait_seconds": 0})

    assert not result.is_error
    [task] = here.simulator.ledger.paid_tasks()
    assert f"task_status with task_id='{task.id}'" in text_of(result)
    assert result.structured_content is not None
    assert result.structured_content["completed"] is False
