from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from flux2_mcp.history import History
from tests.paid_once.backdating import time_passes
from tests.processes import served
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
    head, _, newest, oldest, *_ = ended.out.splitlines()
    assert head.split() == ["asked,", "local", "time", "status", "cost", "id", "prompt", "file,", "or", "error"]
    assert "completed" in oldest
    assert "$0.05" in oldest
    assert "a red fox" in oldest
    assert long.strip() in newest
    for line, order in zip((newest, oldest), await here.orders(), strict=True):
        assert order.paths[0] in line
        assert f" {order.handle} " in line


class Screen(io.StringIO):
    """A terminal, as wide as COLUMNS says."""

    def isatty(self) -> bool:
        return True


async def test_on_a_screen_ids_and_paths_are_whole_and_prompts_are_cut(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is broken cannot be copied; `status` takes the very id that is shown."""
    here = await drawn(tmp_path, "a lighthouse in a storm, " * 12)
    monkeypatch.setattr("sys.stdout", screen := Screen())
    ended = await command("history", COLUMNS="60", NO_COLOR="1", TERM="xterm")

    first, *below = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()
    [order] = await here.orders()
    assert ended.code == 0, ended.err
    assert len(first) <= 60
    assert first.endswith("…")
    assert [line.strip() for line in below] == [order.handle, order.paths[0]]


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


OTHER = "http://127.0.0.1:8787"


async def drawn_at_two_addresses(home: Path) -> World:
    """A fox at RunAPI, and afterwards an owl at a simulator."""
    here = await drawn(home, "a red fox")
    there = world(home)
    there.environ["RUNAPI_BASE_URL"] = OTHER
    async with there.client() as client:
        await client.call_tool("generate", {"prompt": "an owl"})
    return here


async def test_history_says_that_there_is_more_at_other_addresses(command: Command, tmp_path: Path) -> None:
    await drawn_at_two_addresses(tmp_path)
    ended = await command("history")
    document: dict[str, Any] = json.loads((await command("history", "--json")).out)

    assert "a red fox" in ended.out
    assert "an owl" not in ended.out
    assert f"Orders at other addresses: 1 at {OTHER}; --all lists them." in ended.out
    assert document["elsewhere"] == {OTHER: 1}


async def test_history_of_all_addresses_says_which(command: Command, tmp_path: Path) -> None:
    await drawn_at_two_addresses(tmp_path)
    ended = await command("history", "--all")
    document: dict[str, Any] = json.loads((await command("history", "--all", "--json")).out)
    newest: dict[str, Any] = json.loads((await command("history", "--all", "--limit", "1", "--json")).out)

    head, _, owl, fox, *_ = ended.out.splitlines()
    assert "address" in head
    assert ("an owl" in owl, OTHER in owl) == (True, True)
    assert ("a red fox" in fox, "https://runapi.test " in fox) == (True, True)
    assert [(task["prompt"], task["address"]) for task in document["tasks"]] == [
        ("an owl", OTHER),
        ("a red fox", "https://runapi.test"),
    ]
    assert [task["prompt"] for task in newest["tasks"]] == ["an owl"]
    assert "--limit" in newest["note"]


@pytest.mark.parametrize("options", [["--status", "failed"], ["--text", "wolf"], ["--limit", "1"]])
async def test_forgetting_takes_no_choice_that_it_would_not_keep_to(
    command: Command, tmp_path: Path, options: list[str]
) -> None:
    here = world(tmp_path)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
    ended = await command("history", "--forget", "--yes", *options)

    assert ended.code == 2
    assert "it would forget the other pictures, too" in ended.err
    assert len(await here.orders()) == 1


async def test_forgetting_stops_at_the_address_unless_all_is_meant(command: Command, tmp_path: Path) -> None:
    here = await drawn_at_two_addresses(tmp_path)
    one = await command("history", "--forget", "--yes")
    after_one = await here.orders()
    everything = await command("history", "--forget", "--all", "--yes")
    history = History(tmp_path / "data")
    left = await history.owners()
    await history.aclose()

    assert one.out == "Forgotten: 1.\n"
    assert f"1 at {OTHER}; --forget --all forgets them too." in one.err
    assert after_one == ()
    assert everything.out == "Forgotten: 1.\n"
    assert left == {}


async def test_forgetting_at_every_address_stops_at_a_day_too(command: Command, tmp_path: Path) -> None:
    here = await drawn_at_two_addresses(tmp_path)
    early = await command("history", "--forget", "--all", "--before", "2020-01-01", "--yes")
    history = History(tmp_path / "data")
    left = await history.owners()
    await history.aclose()

    assert early.out == "Forgotten: 0.\n"
    assert list(left.values()) == [1, 1]
    assert len(await here.orders()) == 1


async def test_what_is_saved_nowhere_is_listed_with_its_address_for_as_long_as_that_works(
    command: Command, tmp_path: Path
) -> None:
    async with served() as (base_url, runapi):
        await command("generate", "a fox", base_url=base_url, FLUX2_SAVE="off")
        fresh = await command("history", base_url=base_url)
        time_passes(tmp_path, days=8)
        old = await command("history", base_url=base_url)

    [task] = runapi.ledger.paid_tasks()
    assert f"not saved: {base_url}/generated/{task.picture_name}.png" in fresh.out
    assert "not saved: its link has expired" in old.out
