from __future__ import annotations

import os
import socket
import threading
import tracemalloc
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from flux2_mcp.errors import SourceRefused
from flux2_mcp.sources import Local, SourceLimits
from flux2_mcp.sources.opening import read_file
from tests.platforms import not_on, only_on
from tests.sources.owner_sources import owner_sources, png, refusal


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A sound picture that is none of ours to read."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.png").write_bytes(png("blue"))
    return folder / "secret.png"


async def test_a_file_url_outside_the_roots_is_refused(home: Path, outside: Path) -> None:
    words = await refusal(home, outside.as_uri())

    assert f"outside the folders that this server may read: {home}." in words
    assert "Nothing was charged." in words


async def test_outside_the_roots_nobody_learns_what_exists(home: Path, outside: Path) -> None:
    exists = await refusal(home, outside)
    missing = await refusal(home, outside.with_name("nobody.png"))

    assert exists.replace("secret.png", "") == missing.replace("nobody.png", "")


async def test_a_link_out_of_the_roots_is_refused(home: Path, outside: Path) -> None:
    (home / "fox.png").symlink_to(outside)

    assert "outside the folders" in await refusal(home, home / "fox.png")


async def test_a_folder_that_is_a_link_out_of_the_roots_is_refused(home: Path, outside: Path) -> None:
    (home / "pictures").symlink_to(outside.parent)

    assert "outside the folders" in await refusal(home, home / "pictures" / "secret.png")


async def test_a_link_into_the_roots_may_be_followed(home: Path, tmp_path: Path) -> None:
    (home / "fox.png").write_bytes(png())
    (tmp_path / "link.png").symlink_to(home / "fox.png")
    async with owner_sources(home) as studio:
        assert await studio.sources.opened([str(tmp_path / "link.png")])


@pytest.mark.parametrize(
    "way", ["{home}/../outside/secret.png", "~/../outside/secret.png", "file://{home}/%2e%2e/outside/secret.png"]
)
async def test_two_dots_do_not_lead_out_of_the_roots(home: Path, outside: Path, way: str) -> None:
    assert "outside the folders" in await refusal(home, way.format(home=home))


async def test_a_folder_whose_name_begins_like_a_root_is_outside(home: Path) -> None:
    (home.parent / "home2").mkdir()
    (home.parent / "home2" / "fox.png").write_bytes(png())

    assert "outside the folders" in await refusal(home, home.parent / "home2" / "fox.png")


@pytest.mark.slow
@only_on("Linux", "other systems do not say which file a descriptor is")
async def test_a_link_that_is_swapped_while_it_is_followed_wins_nothing(home: Path, outside: Path) -> None:
    """A folder that is checked, and then replaced by a link to another before the file is opened."""
    folder, parked = home / "pictures", home / "parked"
    folder.mkdir()
    (folder / "secret.png").write_bytes(png("red"))
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            folder.rename(parked)
            folder.symlink_to(outside.parent)
            folder.unlink()
            parked.rename(folder)

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen: set[bytes] = set()
    try:
        for _ in range(1000):
            try:
                seen.add(
                    await anyio.to_thread.run_sync(lambda: read_file(folder / "secret.png", roots=[home], limit=10**6))
                )
            except SourceRefused:
                continue
    finally:
        over.set()
        swapping.join()

    assert seen <= {png("red")}


def test_without_proc_the_name_still_has_to_mean_the_file(home: Path) -> None:
    """Other systems do not say which file a descriptor is."""
    (home / "fox.png").write_bytes(png())

    assert read_file(home / "fox.png", roots=[home], limit=10**6, descriptors=home / "nowhere") == png()


@pytest.mark.parametrize(
    "path", ["/dev/zero", "/dev/fd/0", "/dev/stdin", "/proc/self/fd/0", "/proc/self/environ", "/proc/self/mem"]
)
async def test_devices_and_what_the_kernel_makes_up_are_refused(home: Path, path: str) -> None:
    assert "Source 1 of 1" in await refusal(home, path)


@not_on("Windows", "nothing of the kind has a place among its files")
async def test_a_device_is_refused_also_inside_the_roots(home: Path) -> None:
    words = await refusal(home, "/dev/zero", roots=[Path("/")])

    assert "(/dev/zero): It is a device, not a picture." in words


@only_on("Linux", "it has /proc")
async def test_a_file_that_grows_is_read_no_further_than_it_was(home: Path) -> None:
    """The kernel's own files say that they are plain files of size 0."""
    assert "It grew while it was being read." in await refusal(home, "/proc/self/maps", roots=[Path("/")])


@not_on("Windows", "nothing of the kind has a place among its files")
async def test_a_pipe_does_not_hang(home: Path) -> None:
    os.mkfifo(home / "fox.png")
    with anyio.fail_after(30):
        assert "It is a pipe, not a picture." in await refusal(home, home / "fox.png")


