"""A picture is on the disk whole or not at all, and nothing else is lost."""

from __future__ import annotations

import errno
import os
import stat
from multiprocessing import get_context
from pathlib import Path

import anyio
import pytest

from flux2_mcp.errors import PictureNotSaved
from flux2_mcp.files import Disk
from flux2_mcp.images import recognise, save
from tests.images.examples import JPEG, PNG
from tests.platforms import not_on

PICTURE = recognise(PNG)
OTHER = recognise(JPEG)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


class Refuses(Disk):
    """Takes half of the bytes, and then none."""

    def __init__(self, number: int) -> None:
        self.number = number

    def write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data[: len(data) // 2])
        raise OSError(self.number, os.strerror(self.number), str(path))


class IsTidied(Disk):
    """Somebody's program takes new pictures away at once, to where it keeps them."""

    def link(self, draft: Path, path: Path) -> None:
        super().link(draft, path)
        path.rename(path.parent.parent / path.name)


class HasNoLinks(Disk):
    """Like FAT."""

    def link(self, draft: Path, path: Path) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


class LosesDrafts(HasNoLinks):
    """And somebody tidies up at the wrong moment."""

    def link(self, draft: Path, path: Path) -> None:
        draft.unlink()
        super().link(draft, path)


async def test_the_original_bytes_are_saved(tmp_path: Path) -> None:
    path = await save(PICTURE, folder=tmp_path / "new" / "folder", name="a vase")

    assert path == tmp_path / "new" / "folder" / "a vase.png"
    assert contents(path.parent) == {"a vase.png": PNG}


async def test_the_extension_follows_from_the_bytes(tmp_path: Path) -> None:
    path = await save(OTHER, folder=tmp_path, name="v1.2")

    assert path.name == "v1.2.jpg"


async def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a vase.png").write_bytes(b"mine")

    second = await save(PICTURE, folder=tmp_path, name="a vase")
    third = await save(PICTURE, folder=tmp_path, name="a vase")

    assert (second.name, third.name) == ("a vase (2).png", "a vase (3).png")
    assert contents(tmp_path) == {"a vase.png": b"mine", "a vase (2).png": PNG, "a vase (3).png": PNG}


async def test_a_dangling_symlink_is_an_existing_file(tmp_path: Path) -> None:
    (tmp_path / "a vase.png").symlink_to(tmp_path / "elsewhere.png")

    path = await save(PICTURE, folder=tmp_path, name="a vase")

    assert path.name == "a vase (2).png"
    assert not (tmp_path / "elsewhere.png").exists()


async def test_many_saves_in_the_same_second_all_stay(tmp_path: Path) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(lambda: save(PICTURE, folder=tmp_path, name="a vase"))

    assert set(contents(tmp_path)) == {"a vase.png", *(f"a vase ({number}).png" for number in range(2, 21))}
    assert set(contents(tmp_path).values()) == {PNG}


def _save_ten(folder: Path) -> None:
    async def ten() -> None:
        for _ in range(10):
            await save(PICTURE, folder=folder, name="a vase")

    anyio.run(ten)


@pytest.mark.slow
def test_processes_do_not_overwrite_each_other(tmp_path: Path) -> None:
    processes = [get_context("spawn").Process(target=_save_ten, args=[tmp_path]) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=20)

    assert [process.exitcode for process in processes] == [0, 0]
    assert len(contents(tmp_path)) == 20
    assert set(contents(tmp_path).values()) == {PNG}


async def test_a_disk_without_hard_links_is_good_enough(tmp_path: Path) -> None:
    (tmp_path / "a vase.png").write_bytes(b"mine")

    path = await save(PICTURE, folder=tmp_path, name="a vase", disk=HasNoLinks())

    assert contents(tmp_path) == {"a vase.png": b"mine", path.name: PNG}
    assert path.name == "a vase (2).png"


async def test_a_name_that_cannot_be_filled_is_given_back(tmp_path: Path) -> None:
    with pytest.raises(PictureNotSaved):
        await save(PICTURE, folder=tmp_path, name="a vase", disk=LosesDrafts())

    assert contents(tmp_path) == {}


@not_on("Windows", "it has no such modes")
async def test_a_saved_picture_has_the_modes_of_any_file(tmp_path: Path) -> None:
    """A private temporary file would be invisible to a gallery that runs as somebody else."""
    (tmp_path / "any").write_bytes(b"")

    path = await save(PICTURE, folder=tmp_path, name="a vase")

    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "any").stat().st_mode)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EACCES, "this server may not write there"),
        (errno.EPERM, "this server may not write there"),
        (errno.EIO, "Input/output error"),
    ],
)
async def test_a_disk_that_refuses_leaves_nothing_behind(number: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "a vase.png").write_bytes(b"mine")

    with pytest.raises(PictureNotSaved) as caught:
        await save(PICTURE, folder=tmp_path, name="a vase", disk=Refuses(number))

    assert str(caught.value) == f"The picture was not saved in {tmp_path}: {said}."
    assert contents(tmp_path) == {"a vase.png": b"mine"}


async def test_a_picture_that_is_moved_at_once_was_saved(tmp_path: Path) -> None:
    """It is not read back: that asks the system's memory only what it was given a moment ago."""
    path = await save(PICTURE, folder=tmp_path / "new", name="a vase", disk=IsTidied())

    assert path == tmp_path / "new" / "a vase.png"
    assert (tmp_path / "a vase.png").read_bytes() == PNG


@pytest.mark.parametrize("below", ["", "deeper/still"])
async def test_a_file_in_the_place_of_the_folder_is_told(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")

    with pytest.raises(PictureNotSaved, match="there is a file in the place of a folder"):
        await save(PICTURE, folder=tmp_path / "file" / below, name="a vase")

    assert contents(tmp_path) == {"file": b"mine"}


async def test_a_name_that_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(PictureNotSaved, match="the path is too long"):
        await save(PICTURE, folder=tmp_path, name="x" * 300)

    assert contents(tmp_path) == {}


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/x", "a/b", "a\\b"])
async def test_a_name_is_not_a_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(PictureNotSaved):
        await save(PICTURE, folder=tmp_path / "in", name=name)

    assert contents(tmp_path) == {}


async def test_a_relative_folder_is_refused() -> None:
    """It would be below the working directory, wherever the host started us."""
    with pytest.raises(PictureNotSaved):
        await save(PICTURE, folder=Path("pictures"), name="a vase")
