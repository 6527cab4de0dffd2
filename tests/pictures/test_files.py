"""Where pictures go, what they are called, and what happens when the disk does not want them."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from mcp.client.client import ConnectMode
from mcp_types import CallToolResult

from flux2_mcp.app_state import app_state
from flux2_mcp.errors import RequestRefused
from flux2_mcp.images import Destination, Destinations, Picture, read, recognise
from flux2_mcp.images.saving import Disk
from flux2_mcp.simulator import Fault, Script
from flux2_mcp.studio.fulfilment import Fulfilment
from tests.databases import history_in, locked
from tests.images.examples import PNG
from tests.pictures.fixtures import images_in
from tests.platforms import not_on
from tests.world import OWNER, World, text_of, world

QUICK = Script(looks_until_done=1, plain_pictures=True)


async def made(here: World, **arguments: object) -> CallToolResult:
    async with here.client("claude-ai") as client:
        return await client.call_tool("generate", {"prompt": "a red fox", **arguments})


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@not_on("Windows", "where pictures are is in its registry, and not in the environment")
async def test_the_usual_folder_is_flux_2_among_the_persons_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    result = await made(world(home, QUICK, environ={"FLUX2_OUTPUT_DIR": ""}))

    [saved] = files_below(home / "Pictures")
    assert saved.parent == home / "Pictures" / "Flux 2"
    assert f"File: {saved}" in text_of(result)


@pytest.mark.parametrize("setting", ["", "art"])
@not_on("Windows", "where pictures are is in its registry, and not in the environment")
async def test_nothing_is_ever_written_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """Hosts start servers in / or in a folder of theirs (chatwise#1088, ha-mcp#773)."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(elsewhere)
    environ = {"FLUX2_OUTPUT_DIR": setting, "FLUX2_DATA_DIR": "data"}
    here = world(home, QUICK, environ=environ)
    async with here.client() as client:
        for save_to in ("", "foxes", "foxes/fox.png", "./fox.png"):
            arguments = {"prompt": "a red fox", "save_to": save_to, "repeat": True}
            assert "File: " in text_of(await client.call_tool("generate", arguments))

    assert list(elsewhere.iterdir()) == []
    assert len(files_below(home / (setting or "Pictures"))) == 4


async def test_an_unknown_persons_home_is_a_folder_like_any_other(tmp_path: Path) -> None:
    """No shell stands between a host's configuration and us."""
    here = world(tmp_path, QUICK, environ={"FLUX2_DATA_DIR": "~nobody-knows-them/data"})
    result = await made(here)

    assert not result.is_error
    assert (tmp_path / "~nobody-knows-them/data/history.sqlite3").exists()


async def test_started_in_the_root_directory_it_works_as_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(os.listdir("/"))  # noqa: PTH208 - names are enough
    monkeypatch.chdir("/")
    here = world(tmp_path, QUICK)
    result = await made(here)

    [saved] = here.output.iterdir()
    assert str(saved) in text_of(result)
    assert set(os.listdir("/")) == before  # noqa: PTH208


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("🦊🦊🦊🌲", "picture"),
        ("../../x", "x"),
        ("/etc/passwd", "etc passwd"),
        ("C:\\Windows\\System32\\con.png", "C Windows System32 con.png"),
        ("ein Füchslein 狐 im Schnee", "ein Füchslein 狐 im Schnee"),
        ("fox\u202egnp.exe", "fox gnp.exe"),
        ('{"scene": "a fox"}', "scene a fox"),
        ("a fox " * 50, "a fox a fox a fox a fox a fox a fox a fox a fox a fox a fox"),
    ],
)
async def test_a_name_is_readable_and_never_a_path(tmp_path: Path, prompt: str, words: str) -> None:
    here = world(tmp_path / "home", QUICK)
    result = await made(here, prompt=prompt)

    [saved] = here.output.iterdir()
    _, named = saved.stem.split(" ", 1)
    assert named.rpartition(" ")[0] == words
    assert saved.suffix == ".png"
    assert f"File: {saved}" in text_of(result)
    assert [path for path in files_below(tmp_path) if path.suffix == ".png"] == [saved]


