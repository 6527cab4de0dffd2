"""Anything that a person calls an image can be remixed; nothing else leaves this computer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mcp.client.client import ConnectMode
from mcp_types import CallToolResult, ErrorData

from flux2_mcp.simulator import Fault, Script
from tests.pictures.fixtures import Folders, colour_at, data_uri, images_in, offering, png, puts, sources_of
from tests.world import KEY, World, text_of, world

QUICK = Script(looks_until_done=1, plain_pictures=True)
LINK = "https://example.com/fox.png?signature=hush"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With the temporary folder beside it, so that not everything in a test lies in one."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    home = tmp_path / "home"
    home.mkdir()
    (home / "fox.png").write_bytes(png("red"))
    return home


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A picture that lies in no folder that may be read."""
    (tmp_path / "outside").mkdir()
    picture = tmp_path / "outside" / "fox.png"
    picture.write_bytes(png("blue"))
    return picture


async def remixed(here: World, *sources: str, **more: object) -> CallToolResult:
    async with here.client() as client:
        return await client.call_tool("remix", {"prompt": "a fox", "source_image_urls": list(sources), **more})


@pytest.mark.parametrize("way", ["{home}/fox.png", "~/fox.png", "file://{home}/fox.png", "FILE://{home}/fox.png"])
async def test_a_local_picture_is_lent_to_runapi(home: Path, way: str) -> None:
    here = world(home, QUICK)
    result = await remixed(here, way.format(home=home))

    assert not result.is_error
    assert len(images_in(result)) == 1
    [create], [put] = here.creates, puts(here)
    [url] = sources_of(create)
    assert url.startswith("https://runapi.test/temp/")
    assert put.body == png("red")


async def test_sources_of_every_kind_go_together(home: Path, era: ConnectMode) -> None:
    here = world(home, QUICK, mode=era)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        earlier = f"flux2://tasks/{here.paid[0].id}/images/0"
        sources = [LINK, str(home / "fox.png"), data_uri(png("green")), earlier]
        result = await client.call_tool("remix", {"prompt": "four foxes", "source_image_urls": sources})

    assert not result.is_error
    _, create = here.creates
    link, *lent = sources_of(create)
    [original] = [path for path in here.output.iterdir() if "four" not in path.name]
    assert link == LINK
    assert all(url.startswith("https://runapi.test/temp/") for url in lent)
    assert {put.body for put in puts(here)} == {png("red"), png("green"), original.read_bytes()}


async def test_the_sources_can_be_seen_in_the_remix(home: Path) -> None:
    (home / "sea.png").write_bytes(png("blue"))
    here = world(home, Script(looks_until_done=1))
    await remixed(here, str(home / "fox.png"), str(home / "sea.png"), aspect_ratio="16:9")

    [saved] = here.output.iterdir()
    left, right = colour_at(saved, across=0.25), colour_at(saved, across=0.75)
    assert left[0] > 190
    assert left[2] < 90
    assert right[2] > 190
    assert right[0] < 90


async def test_the_same_content_is_uploaded_once(home: Path, era: ConnectMode) -> None:
    """However it is written, in one call and in the next."""
    (home / "copy.png").write_bytes(png("red"))
    here = world(home, QUICK, mode=era)
    async with here.client() as client:
        sources = [str(home / "fox.png"), "~/copy.png", data_uri(png("red"))]
        first = {"prompt": "three foxes", "source_image_urls": sources, "count": 2}
        await client.call_tool("remix", first)
        await client.call_tool("remix", {"prompt": "one fox", "source_image_urls": sources[:1]})

    assert len(here.paid) == 3
    assert len(puts(here)) == 1
    assert len({url for create in here.creates for url in sources_of(create)}) == 1


async def test_an_upload_that_is_about_to_expire_is_made_again(home: Path) -> None:
    """RunAPI would find nothing there by the time it paints."""
    here = world(home, Script(looks_until_done=1, plain_pictures=True, url_seconds=200))
    async with here.client() as client:
        for prompt in ("one fox", "another fox"):
            result = await client.call_tool("remix", {"prompt": prompt, "source_image_urls": ["~/fox.png"]})
            assert not result.is_error

    assert len(puts(here)) == 2
    assert len({url for create in here.creates for url in sources_of(create)}) == 2


