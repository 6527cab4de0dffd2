"""A disk that is full, gets full, or cannot be written; and one on which there is room again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flux2_mcp.simulator import Script, Simulator
from tests.life.disks import Disk, small_disk
from tests.paid_once.test_killed import called, check_ledger, check_pictures
from tests.platforms import only_on
from tests.processes import Host, hosted, served
from tests.test_process import looked_at

pytestmark = [only_on("Linux", "it mounts a small disk"), pytest.mark.history_file]

FOX = {"prompt": "a fox"}


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Disk]:
    """Where the history is."""
    with small_disk(tmp_path / "data") as disk:
        yield disk


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "pictures") as disk:
        yield disk


def text_of(result: dict[str, list[dict[str, str]]]) -> str:
    return result["content"][0]["text"]


async def ended_well(host: Host) -> str:
    """The log of a server that ended as it should."""
    await host.hang_up()
    code = await host.ending()
    log = host.errors.read_text(encoding="utf-8")
    assert code == 0
    assert "Traceback" not in log
    return log


async def test_a_picture_for_which_there_is_no_room_is_saved_once_there_is(tmp_path: Path, pictures: Disk) -> None:
    pictures.fill()
    async with served() as (base_url, runapi), hosted(tmp_path, base_url, often=True) as host:
        unsaved = await called(host, "generate", FOX)
        left = [path.name for path in pictures.folder.iterdir()]
        pictures.free()
        [task] = runapi.ledger.tasks()
        saved = await called(host, "task_status", {"task_id": task.id})
        await check_ledger(host, runapi)
        await ended_well(host)

    said = text_of(unsaved)
    assert not unsaved["isError"]
    assert "the disk is full" in said
    assert f"Call task_status with task_id='{task.id}'" in said
    assert "URL: http" in said
    assert left == ["filler"]
    check_pictures(saved, tasks=[task.id])


async def test_nothing_is_ordered_for_which_the_history_has_no_room(tmp_path: Path, data: Disk) -> None:
    """From the start, and once it has grown. The log says it once, not at every call."""
    data.fill()
    async with served() as (base_url, runapi), hosted(tmp_path, base_url, often=True) as host:
        refused = [await called(host, "generate", FOX)]
        data.free()
        made = await called(host, "generate", FOX)
        data.fill()
        for prompt in ("a hare", "an owl", "a lynx"):
            refused.append(await called(host, "generate", {"prompt": prompt}))
            await called(host, "recent_tasks", {})
        ordered = len(runapi.ledger.tasks())
        data.free()
        more = await called(host, "generate", {"prompt": "a hare"})
        await check_ledger(host, runapi)
        log = await ended_well(host)

    for result in refused:
        assert result["isError"]
        assert "the disk is full. Nothing was ordered. Send the same call again once that is fixed." in text_of(result)
    assert ordered == 1
    assert log.count("The history cannot be") <= 3  # reading at the start, then writing and reading
    check_pictures(made, more, tasks=[task.id for task in runapi.ledger.tasks()])


async def test_an_order_during_which_the_disk_fills_up_is_paid_once(tmp_path: Path, data: Disk) -> None:
    """The picture is delivered, although that cannot be noted; and found again, also by the next process."""
    runapi = Simulator(Script(looks_until_done=10**9, plain_pictures=True))
    async with served(runapi) as (base_url, _):
        async with hosted(tmp_path, base_url, often=True) as host:
            call = await host.call("generate", FOX)
            fox = await looked_at(runapi, FOX["prompt"], times=1)
            data.fill()
            fox.looks = 10**9
            result = (await host.answer(call))["result"]
            await ended_well(host)
        data.free()
        async with hosted(tmp_path, base_url, often=True) as host:
            again = await called(host, "generate", FOX)
            await check_ledger(host, runapi)

    assert "is fetched, but not noted" in str(result["content"])
    check_pictures(result, tasks=[fox.id])
    check_pictures(again, tasks=[fox.id])
    assert len(runapi.ledger.tasks()) == 1


async def test_with_a_read_only_home_nothing_is_ordered(tmp_path: Path) -> None:
    """As in a container; no folder is named, so that both are sought there."""
    with small_disk(tmp_path / "home") as home:
        home.protect()
        nowhere = {"HOME": str(home.folder), "FLUX2_DATA_DIR": "", "FLUX2_OUTPUT_DIR": ""}
        async with served() as (base_url, runapi), hosted(tmp_path, base_url, environ=nowhere) as host:
            refused = await called(host, "generate", FOX)
            await ended_well(host)

    assert refused["isError"]
    assert "Read-only file system" in text_of(refused)
    assert "Nothing was ordered" in text_of(refused)
    assert runapi.ledger.tasks() == []


async def test_what_was_paid_is_found_while_the_history_is_read_only(tmp_path: Path, data: Disk) -> None:
    async with served() as (base_url, runapi):
        async with hosted(tmp_path, base_url, often=True) as host:
            await called(host, "generate", FOX)
            await ended_well(host)
        data.protect()
        [task] = runapi.ledger.tasks()
        async with hosted(tmp_path, base_url, often=True) as host:
            refused = await called(host, "generate", {"prompt": "a hare"})
            found = await called(host, "task_status", {"task_id": task.id})
            await ended_well(host)

    assert refused["isError"]
    assert "Nothing was ordered" in text_of(refused)
    assert len(runapi.ledger.tasks()) == 1
    check_pictures(found, tasks=[task.id])


async def test_a_picture_in_a_read_only_folder_is_shown_and_linked(tmp_path: Path, pictures: Disk) -> None:
    pictures.protect()
    async with served() as (base_url, runapi), hosted(tmp_path, base_url, often=True) as host:
        result = await called(host, "generate", FOX)
        await check_ledger(host, runapi)
        await ended_well(host)

    assert not result["isError"]
    assert "the disk is read-only" in text_of(result)
    assert "URL: http" in text_of(result)
    assert any(block["type"] == "image" for block in result["content"])