async def test_calls_in_the_same_second_overwrite_nothing(tmp_path: Path, era: ConnectMode) -> None:
    here = world(tmp_path, QUICK, mode=era)
    texts: list[str] = []

    async def call(arguments: dict[str, str]) -> None:
        texts.append(text_of(await client.call_tool("generate", {"prompt": "a fox", "repeat": True, **arguments})))

    async with here.client() as client, anyio.create_task_group() as group:
        for save_to in ("", "", "fox.png", "fox.png"):
            group.start_soon(call, {"save_to": save_to})

    names = {path.name for path in here.output.iterdir()}
    assert len(names) == 4
    assert {"fox.png", "fox (2).png"} < names
    assert all(f"{here.output}/{name}" in "\n".join(texts) for name in names)


async def test_a_file_of_the_persons_stays_as_it_is(tmp_path: Path) -> None:
    here = world(tmp_path, QUICK)
    here.output.mkdir()
    (here.output / "fox.png").write_bytes(b"mine")
    result = await made(here, save_to="fox.png", count=2)

    assert (here.output / "fox.png").read_bytes() == b"mine"
    assert {path.name for path in here.output.iterdir()} == {"fox.png", "fox (2).png", "fox (3).png"}
    assert all(f"{here.output}/fox ({number}).png" in text_of(result) for number in (2, 3))


@pytest.mark.parametrize(
    ("save_to", "place"),
    [("foxes", "pictures/foxes"), ("~/Desktop", "Desktop"), ("~/Desktop/my fox.png", "Desktop/my fox.png")],
)
async def test_a_call_may_say_where_its_picture_goes(tmp_path: Path, save_to: str, place: str) -> None:
    here = world(tmp_path, QUICK)
    result = await made(here, save_to=save_to)

    [saved] = [path for path in files_below(tmp_path) if path.suffix == ".png"]
    assert saved.is_relative_to(tmp_path / place)
    assert f"File: {saved}" in text_of(result)


@pytest.mark.parametrize("save_to", ["/etc/foxes", "~/../../../../fox.png", "https://example.com/fox.png", "~/way out"])
async def test_a_path_outside_the_folders_is_refused_before_anything_is_ordered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_to: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    home = tmp_path / "home"
    home.mkdir()
    (home / "way out").symlink_to(tmp_path / "elsewhere")
    here = world(home, QUICK)
    async with here.client() as client:
        results = [
            await client.call_tool("generate", {"prompt": "a fox", "save_to": save_to}),
            await client.call_tool(
                "remix", {"prompt": "a fox", "source_image_urls": ["https://example.com/1.png"], "save_to": save_to}
            ),
        ]

    for result in results:
        assert result.is_error
        assert "save_to" in text_of(result)
        assert "Nothing was charged." in text_of(result)
    assert here.simulator.requests == []
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("case", ["off", "OFF"])
async def test_nothing_is_saved_when_the_user_does_not_want_it(tmp_path: Path, case: str) -> None:
    here = world(tmp_path, QUICK, environ={"FLUX2_SAVE": case})
    result = await made(here)

    assert len(images_in(result)) == 1
    assert "File:" not in text_of(result)
    assert "URL: https://" in text_of(result)
    assert not here.output.exists()


async def test_a_call_that_names_a_path_is_saved_all_the_same(tmp_path: Path) -> None:
    here = world(tmp_path, QUICK, environ={"FLUX2_SAVE": "off"})
    result = await made(here, save_to="fox.png")

    assert f"File: {here.output / 'fox.png'}" in text_of(result)


