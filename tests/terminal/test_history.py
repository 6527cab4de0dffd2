from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.terminal.conftest import Command
from tests.world import World, world


async def drawn(home: Path, *prompts: str) -> World:
    """A history with these pictures, the last one newest."""
    here = world(home)
    async with here.client() as client:
        for prompt in prompts:
            await client.call_tool("generate", {"prompt": prompt})
    return here


async def test_history_lists_pictures_with_cost_and_file(command: Command, tmp_path: Path) -> None:
    """In a pipe every line is whole, so that grep finds prompts and paths."""
    long = "a lighthouse in a storm, " * 12
    here = await drawn(tmp_path, "a red fox", long)
    ended = await command("history")

    assert ended.code == 0, ended.err
    _, head, _, newest, oldest, *_ = ended.out.splitlines()
    assert head.split() == ["asked", "status", "cost", "prompt", "file,", "or", "task"]
    assert "completed" in oldest
    assert "$0.05" in oldest
    assert "a red fox" in oldest
    assert long.strip() in newest
    for line, order in zip((newest, oldest), await here.orders(), strict=True):
        assert order.paths[0] in line


async def test_history_can_be_narrowed_and_read_by_a_script(command: Command, tmp_path: Path) -> None:
    await drawn(tmp_path, "a red fox", "a blue fox", "a red hen")
    ended = await command("history", "--text", "red", "--status", "completed", "--limit", "1", "--json")

    document: dict[str, Any] = json.loads(ended.out)
    assert ended.code == 0
    assert [task["prompt"] for task in document["tasks"]] == ["a red hen"]


async def test_a_history_without_pictures_needs_no_key(command: Command) -> None:
    ended = await command("history", RUNAPI_API_KEY="")

    assert ended.code == 0, ended.err
    assert "No pictures were asked for yet" in ended.out


async def test_nothing_is_forgotten_without_consent(command: Command, tmp_path: Path) -> None:
    here = await drawn(tmp_path, "a red fox")
    ended = await command("history", "--forget")

    assert ended.code == 2
    assert "There is nobody to ask. Nothing was forgotten. Add --yes" in ended.err
    assert len(await here.orders()) == 1


async def test_forgetting_stops_at_a_day(command: Command, tmp_path: Path) -> None:
    here = await drawn(tmp_path, "a red fox")
    early = await command("history", "--forget", "--before", "2020-01-01", "--yes")
    kept = await here.orders()
    all_of_it = await command("history", "--forget", "--yes", "--json")

    assert early.out == "Forgotten: 0.\n"
    assert len(kept) == 1
    assert json.loads(all_of_it.out) == {"forgotten": 1}
    assert await here.orders() == ()
    assert list(here.output.iterdir())


async def test_options_that_mean_nothing_are_not_passed_over(command: Command) -> None:
    for options in (["--before", "2020-01-01"], ["--forget", "--before", "yesterday"], ["--status", "late"]):
        ended = await command("history", *options)

        assert ended.code == 2, options
        assert "Traceback" not in ended.err
