"""Record how the commands look in a terminal with graphics: python scripts/record_terminal.py [FILE.svg].

Runs the demo, and a generate on the simulator, in a terminal of its own, and writes docs/demo.svg: what was on the
screen when, as a drawing that moves. Where nothing may move, it shows the end.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from base64 import b64decode, b64encode
from codecs import getincrementaldecoder
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pyte
from PIL import Image
from pyte.screens import Char

ROOT: Final = Path(__file__).resolve().parent.parent
COLUMNS, LINES = 100, 26
CELL: Final = (9, 20)
"""Pixels of the drawing; the terminal says twice as many, so that pictures are sharp on every screen."""
MARGIN, TITLE = 18, 38
PORT: Final = 8797
HOME: Final = "/home/me"
"""What is shown for the folder where all this happens."""
KEY_STROKE, FRAME, PAUSE, LAST_PAUSE = 0.05, 0.5, 4.0, 6.0
"""Seconds."""
LARGEST: Final = 100_000
LONGEST_SILENCE: Final = 1.0
"""Seconds of a silence that are shown: how long a program takes to start depends on the machine."""

INK, PAPER, FRAME_INK = "#d8dee9", "#16181d", "#2a2e37"
COLOURS: Final[Mapping[str, str]] = {
    "black": "#3b4252",
    "red": "#e06c75",
    "green": "#98c379",
    "brown": "#e5c07b",
    "blue": "#61afef",
    "magenta": "#c678dd",
    "cyan": "#56b6c2",
    "white": INK,
}


@dataclass(frozen=True)
class Picture:
    """A picture on the screen, below so many lines."""

    line: int
    width: int
    height: int
    data: str = field(repr=False)


@dataclass
class Recording:
    """A screen that remembers what was on it, and when."""

    now: float = 0.0
    screen: pyte.Screen = field(default_factory=lambda: pyte.Screen(COLUMNS, LINES))
    pictures: list[Picture] = field(default_factory=list[Picture])
    frames: list[tuple[float, tuple[str, ...]]] = field(default_factory=list[tuple[float, tuple[str, ...]]])

    def __post_init__(self) -> None:
        self._stream = pyte.Stream(self.screen)

    def type(self, command: str) -> None:
        """Clear the screen, and type a command."""
        self.screen.reset()
        self.pictures.clear()
        self.write("\x1b[1;32m$\x1b[0m ")
        for letter in command:
            self.now += KEY_STROKE
            self.write(letter, apart=KEY_STROKE * 1.5)
        self.now += 0.4
        self.write("\r\n")

    def write(self, text: str, *, apart: float = 0.0) -> None:
        """Show what was written now, pictures by kitty's protocol, too; in a new frame if the last is old."""
        for position, piece in enumerate(re.split(r"((?:\x1b_G[^\x1b]*\x1b\\)+)", text)):
            if position % 2:
                self._place(piece)
            else:
                self._stream.feed(piece)
        drawn = (*self._rows(), *map(_image, self.pictures))
        if self.frames and self.now - self.frames[-1][0] < apart:
            self.frames[-1] = (self.frames[-1][0], drawn)
        else:
            self.frames.append((self.now, drawn))

    def _place(self, sequence: str) -> None:
        data = "".join(re.findall(r";([^\x1b]*)\x1b", sequence))
        file = BytesIO()
        with Image.open(BytesIO(b64decode(data))) as image:
            width, height = image.width // 2, image.height // 2
            image.convert("RGB").save(file, "JPEG", quality=72, optimize=True)
        self.pictures.append(Picture(self.screen.cursor.y, width, height, b64encode(file.getvalue()).decode()))
        self._stream.feed("\n" * (-(-height // CELL[1]) - 1))

    def _rows(self) -> Iterator[str]:
        for line, text in enumerate(self.screen.display):
            width, indent = len(text.rstrip()), len(text) - len(text.lstrip())
            cells = [self.screen.buffer[line][column] for column in range(indent, width)]
            runs = ((style, "".join(cell.data for cell in run)) for style, run in groupby(cells, key=_style))
            spans = "".join(
                f"<tspan{style}>{escape(words, quote=False)}</tspan>" if style else escape(words, quote=False)
                for style, words in runs
            )
            x, y = MARGIN + indent * CELL[0], TITLE + line * CELL[1] + 15
            # As wide as its cells, whatever the font is.
            yield f'<text x="{x}" y="{y}" textLength="{len(cells) * CELL[0]}">{spans}</text>' if cells else ""


def _style(cell: Char) -> str:
    colour = COLOURS.get(cell.fg, INK if cell.fg == "default" else f"#{cell.fg}")
    style = "" if colour == INK else f' fill="{colour}"'
    return style + (' font-weight="bold"' if cell.bold else "")


def _image(picture: Picture) -> str:
    y = TITLE + picture.line * CELL[1]
    return (
        f'<image x="{MARGIN}" y="{y}" width="{picture.width}" height="{picture.height}" '
        f'href="data:image/jpeg;base64,{picture.data}"/>'
    )


def drawing(recording: Recording) -> str:
    """Everything that was ever on the screen, each shown as long as it was there."""
    whole = recording.now + LAST_PAUSE
    seen: dict[str, list[tuple[float, float]]] = {}
    for (start, rows), end in zip(recording.frames, [*(at for at, _ in recording.frames[1:]), whole], strict=True):
        for row in filter(None, rows):
            spans = seen.setdefault(row, [])
            if spans and spans[-1][1] == start:
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((start, end))
    rules: list[str] = []
    groups: list[str] = []
    for number, (row, spans) in enumerate(seen.items()):
        steps = "".join(
            f"{start / whole:.2%}{{visibility:visible}}" + (f"{end / whole:.2%}{{visibility:hidden}}" * (end < whole))
            for start, end in spans
        )
        rules.append(f"@keyframes k{number}{{{steps}}}")
        kind = "last" if spans[-1][1] == whole else "gone"
        groups.append(f'<g class="{kind}" style="animation-name:k{number}">{row}</g>')
    width, height = COLUMNS * CELL[0] + 2 * MARGIN, LINES * CELL[1] + TITLE + MARGIN
    lights = "".join(
        f'<circle cx="{MARGIN + 6 + 20 * place}" cy="18" r="6" fill="{colour}"/>'
        for place, colour in enumerate(("#e06c75", "#e5c07b", "#98c379"))
    )
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" fill="{INK}">
<title>flux2-mcp in a terminal: the demo and generate, each ending with the picture</title>
<style>
text{{white-space:pre;font:15px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}}
g{{visibility:hidden;animation:{whole:.1f}s step-end infinite}}
@media (prefers-reduced-motion:reduce){{g{{animation:none!important}}.last{{visibility:visible}}}}
{"".join(rules)}
</style>
<rect width="{width}" height="{height}" rx="10" fill="{PAPER}"/>
<rect width="{width}" height="30" rx="10" fill="{FRAME_INK}"/>
{lights}
{"".join(groups)}
</svg>
"""


def _run(recording: Recording, command: str, environ: Mapping[str, str]) -> None:
    """Run a command in a terminal that shows pictures by kitty's protocol, and record what it writes there."""
    child, terminal = pty.fork()
    if child == 0:
        size = struct.pack("HHHH", LINES, COLUMNS, COLUMNS * CELL[0] * 2, LINES * CELL[1] * 2)
        fcntl.ioctl(0, termios.TIOCSWINSZ, size)
        os.chdir(ROOT)
        os.execvpe("sh", ["sh", "-c", command], dict(environ))  # noqa: S606, S607 ours
    letters = getincrementaldecoder("utf-8")()
    heard, kept, last = True, "", time.monotonic()
    while heard:
        try:
            kept += letters.decode(os.read(terminal, 1 << 20))
        except OSError:
            heard = False  # it has ended
        if "\x1b_G" in kept and not kept.endswith("\n") and heard:
            continue  # a picture comes in pieces
        now = time.monotonic()
        recording.now += min(now - last, LONGEST_SILENCE)
        last = now
        recording.write(kept.replace(environ["HOME"], HOME), apart=FRAME)
        kept = ""
    os.close(terminal)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        print("\n".join(recording.screen.display), file=sys.stderr)
        sys.exit(f"{command} failed")


def main() -> None:
    """Record both commands."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "demo.svg"
    recording = Recording()
    program = ".venv/bin/flux2-mcp"
    with TemporaryDirectory() as home:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "TERM": "xterm-kitty",
            "RUNAPI_BASE_URL": f"http://127.0.0.1:{PORT}",
            "RUNAPI_API_KEY": "runapi_simulated",
        }
        simulate = [program, "simulate", "--port", str(PORT), "--latency", "4"]
        with subprocess.Popen(simulate, cwd=ROOT, env=environ, stderr=subprocess.PIPE) as simulator:  # noqa: S603 ours
            assert simulator.stderr is not None  # noqa: S101
            simulator.stderr.readline()
            for command in (
                "make demo ARGS='--aspect-ratio 3:2'",
                f'{program} generate "misty mountains at dawn" --aspect-ratio 16:9',
            ):
                recording.type(command)
                _run(recording, command, environ)
                recording.now += PAUSE
            simulator.terminate()
    recording.now -= PAUSE
    text = drawing(recording)
    if len(text) > LARGEST:
        sys.exit(f"{len(text)} bytes are too many for the first thing that people load.")
    target.write_text(text, encoding="utf-8")
    print(f"{target}: {target.stat().st_size // 1024} KB, {recording.now + LAST_PAUSE:.0f} s")


if __name__ == "__main__":
    main()
