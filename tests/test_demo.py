from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from flux2_mcp import __version__
from tests.processes import finished


async def test_the_demo_ends_with_a_picture_of_the_asked_for_ratio(tmp_path: Path) -> None:
    """What a person sees first: one command, no key, a picture."""
    pictures = tmp_path / "shown"
    command = ("demo", "a red fox", "--aspect-ratio", "16:9", "--output", str(pictures))
    ended = await finished(tmp_path, "-m", "flux2_mcp", *command)

    said = ended.stdout.decode()
    assert ended.returncode == 0, said + ended.stderr.decode()
    [picture] = pictures.glob("*.png")
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert image.width * 9 == image.height * 16
    assert str(picture) in said
    assert "is painting" in said
    assert "$0.05" in said
    assert "container" not in said
    made, path, nothing, login, install, gallery = said.splitlines()[-6:]
    assert (made, path, nothing) == ("Made, at what would be $0.05 with RunAPI itself:", str(picture), "")
    assert "`flux2-mcp login`" in login
    assert "`flux2-mcp install claude-desktop`" in install
    assert "`flux2-mcp gallery`" in gallery


async def test_a_demo_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    ended = await finished(tmp_path, "-m", "flux2_mcp", "demo", "a red fox", "--aspect-ratio", "21:9")

    assert ended.returncode == 1
    assert "cannot make '21:9'" in ended.stdout.decode()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--version"], 0, f"flux2-mcp {__version__}"),
        (["--help"], 0, "demo"),
        (["serve", "--help"], 0, "--http"),
        (["simulate", "--help"], 0, "--latency"),
        (["paint"], 2, "There is no command 'paint'. `flux2-mcp --help` lists them all."),
        (["genrate", "a fox"], 2, "There is no command 'genrate'. Did you mean generate?"),
        (["serve", "--port", "8765"], 2, "--host and --port are for --http"),
        (["serve", "--colour"], 2, "unrecognized arguments"),
    ],
    ids=["version", "help", "serve", "simulate", "no such command", "mistyped", "port without http", "no such option"],
)
async def test_the_command_line_explains_itself(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    ended = await finished(tmp_path, "-m", "flux2_mcp", *arguments)

    assert ended.returncode == code
    assert words in (ended.stdout if code == 0 else ended.stderr).decode()
    assert b"Traceback" not in ended.stderr


async def test_a_setting_that_cannot_be_used_ends_the_start_with_its_name(tmp_path: Path) -> None:
    ended = await finished(tmp_path, "-m", "flux2_mcp", FLUX2_PREVIEW="huge")

    assert ended.returncode == 2
    assert b"FLUX2_PREVIEW" in ended.stderr
    assert b"Traceback" not in ended.stderr
    assert ended.stdout == b""


async def test_a_setting_that_does_not_exist_is_named_at_the_start(tmp_path: Path) -> None:
    ended = await finished(tmp_path, "-m", "flux2_mcp", FLUX2_DAILY_BUGDET="1.00")

    assert ended.returncode == 0
    assert b"did you mean FLUX2_DAILY_BUDGET?" in ended.stderr