async def test_the_upload_carries_neither_key_nor_name(home: Path) -> None:
    (home / "my passport.png").write_bytes(png("green"))
    here = world(home, QUICK)
    result = await remixed(here, str(home / "my passport.png"))

    [put] = puts(here)
    assert not result.is_error
    assert KEY not in repr(put.headers)
    assert all(b"passport" not in seen.body and "passport" not in seen.path for seen in here.simulator.requests)


@pytest.mark.parametrize(
    ("number", "model", "words"),
    [(0, "flux-2-pro", "1 to 8"), (9, "flux-2-pro", "1 to 8"), (9, "flux-2-flex", "1 to 8"), (2, "flux-2-max", "1 ")],
)
async def test_sources_are_counted_before_any_is_read(home: Path, number: int, model: str, words: str) -> None:
    here = world(home, QUICK, environ={"FLUX2_ALLOW_UNKNOWN_PRICE": "true"})
    result = await remixed(here, *["~/fox.png"] * number, model=model, aspect_ratio="1:1")

    assert result.is_error
    assert words in text_of(result)
    assert "Nothing was charged." in text_of(result)
    assert here.simulator.requests == []


@pytest.mark.parametrize(("number", "model"), [(8, "flux-2-pro"), (1, "flux-2-max")])
async def test_as_many_sources_as_the_model_takes_are_sent(home: Path, number: int, model: str) -> None:
    for nth in range(number):
        (home / f"{nth}.png").write_bytes(png("red", edge=10 + nth))
    here = world(home, QUICK, environ={"FLUX2_ALLOW_UNKNOWN_PRICE": "true"})
    sources = [f"~/{nth}.png" for nth in range(number)]
    result = await remixed(here, *sources, model=model, aspect_ratio="1:1")

    assert not result.is_error
    assert len(puts(here)) == number
    assert len(sources_of(here.creates[0])) == number


REFUSED = {
    "outside": ("{outside}", "outside the folders"),
    "file: URL outside": ("file://{outside}", "outside the folders"),
    "symlink out": ("{home}/link.png", "outside the folders"),
    "dots": ("{home}/../outside/fox.png", "outside the folders"),
    "escaped dots": ("file://{home}/%2e%2e/outside/fox.png", "outside the folders"),
    "device": ("/dev/zero", "outside the folders"),
    "directory": ("{home}", "It is a folder, not a picture."),
    "SVG": ("{home}/fox.svg", "this is an SVG drawing"),
    "secret": ("{home}/.ssh/id_ed25519", "this is something else"),
    "missing": ("{home}/gone.png", "There is no such file."),
    "nobody's picture": ("flux2://tasks/nobody/images/0", "knows a task 'nobody'"),
}


@pytest.mark.parametrize(("source", "words"), REFUSED.values(), ids=REFUSED)
async def test_what_must_not_be_read_is_refused_before_anything_is_sent(
    home: Path, outside: Path, source: str, words: str
) -> None:
    (home / "link.png").symlink_to(outside)
    (home / "fox.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>", encoding="utf-8")
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_ed25519").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nhush", encoding="utf-8")
    here = world(home, QUICK)
    result = await remixed(here, "~/fox.png", source.format(home=home, outside=outside))

    assert result.is_error
    assert "Source 2 of 2" in text_of(result)
    assert words in text_of(result)
    assert "hush" not in text_of(result)
    assert "Nothing was charged." in text_of(result)
    assert puts(here) == []
    assert here.creates == []


async def test_flux2_input_roots_add_folders(home: Path, outside: Path) -> None:
    here = world(home, QUICK, environ={"FLUX2_INPUT_ROOTS": str(outside.parent)})
    result = await remixed(here, str(outside))

    assert not result.is_error
    assert [put.body for put in puts(here)] == [png("blue")]


@pytest.mark.parametrize("way", ["{}", "file://{}", "FILE://{}", "  {}\n"])
async def test_a_folder_that_the_host_offers_may_be_read(home: Path, outside: Path, way: str, era: ConnectMode) -> None:
    here, folders = world(home, QUICK, mode=era), Folders([outside.parent])
    async with offering(here, folders) as client:
        arguments = {"prompt": "a fox", "source_image_urls": [way.format(outside)]}
        result = await client.call_tool("remix", arguments)

    assert not result.is_error
    assert [put.body for put in puts(here)] == [png("blue")]
    assert folders.asked == 1


