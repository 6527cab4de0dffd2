"""Show pictures in the terminal itself, where it can."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from flux2_mcp.cli.showing.detection import Graphics, told

if TYPE_CHECKING:
    from flux2_mcp.cli.showing.drawing import Area

_USUAL_SIZE: Final = (80, 24)
_USUAL_CELL: Final = (10, 20)
_FEWEST_ROWS: Final = 6
"""Fewer show nothing."""


def add_show_argument(parser: argparse.ArgumentParser) -> None:
    """Declare how a command that makes pictures is told whether to show them."""
    parser.add_argument(
        "--show",
        action=argparse.BooleanOptionalAction,
        help="show the picture here, as coloured blocks where the terminal has no graphics (default: where it has)",
    )


@dataclass(frozen=True)
class Screen:
    """A terminal that can show pictures."""

    graphics: Graphics | Literal["half-blocks"]
    cell: tuple[int, int] | None = None
    """Width and height in pixels, if the terminal said so itself."""

    def show(self, picture: Path | bytes, *, share: int = 1) -> None:
        """Draw it below what is printed: at most as wide as the screen, and its share of half the height.

        What cannot be drawn is said on stderr: a picture is no less made for it.
        """
        from flux2_mcp.cli.showing import drawing
        from flux2_mcp.errors import PictureUnavailable
        from flux2_mcp.images import DAMAGED

        area = self._area(share)
        try:
            image = drawing.fitted(picture if isinstance(picture, bytes) else picture.read_bytes(), area)
        except FileNotFoundError:
            _say("The picture cannot be shown: its file is gone.")
            return
        except PictureUnavailable as error:
            _say(f"The picture cannot be shown. {error}")
            return
        except DAMAGED as error:
            _say(f"The picture cannot be shown: {error}.")
            return
        if self.graphics == "half-blocks":
            from rich.console import Console
            from rich.segment import Segments

            Console(file=sys.stdout).print(Segments(drawing.half_blocks(image, area)), end="")
            return
        draw = {"kitty": drawing.kitty, "iterm2": drawing.iterm2, "sixel": drawing.sixel}[self.graphics]
        _write(draw(image, area))

    def _area(self, share: int) -> Area:
        """As large as the window is now: people resize it while they wait."""
        from flux2_mcp.cli.showing.drawing import Area

        columns, lines, *pixels = _window(sys.stdout.fileno())
        cell = self.cell or (pixels[0] // columns, pixels[1] // lines)
        rows = max(lines // 2 // share, min(_FEWEST_ROWS, lines - 2), 1)
        return Area(max(1, columns - 1), rows, cell if all(cell) else _USUAL_CELL)


def screen_for(show: bool | None, *, json: bool = False) -> Screen | None:  # noqa: FBT001 what the person said
    """Where this command shall show pictures; None for nowhere. May ask the terminal, and says what cannot be done."""
    if show is False:
        return None
    problem = _problem(json=json)
    if problem is None:
        found = _with_graphics()
        if found or not show:
            return found
        problem = _colour_problem()
    if problem is None:
        return Screen("half-blocks")
    if show:
        _say(f"--show has no effect: {problem}.")
    return None


def _problem(*, json: bool) -> str | None:
    """Why nothing can be drawn at all."""
    if json:
        return "with --json only data is printed"
    return None if sys.stdout and sys.stdout.isatty() else "what is printed goes to no terminal"


def _with_graphics() -> Screen | None:
    if sys.platform == "win32":
        return None
    graphics = told(os.environ)
    if graphics != "ask":
        return Screen(graphics) if graphics else None
    if not sys.stdin:
        return None
    from flux2_mcp.cli.showing.asking import ask

    sys.stdout.flush()
    answer = ask(sys.stdin.fileno(), sys.stdout.fileno())
    return Screen("sixel", answer.cell) if answer and answer.knows_sixel else None


def _colour_problem() -> str | None:
    """Why half-blocks cannot be drawn."""
    from rich.console import Console

    console = Console(file=sys.stdout)
    if console.no_color:
        return "NO_COLOR is set, and this terminal shows pictures only as coloured text"
    if console.color_system not in {"256", "truecolor"} or not console.encoding.startswith("utf"):
        return "this terminal has too few colours or letters"
    return None


def _window(terminal: int) -> tuple[int, int, int, int]:
    """Columns, lines, and both in pixels; pixels are 0 where nobody knows."""
    width = height = 0
    if sys.platform == "win32":
        columns, lines = os.get_terminal_size(terminal)
    else:
        import fcntl
        import struct
        import termios

        lines, columns, width, height = struct.unpack("HHHH", fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8)))
    return columns or _USUAL_SIZE[0], lines or _USUAL_SIZE[1], width, height


def _write(sequence: str) -> None:
    from flux2_mcp.cli.showing.drawing import END

    try:
        sys.stdout.write(sequence)
        sys.stdout.flush()
    except KeyboardInterrupt:
        # The terminal would take all that comes for a part of the picture.
        sys.stdout.write(END)
        raise


def _say(words: str) -> None:
    print(f"flux2-mcp: {words}", file=sys.stderr)
