from __future__ import annotations

from pathlib import Path

import pytest

from flux2_mcp.errors import BadSetting, PictureUnavailable, SourceRefused, Unreachable
from flux2_mcp.images import Picture
from flux2_mcp.sources import SourceLimits, checked_roots, lies_outside
from flux2_mcp.sources.paths import path_in, path_in_url
from tests.sources.owner_sources import data_uri, owner_sources, png, refusal


@pytest.mark.parametrize(
    "way",
    [
        "{home}/a fox #1?.png",
        "  {home}/a fox #1?.png\n",
        "~/a fox #1?.png",
        "file://{home}/a%20fox%20%231%3F.png",
        "file://localhost{home}/a%20fox%20%231%3F.png",
        "FILE:{home}/a%20fox%20%231%3F.png",
    ],
)
async def test_a_file_can_be_written_in_many_ways(home: Path, way: str) -> None:
    (home / "a fox #1?.png").write_bytes(png())
    async with owner_sources(home) as studio:
        assert await studio.sources.opened([way.format(home=home)])


@pytest.mark.parametrize(
    "uri",
    [
        data_uri(png()),
        data_uri(png(), "image/jpeg;base64"),
        data_uri(png(), ";base64"),
        data_uri(png(), "text/html;charset=utf-8;BASE64"),
        data_uri(png()).rstrip("="),
        data_uri(png()).replace("+", "-").replace("/", "_").replace("data:image_png", "data:image/png"),
        data_uri(png()).replace("+", "%2B").replace("=", "%3D"),
        data_uri(png())[:80] + "\r\n " + data_uri(png())[80:],
        "data:image/png," + "".join(f"%{byte:02x}" for byte in png()),
    ],
)
async def test_a_data_uri_is_what_its_bytes_are(home: Path, uri: str) -> None:
    async with owner_sources(home) as studio:
        (opened,) = await studio.sources.opened([uri])
        await studio.sources.readable_urls([opened], report=studio.words.append)

        assert [put.body for put in studio.puts] == [png()]


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("data:image/png;base64", "no comma"),
        ("data:image/png;base64,", "empty"),
        ("data:image/png;base64,iVBORw0KGgo…", "damaged or cut off"),
        ("data:image/png;base64,iVBOR", "damaged or cut off"),
        ("data:image/png;base64,%ff", "damaged or cut off"),
        ("data:image/png,\ud800", "damaged or cut off"),
        ("data:image/png,hush", "something else"),
        (data_uri(b"<svg/>", "image/png;base64"), "an SVG drawing"),
    ],
)
async def test_a_data_uri_that_is_no_picture_is_refused_unquoted(home: Path, uri: str, reason: str) -> None:
    words = await refusal(home, uri)

    assert "Source 1 of 1 (a data: URI): " in words
    assert reason in words
    assert "iVBOR" not in words
    assert "hush" not in words


@pytest.mark.parametrize(
    "uri", [data_uri(bytes(2_000)), "data:," + "a" * 1_001, "data:," + "%00" * 1_400, data_uri(bytes(9_000))]
)
async def test_a_data_uri_above_the_limit_is_refused(home: Path, uri: str) -> None:
    assert "at most" in await refusal(home, uri, limits=SourceLimits(max_bytes=1_000))


async def test_a_relative_path_is_refused_with_the_way_out(home: Path) -> None:
    words = await refusal(home, "pictures/fox.png")

    assert "It is a relative path, and hosts start this server in any folder." in words
    assert "Give an absolute path, such as /home/me/picture.png or ~/picture.png." in words


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "It is empty."),
        ("  ", "It is empty."),
        ("~somebody/fox.png", "relative path"),
        ("file:fox.png", "relative path"),
        (r"C:\Users\me\fox.png", "It is a Windows path, but this server does not run on Windows."),
        ("C:/Users/me/fox.png", "Windows path"),
        (r"\\server\share\fox.png", "Windows path"),
        ("file:///C:/Users/me/fox.png", "outside the folders"),
        ("file://server/share/fox.png", "It names another computer"),
        ("file://[/fox.png", "not a usable file: URL"),
        ("file:///home/fox.png?raw=1", "%3F"),
        ("file:///home/fox.png#1", "%23"),
        ("file:///home/fox%00.png", "a character that no path can have"),
        ("/home/\0.png", "a character that no path can have"),
        ("/home/\ud800.png", "a character that no path can have"),
        ("file:///home/\ud800.png", "outside the folders"),
        ("/home/\x1b[31mfox\udc80.png", "(/home/�[31mfox�.png)"),
        ("https://", "not a complete address"),
        ("https:///fox.png", "not a complete address"),
        ("https:fox.png", "not a complete address"),
        ("https://example.com:port/fox.png", "not a complete address"),
        ("https://[::1/fox.png", "not a complete address"),
        ("https://example.com/a fox.png", "not a complete address"),
        ("https://example.com/a\n.png", "not a complete address"),
        ("javascript:alert(1)", "javascript: addresses cannot be used."),
        ("blob:https://example.com/1", "blob: addresses cannot be used."),
        ("flux2://tasks", "flux2://tasks/TASK_ID/images/NUMBER"),
        ("flux2://tasks/../images/1", "flux2://tasks/TASK_ID/images/NUMBER"),
        ("flux2://tasks/a%2Fb/images/1", "flux2://tasks/TASK_ID/images/NUMBER"),
        ("flux2://tasks/a/images/-1", "flux2://tasks/TASK_ID/images/NUMBER"),
    ],
)
async def test_what_cannot_be_used_is_refused_with_the_reason(home: Path, given: str, reason: str) -> None:
    assert reason in await refusal(home, given)


