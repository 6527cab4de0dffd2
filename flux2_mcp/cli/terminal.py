"""What commands that make pictures share: their arguments, and a bar that moves while one is being made."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.prompt import Confirm

from flux2_mcp.catalogue import listed
from flux2_mcp.errors import RequestRefused
from flux2_mcp.presenters.models import ModelHelp
from flux2_mcp.settings import Settings, misspelt

Moved = Callable[[str, float | None], None]
"""Takes what is being done now, and how many seconds it all usually takes, where that is known."""


class Printer(Console):
    """A console whose reader may go; rich's own ends the program with 1 then."""

    def on_broken_pipe(self) -> None:
        """Go on without what is only told on the way, on stderr; stdout is what the command is for.

        Raises:
            BrokenPipeError: Nobody reads stdout.
        """
        if not self.stderr:
            raise BrokenPipeError
        self.quiet = True


def add_picture_arguments(parser: argparse.ArgumentParser, models: ModelHelp) -> None:
    """Declare what every command takes that makes pictures."""
    parser.add_argument("--model", default=models.known.default.name, help=models.names)
    parser.add_argument(
        "--aspect-ratio",
        default="",
        metavar="RATIO",
        help=f"{listed(models.ratios, 'or')}; to remix also auto, the source's",
    )
    parser.add_argument("--resolution", default="", help=models.resolution)
    parser.add_argument("--count", type=whole_number(), default=1, help="how many pictures, 1 to 8; each is paid for")


def number(least: float, most: float) -> Callable[[str], float]:
    """The type of an option: a number from `least` to `most`."""

    def read(text: str) -> float:
        with suppress(ValueError):
            value = float(text)
            if least <= value <= most:
                return value
        msg = f"a number from {least:.0f} to {most:.0f} is needed"
        raise argparse.ArgumentTypeError(msg)

    return read


def amount(text: str) -> float:
    """The type of an option: an amount in US dollars, with or without the sign.

    Raises:
        ArgumentTypeError: Not an amount.
    """
    try:
        return number(0, 1_000_000)(text.strip().removeprefix("$"))
    except argparse.ArgumentTypeError:
        msg = "an amount in US dollars is needed, such as 0.50"
        raise argparse.ArgumentTypeError(msg) from None


def whole_number(least: int | None = None, most: int | None = None) -> Callable[[str], int]:
    """The type of an option: a whole number, from `least` to `most` where they are given."""

    def read(text: str) -> int:
        with suppress(ValueError):
            value = int(text)
            if (least is None or least <= value) and (most is None or value <= most):
                return value
        msg = "a whole number is needed" if most is None else f"a whole number from {least} to {most} is needed"
        raise argparse.ArgumentTypeError(msg)

    return read


def checked_count(options: argparse.Namespace) -> int:
    """How many pictures.

    Raises:
        RequestRefused: Too many, or none.
    """
    from flux2_mcp.studio import MOST_PICTURES  # the login, which needs none, is there sooner without it

    if not 1 <= options.count <= MOST_PICTURES:
        msg = f"--count is 1 to {MOST_PICTURES}."
        raise RequestRefused(msg)
    return options.count


def sources(given: Sequence[str]) -> list[str]:
    """Source images as our tools take them.

    Raises:
        RequestRefused: One is a word, and no file has that name.
    """
    for each in given:
        if re.fullmatch(r"[^./\\:]*", each) and not Path(each).exists():
            msg = f"There is no file {each[:40]!r} here."
            raise RequestRefused(msg, remedy="If it belongs to the prompt, put the whole prompt in quotes.")
    return [source(each) for each in given]


def source(given: str) -> str:
    """A source image as our tools take it: a URL as it is, a file by its absolute path."""
    return given if re.match(r"[A-Za-z0-9]{2,}:", given) else absolute(given)


def absolute(path: str) -> str:
    """The absolute path, from the person's current folder. A "/" at the end marks a folder, and stays."""
    found = os.path.abspath(Path(path).expanduser())  # noqa: PTH100 Path.absolute() keeps ".."
    return found + os.sep if path.endswith(("/", os.sep)) else found


def add_save_to_argument(parser: argparse.ArgumentParser, help_text: str) -> None:
    """Declare where pictures are saved."""
    parser.add_argument("--save-to", default="", metavar="PATH", help=help_text)


def with_save_to(settings: Settings, save_to: str) -> tuple[Settings, str | None]:
    """Settings that allow what the person names on the command line, and its path without links; None for nothing.

    Without them, so that the history knows whether one leads elsewhere by the time that the picture is saved.
    """
    if not save_to:
        return settings, None
    target = Path(absolute(save_to))
    path = os.path.realpath(target) + (os.sep if save_to.endswith(("/", os.sep)) else "")
    return allowing(settings, [target.parent if target.suffix else target]), path


def allowing(settings: Settings, folders: Sequence[Path]) -> Settings:
    """Settings by which these folders may be read and written, too."""
    named = [str(folder) for folder in folders if os.pathsep not in str(folder)]
    return settings.model_copy(update={"input_roots": os.pathsep.join([settings.input_roots or "", *named])})


def settings_here() -> Settings:
    """The person's settings; a line on stderr names those that do not exist.

    Raises:
        BadSetting: An environment variable cannot be used.
    """
    if words := misspelt(os.environ):
        print(f"flux2-mcp: {words} It has no effect.", file=sys.stderr)
    return Settings.from_environ(os.environ)


@contextmanager
def live_bar(console: Console) -> Generator[Moved]:
    """One line that moves; where nobody can see it move, a line of text for everything new."""
    columns = (TextColumn("{task.description}", markup=False), _TimeBar(), TimeElapsedColumn())
    told = ""
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        line = bar.add_task("Starting", total=None)

        def moved(words: str, expected: float | None) -> None:
            nonlocal told
            bar.update(line, description=words, total=expected)
            if words != told and not console.is_terminal:
                console.print(words, highlight=False, markup=False, soft_wrap=True)
            told = words

        yield moved


def agreed(question: str) -> bool | None:
    """The person's answer; None when there is nobody to ask."""
    if not sys.stdin.isatty():
        return None
    return Confirm.ask(question, console=Printer(stderr=True), default=False)


class _TimeBar(BarColumn):
    """Fills as time passes; pulses when nobody knows how long it takes, and when it takes longer."""

    def render(self, task: Task) -> ProgressBar:
        elapsed, expected = task.elapsed or 0.0, task.total
        known = expected is not None and elapsed < expected
        return ProgressBar(
            total=expected, completed=elapsed, width=self.bar_width, pulse=not known, animation_time=task.get_time()
        )