@pytest.mark.parametrize("source", ["~/fox.png", LINK, data_uri(png("green"))], ids=["home", "https", "data"])
async def test_a_host_is_asked_for_folders_only_when_they_matter(home: Path, source: str, era: ConnectMode) -> None:
    here, folders = world(home, QUICK, mode=era), Folders([home])
    async with offering(here, folders) as client:
        result = await client.call_tool("remix", {"prompt": "a fox", "source_image_urls": [source]})

    assert not result.is_error
    assert folders.asked == 0


async def test_a_folder_that_the_host_does_not_offer_stays_closed(home: Path, outside: Path, era: ConnectMode) -> None:
    here, folders = world(home, QUICK, mode=era), Folders([home / "project", Path("/")])
    async with offering(here, folders) as client:
        result = await client.call_tool("remix", {"prompt": "a fox", "source_image_urls": [str(outside)]})

    assert folders.asked == 1
    assert result.is_error
    assert "outside the folders" in text_of(result)
    assert puts(here) == []
    assert here.creates == []


async def test_a_host_without_folders_gets_the_way_out(home: Path, outside: Path, era: ConnectMode) -> None:
    result = await remixed(world(home, QUICK, mode=era), str(outside))

    assert result.is_error
    assert "add its folder to FLUX2_INPUT_ROOTS" in text_of(result)


async def test_a_host_that_cannot_list_its_folders_gets_the_way_out(home: Path, outside: Path) -> None:
    """It said that it can. In the modern era there is no such answer: the call does not come again."""
    here, folders = world(home, QUICK, mode="legacy"), Folders([], error=ErrorData(code=-32603, message="no workspace"))
    async with offering(here, folders) as client:
        result = await client.call_tool("remix", {"prompt": "a fox", "source_image_urls": [str(outside)]})

    assert folders.asked == 1
    assert result.is_error
    assert "add its folder to FLUX2_INPUT_ROOTS" in text_of(result)


async def test_a_host_that_never_lists_its_folders_does_not_hold_up_the_call(
    home: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flux2_mcp.server.plan.PATIENCE_FOR_ROOTS", 0.05)
    here, folders = world(home, QUICK, mode="legacy"), Folders([], silent=True)
    async with offering(here, folders) as client:
        result = await client.call_tool("remix", {"prompt": "a fox", "source_image_urls": [str(outside)]})

    assert "add its folder to FLUX2_INPUT_ROOTS" in text_of(result)


async def test_an_upload_that_runapi_did_not_accept_is_made_again(home: Path) -> None:
    """It may have lost the file, and the address of another one is what helps."""
    here = world(home, QUICK)
    here.simulator.faults.append(Fault(on="create", status=422, body={"error": "A source could not be read."}))
    arguments = {"prompt": "a fox", "source_image_urls": ["~/fox.png"]}
    async with here.client() as client:
        refused = await client.call_tool("remix", arguments)
        made = await client.call_tool("remix", arguments)

    assert refused.is_error
    assert not made.is_error
    assert len(puts(here)) == 2
    assert len({json.loads(create.body)["source_image_urls"][0] for create in here.creates}) == 2


async def test_an_upload_is_not_to_blame_for_an_empty_account(home: Path) -> None:
    here = world(home, QUICK)
    here.simulator.faults.append(Fault(on="create", status=402))
    arguments = {"prompt": "a fox", "source_image_urls": ["~/fox.png"]}
    async with here.client() as client:
        await client.call_tool("remix", arguments)
        await client.call_tool("remix", arguments)

    assert len(puts(here)) == 1


async def test_a_remix_that_takes_its_time_uploads_nothing_twice(home: Path) -> None:
    """The same words resume it; its sources lie at RunAPI already."""
    here = world(home, Script(looks_until_done=2, plain_pictures=True))
    async with here.client() as client:
        arguments = {"prompt": "a fox", "source_image_urls": ["~/fox.png"]}
        await client.call_tool("remix", {**arguments, "wait_seconds": 0})
        result = await client.call_tool("remix", arguments)

    assert len(images_in(result)) == 1
    assert len(here.paid) == len(puts(here)) == 1