async def test_the_secret_part_of_a_refused_address_is_not_repeated(home: Path) -> None:
    words = await refusal(home, "https://example.com/a b?signature=hush", "s3://key:hush@bucket/a.png")

    assert "hush" not in words


async def test_a_picture_of_ours_that_is_not_there_is_refused(home: Path) -> None:
    assert "Source 1 of 1 (flux2://tasks/task-9/images/1): Nobody knows task-9/1." in await refusal(
        home, "flux2://tasks/task-9/images/1"
    )


async def test_a_picture_of_ours_that_has_gone_is_refused(home: Path) -> None:
    async def gone(task_id: str, number: int) -> Picture:
        msg = "The link has expired."
        raise PictureUnavailable(msg)

    assert "The link has expired." in await refusal(home, "flux2://tasks/task-1/images/1", earlier_picture=gone)


async def test_a_picture_of_ours_has_the_same_limit(home: Path) -> None:
    async def earlier(task_id: str, number: int) -> Picture:
        return Picture(png(padding=2_000), "image/png", 8, 6)

    words = await refusal(
        home, "flux2://tasks/task-1/images/1", earlier_picture=earlier, limits=SourceLimits(max_bytes=1_000)
    )
    assert "may have 0.001 MB at most" in words


async def test_a_runapi_that_cannot_be_asked_for_ours_is_no_fault_of_the_source(home: Path) -> None:
    async def unreachable(task_id: str, number: int) -> Picture:
        msg = "RunAPI did not answer in time."
        raise Unreachable(msg)

    async with owner_sources(home, earlier_picture=unreachable) as studio:
        with pytest.raises(Unreachable):
            await studio.sources.opened(["flux2://tasks/task-1/images/1"])


def test_windows_paths_are_understood_on_windows(home: Path) -> None:
    assert str(path_in(r"C:\Users\me\fox.png", home=home, windows=True)) == r"C:\Users\me\fox.png"
    assert path_in_url("file:///C:/Users/me/a%20fox.png", windows=True) == "C:/Users/me/a fox.png"
    assert path_in(r"~\fox.png", home=home, windows=True) == home / "fox.png"


@pytest.mark.parametrize("text", [r"\\server\share\fox.png", "//server/share/fox.png", r"\\?\C:\fox.png", r"\\.\C:"])
def test_on_windows_no_path_leads_to_another_computer(home: Path, text: str) -> None:
    """To look there would already send the user's credentials."""
    with pytest.raises(SourceRefused, match="Network and device paths"):
        path_in(text, home=home, windows=True)


@pytest.mark.parametrize("text", ["fox.png", "C:fox.png", r"\fox.png"])
def test_on_windows_a_path_needs_its_drive(home: Path, text: str) -> None:
    with pytest.raises(SourceRefused, match="relative path"):
        path_in(text, home=home, windows=True)


def test_the_roots_are_home_output_temp_and_what_was_added(tmp_path: Path) -> None:
    home, linked = tmp_path / "home", tmp_path / "linked"
    linked.symlink_to(tmp_path / "real")
    roots = checked_roots(
        home,
        tmp_path / "out",
        f" {linked} : ~/scans :",
        [(tmp_path / "my project").as_uri(), "https://example.com", "file://server/share", "file:///"],
        temp=tmp_path / "temp",
    )

    names = ["home", "temp", "my project", "out", "real", "home/scans"]
    assert roots == tuple(tmp_path / name for name in names)


def test_a_home_that_is_the_whole_disk_is_no_root(tmp_path: Path) -> None:
    """Services have such a home, and nobody meant all files."""
    assert checked_roots(Path("/"), None, None, temp=tmp_path) == (tmp_path,)


def test_the_whole_disk_can_be_allowed_by_name(tmp_path: Path) -> None:
    assert Path("/") in checked_roots(tmp_path, None, "/", temp=tmp_path)


def test_a_relative_root_is_a_bad_setting(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="FLUX2_INPUT_ROOTS cannot be used: 'scans'"):
        checked_roots(tmp_path, None, "scans", temp=tmp_path)


def test_the_usual_temporary_folder_is_a_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))

    assert tmp_path / "temp" in checked_roots(tmp_path / "home", None, None)


@pytest.mark.parametrize(
    ("given", "outside"),
    [
        ("/elsewhere/fox.png", True),
        ("file:///elsewhere/fox.png", True),
        ("~/fox.png", False),
        ("fox.png", False),
        ("https://example.com/fox.png", False),
        ("data:image/png;base64,", False),
    ],
)
def test_only_a_path_as_it_is_written_lies_outside(home: Path, given: str, *, outside: bool) -> None:
    assert lies_outside(given, home=home, roots=[home]) == outside