@not_on("Windows", "nothing of the kind has a place among its files")
async def test_a_pipe_that_takes_the_place_of_a_checked_file_does_not_hang(home: Path) -> None:
    picture, pipe, shown = home / "picture", home / "pipe", home / "fox.png"
    picture.write_bytes(png())
    os.mkfifo(pipe)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for each in (picture, pipe):
                (home / "next").hardlink_to(each)
                (home / "next").replace(shown)

    def read() -> None:
        for _ in range(2000):
            with suppress(SourceRefused):
                read_file(shown, roots=[home], limit=10**6)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        with anyio.fail_after(30):
            await anyio.to_thread.run_sync(read, abandon_on_cancel=True)
    finally:
        over.set()
        swapping.join()
        os.close(os.open(pipe, os.O_RDWR))  # whoever waits for a writer goes on


@not_on("Windows", "nothing of the kind has a place among its files")
async def test_a_socket_is_refused(tmp_path: Path) -> None:
    # The path of a socket may have 108 characters.
    with socket.socket(socket.AF_UNIX) as listening:
        path = Path("/tmp") / f"flux2-{os.getpid()}.png"  # noqa: S108 the name of a test's own
        listening.bind(str(path))
        try:
            assert "It is a socket, not a picture." in await refusal(tmp_path, path, roots=[path.parent])
        finally:
            path.unlink()


async def test_a_folder_is_refused(home: Path) -> None:
    assert "It is a folder, not a picture." in await refusal(home, home)


async def test_a_missing_file_is_said_to_be_missing(home: Path) -> None:
    assert f"Source 1 of 1 ({home}/fox.png): There is no such file." in await refusal(home, home / "fox.png")


async def test_links_in_a_circle_are_refused(home: Path) -> None:
    (home / "a.png").symlink_to(home / "b.png")
    (home / "b.png").symlink_to(home / "a.png")

    assert "links cannot be followed" in await refusal(home, home / "a.png")


async def test_a_name_that_no_disk_can_have_is_refused(home: Path) -> None:
    words = await refusal(home, home / ("x" * 300))

    assert "The path is too long." in words
    assert len(words) < 400


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"<!doctype html><html></html>", "a web page (HTML)"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nhush", "something else"),
        (b"", "empty"),
        (png()[:40], "cut off or damaged"),
    ],
)
async def test_only_pictures_are_uploaded_whatever_they_are_called(home: Path, data: bytes, kind: str) -> None:
    (home / "fox.png").write_bytes(data)
    words = await refusal(home, home / "fox.png")

    assert kind in words
    assert "hush" not in words


async def test_a_file_above_the_limit_is_refused_with_its_size(home: Path) -> None:
    with (home / "fox.png").open("wb") as file:
        file.truncate(31_240_000)
    words = await refusal(home, home / "fox.png", limits=SourceLimits())

    assert "It has 31.2 MB; a source image may have 20 MB at most." in words


async def test_a_file_of_exactly_the_limit_is_accepted(home: Path) -> None:
    (home / "fox.png").write_bytes(png())
    size = len(png())
    async with owner_sources(home, limits=SourceLimits(max_bytes=size)) as studio:
        assert await studio.sources.opened(["~/fox.png"])

    assert "more than" in await refusal(home, "~/fox.png", limits=SourceLimits(max_bytes=size - 1))


async def test_too_many_pixels_are_refused(home: Path) -> None:
    (home / "fox.png").write_bytes(png())

    assert "million pixels" in await refusal(home, "~/fox.png", limits=SourceLimits(max_pixels=10))


async def test_every_unusable_source_is_named_at_once(home: Path) -> None:
    """The model fixes all of them before it asks again."""
    (home / "fox.png").write_bytes(png())
    words = await refusal(home, "~/a.png", "~/fox.png", "ftp://example.com/b.png")

    assert "Source 1 of 3 (~/a.png): There is no such file." in words
    assert "Source 2" not in words
    assert "Source 3 of 3 (ftp: …): ftp: addresses cannot be used." in words


async def test_a_server_without_roots_reads_nothing(home: Path) -> None:
    """A hosted server: its disk is not the user's."""
    (home / "fox.png").write_bytes(png())

    assert "reads no files from its own disk" in await refusal(home, "~/fox.png", roots=[])


async def test_eight_large_files_are_not_kept_in_memory(home: Path) -> None:
    """They are looked at two at a time, and only their fingerprints stay."""
    size = 8_000_000
    colours = ["red", "green", "blue", "black", "white", "yellow", "gray", "pink"]
    for colour in colours:
        (home / f"{colour}.png").write_bytes(png(colour, padding=size))
    async with owner_sources(home, limits=SourceLimits()) as studio:
        await studio.sources.opened(["~/red.png"])  # Pillow is loaded now
        tracemalloc.start()
        try:
            opened = await studio.sources.opened([f"~/{colour}.png" for colour in colours])
            kept, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert len({source.sha256 for source in opened if isinstance(source, Local)}) == 8
    assert kept < size
    assert most < 3 * size
