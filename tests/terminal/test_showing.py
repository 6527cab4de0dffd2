"""Pictures in the terminal itself: in those that can, never in a pipe, and without a trace of the question."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest
from PIL import Image

from flux2_mcp.cli.showing.detection import told
from flux2_mcp.simulator import Script, Simulator
from tests.platforms import not_on
from tests.processes import served
from tests.terminal.conftest import Command
from tests.terminal.terminals import KNOWS_NOTHING, KNOWS_SIXEL, Terminal
from tests.world import BASE_URL, world

pytestmark = not_on("Windows", "its terminals are no files, and nobody asks them")

KITTY = {"TERM": "xterm-kitty"}
ITERM2 = {"TERM_PROGRAM": "iTerm.app"}
IN_COLOUR = {"COLORTERM": "truecolor"}
RED, BLUE = (220, 20, 60), (30, 60, 200)


@pytest.fixture
async def saved(tmp_path: Path) -> Path:
    """The only picture that was ever made here: 400 × 200 pixels, red above blue."""
    async with world(tmp_path).client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
    [file] = (tmp_path / "pictures").iterdir()
    picture = Image.new("RGB", (400, 200), RED)
    picture.paste(BLUE, (0, 100, 400, 200))
    picture.save(file)
    return file


async def shown(terminal: Terminal, home: Path, **environ: str) -> Terminal:
    """The terminal after `history --show`."""
    return await terminal.run(home, "history", "--show", RUNAPI_BASE_URL=BASE_URL, **environ)


def is_red_above_blue(picture: Image.Image) -> bool:
    seen = [*pixel(picture, picture.width // 2, 2)[:3], *pixel(picture, picture.width // 2, picture.height - 3)[:3]]
    return all(abs(level - real) < 4 for level, real in zip(seen, (*RED, *BLUE), strict=True))


def pixel(picture: Image.Image, x: int, y: int) -> bytes:
    """Its red, green, blue and alpha."""
    return picture.convert("RGBA").crop((x, y, x + 1, y + 1)).tobytes()


@pytest.mark.usefixtures("saved")
async def test_kitty_is_sent_the_picture_in_pieces_and_asked_for_no_answer(tmp_path: Path) -> None:
    terminal = await shown(Terminal(lines=60), tmp_path, **KITTY)

    [(keys, picture)] = terminal.kitty_pictures()
    assert (keys["a"], keys["f"], keys["q"], keys["c"]) == ("T", "100", "2", "40")
    assert picture.size == (400, 200)
    assert is_red_above_blue(picture)
    assert not terminal.was_asked


@pytest.mark.usefixtures("saved")
async def test_iterm2_is_sent_the_picture_as_a_file(tmp_path: Path) -> None:
    terminal = await shown(Terminal(lines=60), tmp_path, **ITERM2)

    [(keys, picture)] = terminal.iterm2_pictures()
    assert (keys["inline"], keys["width"], keys["height"]) == ("1", "40", "auto")
    assert is_red_above_blue(picture)


@pytest.mark.usefixtures("saved")
async def test_a_terminal_that_answers_that_it_knows_sixel_gets_it(tmp_path: Path) -> None:
    """By its own word for the size of a cell, where the system knows none."""
    terminal = await shown(Terminal(KNOWS_SIXEL, lines=60, cell=(0, 0)), tmp_path)

    [picture] = terminal.sixel_pictures()
    assert picture.size == (400, 198)
    assert is_red_above_blue(picture)
    assert terminal.is_as_before
    assert terminal.left == ""
    assert b"62;4;22" not in terminal.screen


async def test_what_is_transparent_stays_so(tmp_path: Path, saved: Path) -> None:
    picture = Image.new("RGBA", (400, 200), (0, 0, 0, 0))
    picture.paste((*RED, 255), (0, 0, 200, 200))
    picture.save(saved)
    terminal = await shown(Terminal(KNOWS_SIXEL, lines=60), tmp_path)

    [picture] = terminal.sixel_pictures()
    assert pixel(picture, 100, 100)[3] == 255
    assert pixel(picture, 300, 100)[3] == 0


@pytest.mark.usefixtures("saved")
async def test_any_other_terminal_gets_half_blocks_when_that_is_wanted(tmp_path: Path) -> None:
    terminal = await shown(Terminal(KNOWS_NOTHING, lines=60), tmp_path, **IN_COLOUR)

    rows = terminal.rows_of_half_blocks()
    assert {len(row) for row in rows} == {40}
    assert len(rows) == 10
    assert rows[0][20] == ("220;20;60", "220;20;60")
    assert rows[-1][20] == ("30;60;200", "30;60;200")


@pytest.mark.parametrize("answer", [b"", b"\x1b[?6", b"\x1bP1$r0m\x1b\\\xff\xfe", b"\x1b[?" + b"1" * 5000])
@pytest.mark.usefixtures("saved")
async def test_silence_and_nonsense_are_no_answer_and_leave_nothing_behind(tmp_path: Path, answer: bytes) -> None:
    soon = "from flux2_mcp.cli.showing import asking; asking.TIME_TO_ANSWER = 0.2"
    terminal = await Terminal(answer).run(
        tmp_path, "history", "--show", RUNAPI_BASE_URL=BASE_URL, more=soon, **IN_COLOUR
    )

    assert terminal.was_asked
    assert terminal.code == 0
    assert terminal.rows_of_half_blocks()
    assert not terminal.sixel_pictures()
    assert terminal.is_as_before
    assert terminal.left == ""


@pytest.mark.usefixtures("saved")
async def test_who_types_ahead_loses_no_letter(tmp_path: Path) -> None:
    """Also one of a line that is not finished yet."""
    terminal = await shown(Terminal(KNOWS_SIXEL, typed=b"ls -l\ngit st"), tmp_path, **IN_COLOUR)

    assert not terminal.was_asked
    assert terminal.left == "ls -l\ngit st"


@pytest.mark.usefixtures("saved")
async def test_in_the_background_nobody_is_asked(tmp_path: Path) -> None:
    """The system would stop who reads there."""
    terminal = await Terminal(KNOWS_SIXEL).run(
        tmp_path, "history", "--show", RUNAPI_BASE_URL=BASE_URL, more="os.setpgid(0, 0)", **IN_COLOUR
    )

    assert terminal.code == 0
    assert not terminal.was_asked
    assert terminal.rows_of_half_blocks()


@pytest.mark.usefixtures("saved")
async def test_a_picture_fits_the_window_as_it_is_when_it_is_shown(tmp_path: Path) -> None:
    terminal = await shown(Terminal(KNOWS_NOTHING, lines=60, resized_to=(21, 60)), tmp_path, **IN_COLOUR)

    assert {len(row) for row in terminal.rows_of_half_blocks()} == {20}


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"NO_COLOR": "1", **IN_COLOUR}, "--show has no effect: NO_COLOR is set"),
        ({"TERM": "dumb"}, "--show has no effect: this terminal has too few colours"),
    ],
    ids=["NO_COLOR", "dumb"],
)
@pytest.mark.usefixtures("saved")
async def test_a_terminal_that_cannot_show_it_is_told_why(
    tmp_path: Path, environ: Mapping[str, str], words: str
) -> None:
    terminal = await shown(Terminal(KNOWS_NOTHING), tmp_path, **environ)

    assert terminal.code == 0
    assert terminal.is_plain
    assert words in terminal.screen.decode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89PNG\r\n\x1a\nbroken", "This PNG file is cut off or damaged."),
        (b"<html>", "It is not a PNG, JPEG, WebP or GIF picture."),
        (None, "its file is gone."),
    ],
    ids=["damaged", "something else", "gone"],
)
async def test_a_file_that_is_no_picture_any_more_is_said(
    tmp_path: Path, saved: Path, content: bytes | None, words: str
) -> None:
    if content is None:
        await anyio.Path(saved).unlink()
    else:
        await anyio.Path(saved).write_bytes(content)
    terminal = await shown(Terminal(columns=200), tmp_path, **KITTY)

    assert terminal.code == 0
    assert terminal.is_plain
    assert "The picture cannot be shown" in terminal.screen.decode()
    assert words in terminal.screen.decode()


@pytest.mark.parametrize("arguments", [["--show"], ["--show", "--json"]], ids=" ".join)
@pytest.mark.usefixtures("saved")
async def test_a_pipe_gets_no_picture(command: Command, arguments: list[str]) -> None:
    ended = await command("history", *arguments, **KITTY)

    assert ended.code == 0
    assert "\x1b" not in ended.out
    assert "--show has no effect: " in ended.err


@pytest.mark.parametrize("environ", [{}, {"FLUX2_SAVE": "off"}], ids=["saved", "not saved"])
async def test_generate_ends_with_the_picture_where_the_terminal_can_show_it(
    tmp_path: Path, environ: Mapping[str, str]
) -> None:
    async with served() as (base_url, _):
        terminal = await Terminal().run(tmp_path, "generate", "a fox", RUNAPI_BASE_URL=base_url, **KITTY, **environ)

    [(_, picture)] = terminal.kitty_pictures()
    assert terminal.code == 0
    assert picture.height <= 24 / 2 * 20
    assert terminal.screen.index(b"cost: $0.05") < terminal.screen.index(b"\x1b_G")


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [(["--no-show"], KITTY), (["--json"], KITTY), ([], IN_COLOUR)],
    ids=["--no-show", "--json", "a terminal without graphics"],
)
async def test_generate_shows_nothing_where_nobody_wants_it(
    tmp_path: Path, arguments: list[str], environ: Mapping[str, str]
) -> None:
    async with served() as (base_url, _):
        terminal = await Terminal(KNOWS_NOTHING).run(
            tmp_path, "generate", "a fox", *arguments, RUNAPI_BASE_URL=base_url, **environ
        )

    assert terminal.code == 0
    assert terminal.is_plain


async def test_several_pictures_share_the_screen_each_below_its_path(tmp_path: Path) -> None:
    async with served(Simulator(Script(looks_until_done=1, plain_pictures=True))) as (base_url, _):
        terminal = await Terminal(lines=48).run(
            tmp_path, "generate", "a fox", "--count", "2", RUNAPI_BASE_URL=base_url, **KITTY
        )

    assert [picture.height for _, picture in terminal.kitty_pictures()] == [240, 240]
    first, second = sorted(terminal.screen.index(file.name.encode()) for file in (tmp_path / "pictures").iterdir())
    assert first < terminal.screen.index(b"\x1b_G") < second


async def test_the_demo_ends_with_the_picture_and_what_to_do_next(tmp_path: Path) -> None:
    hurry = "from flux2_mcp.cli import demo; demo.SECONDS = 0.1"
    terminal = await Terminal().run(tmp_path, "demo", more=hurry, **KITTY)

    [(_, picture)] = terminal.kitty_pictures()
    assert terminal.code == 0
    assert picture.width == picture.height
    assert terminal.screen.index(b"\x1b_G") < terminal.screen.index(b"Next: ")


@pytest.mark.parametrize(
    ("environ", "graphics"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-ghostty", "SSH_CONNECTION": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "KONSOLE_VERSION": "220400"}, "kitty"),
        ({"TERM": "xterm-256color", "KONSOLE_VERSION": "210800"}, "ask"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm2"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode", "LC_TERMINAL": "iTerm2"}, "ask"),
        ({"TERM": "xterm-256color", "WT_SESSION": "1"}, "ask"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, None),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux,1,0"}, None),  # noqa: S108 as tmux names it
        ({"TERM": "xterm-kitty", "CI": "true"}, None),
        ({"TERM": "linux"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_most_terminals_need_not_be_asked(environ: Mapping[str, str], graphics: str | None) -> None:
    """What a terminal has from the one that it was started from counts less than what it says itself."""
    assert told(environ) == graphics