class Refusing:
    """In the place of `Disk.write`: a disk that has no room, or takes nothing."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, path: Path, data: bytes) -> None:
        raise OSError(self.number, os.strerror(self.number), str(path))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EACCES, "this server may not write there"),
    ],
)
async def test_a_disk_that_refuses_keeps_no_picture_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    here = world(tmp_path, QUICK)
    async with here.client("claude-ai") as client:
        with monkeypatch.context() as trouble:
            trouble.setattr(Disk, "write", Refusing(number))
            result = await client.call_tool("generate", {"prompt": "a fox"})
        [task] = here.paid
        left = files_below(here.output)
        again = await client.call_tool("task_status", {"task_id": task.id})

    assert not result.is_error
    assert len(images_in(result)) == 1
    assert f"The picture was not saved in {here.output}: {words}." in text_of(result)
    assert f"Call task_status with task_id='{task.id}' to save it once that is fixed; that is free." in text_of(result)
    assert "Nothing was charged" not in text_of(result)
    assert f"URL: https://runapi.test/generated/{task.picture_name}.png" in text_of(result)
    assert left == []
    [saved] = files_below(here.output)
    assert f"File: {saved}" in text_of(again)
    assert len(here.paid) == 1


async def test_an_output_folder_that_is_a_file_keeps_no_picture_back(tmp_path: Path) -> None:
    (tmp_path / "pictures").write_bytes(b"mine")
    result = await made(world(tmp_path, QUICK))

    assert len(images_in(result)) == 1
    assert f"not saved in {tmp_path / 'pictures'}: there is a file in the place of a folder." in text_of(result)
    assert (tmp_path / "pictures").read_bytes() == b"mine"


async def test_a_home_that_cannot_be_written_to_at_all_keeps_no_picture_back(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    environ = {"FLUX2_OUTPUT_DIR": str(tmp_path / "file/pictures"), "FLUX2_HISTORY": "off"}
    here = world(tmp_path, QUICK, environ=environ)
    result = await made(here)

    assert not result.is_error
    assert len(images_in(result)) == 1
    assert "there is a file in the place of a folder" in text_of(result)
    assert "cost: $0.05" in text_of(result)


async def test_a_path_that_was_taken_meanwhile_keeps_no_picture_back(tmp_path: Path) -> None:
    """It was fine when the picture was ordered. To say now that nothing was charged would be wrong."""
    here = world(tmp_path, Script(looks_until_done=2, plain_pictures=True))
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox", "save_to": "foxes", "wait_seconds": 0})
        here.output.mkdir(exist_ok=True)
        (here.output / "foxes").write_bytes(b"mine")
        result = await client.call_tool("task_status", {"task_id": here.paid[0].id})

    assert len(images_in(result)) == 1
    assert "which is a file, and files are never overwritten." in text_of(result)
    assert "Nothing was charged" not in text_of(result)
    assert "to save it once that is fixed" in text_of(result)


@pytest.mark.parametrize("save_to", ["foxes/fox.png", "~/Desktop/fox.png"])
async def test_a_picture_that_comes_later_goes_where_its_call_said(
    tmp_path: Path, save_to: str, era: ConnectMode
) -> None:
    here = world(tmp_path, Script(looks_until_done=2, plain_pictures=True), mode=era)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox", "save_to": save_to, "wait_seconds": 0})
    async with here.client() as client:
        result = await client.call_tool("task_status", {"task_id": here.paid[0].id})

    saved = tmp_path / save_to[2:] if save_to.startswith("~") else here.output / save_to
    assert saved.is_file()
    assert f"File: {saved}" in text_of(result)


@pytest.mark.parametrize("mounted", [True, False], ids=["mounted", "inside"])
async def test_a_file_inside_our_container_is_said_to_be_there(tmp_path: Path, *, mounted: bool) -> None:
    """Otherwise the person looks for it in vain (elevenlabs-mcp#43); in a mounted folder they find it."""
    here = world(tmp_path, QUICK, root=tmp_path / "root")
    (here.root / "opt" / "flux2-mcp").mkdir(parents=True)
    (here.root / "opt" / "flux2-mcp" / "image").touch()
    (here.root / "proc" / "self").mkdir(parents=True)
    mounts = f"24 22 8:1 /art {here.output} rw - ext4 /dev/sda1 rw\n" if mounted else ""
    (here.root / "proc" / "self" / "mountinfo").write_text(f"22 1 0:21 / / rw - overlay overlay rw\n{mounts}")
    usual = await made(here)
    elsewhere = await made(here, save_to="~/fox.png")

    word = "inside this server's container"
    assert (word in text_of(usual)) is not mounted
    assert usual.structured_content is not None
    assert (word in usual.structured_content.get("note", "")) is not mounted
    assert word in text_of(elsewhere)


def test_destinations_know_where_a_picture_goes(tmp_path: Path) -> None:
    destinations = Destinations(tmp_path, tmp_path / "art", roots=(tmp_path,), saves=True)

    assert destinations.destination(None) == Destination(tmp_path / "art")
    assert destinations.destination("fox.png") == Destination(tmp_path / "art", "fox")
    with pytest.raises(RequestRefused):
        destinations.destination("/etc/fox.png")


def test_destinations_that_do_not_save_still_do_when_asked(tmp_path: Path) -> None:
    destinations = Destinations(tmp_path, tmp_path / "art", roots=(tmp_path,), saves=False)

    assert destinations.destination(None) is None
    assert destinations.destination("") is None
    assert destinations.destination("~/fox.png") == Destination(tmp_path, "fox")


async def test_a_saved_picture_is_read_as_what_it_is_now(tmp_path: Path) -> None:
    (tmp_path / "fox.jpg").write_bytes(PNG)

    assert await read(tmp_path / "fox.jpg") == recognise(PNG) == Picture(PNG, "image/png", 30, 20)


@pytest.mark.parametrize("data", [None, b"", b"<html>", PNG[:40]], ids=["gone", "empty", "web page", "cut off"])
async def test_what_is_no_picture_any_more_is_not_read(tmp_path: Path, data: bytes | None) -> None:
    if data is not None:
        (tmp_path / "fox.png").write_bytes(data)

    assert await read(tmp_path / "fox.png") is None
    assert await read(tmp_path) is None


async def test_a_repeated_call_may_say_where_the_picture_goes(tmp_path: Path) -> None:
    """It takes up the first order instead of paying, and is not to lose what is new in it."""
    here = world(tmp_path, Script(looks_until_done=2, plain_pictures=True))
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox", "wait_seconds": 0})
        result = await client.call_tool("generate", {"prompt": "a fox", "save_to": "~/album/"})

    [saved] = (tmp_path / "album").iterdir()
    assert str(saved) in text_of(result)
    assert len(here.simulator.ledger.paid_tasks()) == 1


async def test_nothing_is_ordered_where_no_history_can_be_kept(tmp_path: Path) -> None:
    """What stands on the history, such as to pay once, could not be promised."""
    (tmp_path / "file").touch()
    environ = {"FLUX2_DATA_DIR": str(tmp_path / "file" / "data")}
    here = world(tmp_path, Script(looks_until_done=1, plain_pictures=True), environ=environ)
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox"})

    assert result.is_error
    assert "history" in text_of(result)
    assert "othing was ordered" in text_of(result)
    assert here.creates == []


async def test_a_picture_that_was_saved_a_moment_ago_is_found_though_its_address_is_dead_by_now(tmp_path: Path) -> None:
    """What a call saw as completed, another may have saved before it looks; the history commits such steps together."""
    here = world(tmp_path)
    await made(here)
    here.simulator.faults.append(Fault(on="picture", status=404, times=100))

    async with app_state(here.environment()) as state:
        studio = await state.studio()
        [saved] = (await state.history.recent(OWNER)).orders
        before = replace(saved, paths=())
        [image] = await Fulfilment(studio).collected(before)

    assert image.error is None
    assert [str(image.path)] == list(saved.paths)


async def test_a_picture_is_saved_elsewhere_though_the_history_cannot_be_written(tmp_path: Path) -> None:
    """Such as on a full disk, where both are."""
    here = world(tmp_path, QUICK, environ={"FLUX2_SAVE": "off"})
    await made(here)
    history = history_in(tmp_path / "data", lock_patience=0.01)
    async with app_state(replace(here.environment(), history=history)) as state:
        studio = await state.studio()
        await history.deliveries(OWNER)  # it is open
        with locked(tmp_path / "data"):
            [job] = await studio.status(here.paid[0].id, wait=0, save_to=str(tmp_path / "elsewhere"))

    [saved] = files_below(tmp_path / "elsewhere")
    assert [image.path for image in job.images] == [saved]
