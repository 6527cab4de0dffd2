"""A terminal that a test looks into, and what it makes of the pictures that are drawn there."""

from __future__ import annotations

import json
import os
import re
import sys
from base64 import b64decode
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
from PIL import Image

from tests.databases import database_setting
from tests.processes import MODULE, environment, started

QUESTION = b"\x1b[c"
KNOWS_SIXEL = b"\x1b[6;20;10t\x1b[?62;4;22c"
KNOWS_NOTHING = b"\x1b[?62;22c"

SHELL = """
import json, os, select, signal, sys, termios
os.login_tty(os.open({device!r}, os.O_RDWR))
before = termios.tcgetattr(0)
if pid := os.fork():
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    is_as_before = termios.tcgetattr(0) == before
    # As a shell reads a line: every key at once.
    before[3] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(0, termios.TCSANOW, before)
    left = ""
    while select.select([0], [], [], 0)[0]:
        left += os.read(0, 4096).decode("latin1")
    print("\\0" + json.dumps(dict(code=code, is_as_before=is_as_before, left=left)), flush=True)
    signal.pause()
{more}
"""
"""Runs the command in a terminal, and then says what it has left behind there."""


@dataclass
class Terminal:
    """As large as it says, and it answers the question what it is."""

    answer: bytes = b""
    """Empty: it stays silent."""
    typed: bytes = b""
    """What a person types before the command runs."""
    columns: int = 80
    lines: int = 24
    cell: tuple[int, int] = (10, 20)
    """In pixels; (0, 0) when it does not say."""
    resized_to: tuple[int, int] | None = None
    """Columns and lines from the question on."""
    screen: bytes = b""
    """Everything that was written there."""
    code: int | None = None
    is_as_before: bool = False
    """Whether echo and line mode are as the command found them."""
    left: str = ""
    """What nobody has read of the input."""
    _master: int = field(default=-1, init=False)

    async def run(self, home: Path, *arguments: str, more: str = "", **environ: str) -> Terminal:
        """Run `flux2-mcp ARGUMENTS` here, to its end."""
        self._master, slave = os.openpty()
        device = os.ttyname(slave)
        self._resize(self.columns, self.lines)
        os.write(self._master, self.typed)
        everything = database_setting({**environment(home, ""), "TERM": "xterm-256color", **environ})
        prelude = SHELL.format(device=device, more=more)
        try:
            with anyio.fail_after(30):
                async with started(*MODULE, *arguments, environ=everything, stdin=False, prelude=prelude):
                    await self._look()
        finally:
            os.close(self._master)
            os.close(slave)
        return self

    async def _look(self) -> None:
        is_asked = False
        while not (ended := re.search(rb"\x00(\{.*\})\r\n", self.screen)):
            await anyio.wait_readable(self._master)
            self.screen += os.read(self._master, 65536)
            if QUESTION in self.screen and not is_asked:
                is_asked = True
                self._resize(*self.resized_to or (self.columns, self.lines))
                os.write(self._master, self.answer)
        report: dict[str, Any] = json.loads(ended[1])
        self.code, self.is_as_before, self.left = report["code"], report["is_as_before"], report["left"]
        self.screen = self.screen[: ended.start()]

    def _resize(self, columns: int, lines: int) -> None:
        if sys.platform != "win32":
            import fcntl
            import struct
            import termios

            width, height = self.cell
            size = struct.pack("HHHH", lines, columns, columns * width, lines * height)
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    @property
    def was_asked(self) -> bool:
        """Whether somebody wanted to know what it is."""
        return QUESTION in self.screen

    @property
    def is_plain(self) -> bool:
        """Whether no picture was drawn."""
        return not re.search(rb"\x1b[_P]|\x1b\]1337|\xe2\x96\x80", self.screen)

    def kitty_pictures(self) -> list[tuple[dict[str, str], Image.Image]]:
        """The pictures that kitty would show, each with the keys that it was sent with."""
        pictures: list[tuple[dict[str, str], bytes]] = []
        for keys, data in re.findall(rb"\x1b_G([^;]*);([^\x1b]*)\x1b\\", self.screen):
            named = dict(pair.split("=") for pair in keys.decode().split(","))
            if "a" in named:
                pictures.append((named, b""))
            assert len(data) <= 4096
            pictures[-1] = (pictures[-1][0], pictures[-1][1] + data)
        return [(keys, Image.open(BytesIO(b64decode(data)))) for keys, data in pictures]

    def iterm2_pictures(self) -> list[tuple[dict[str, str], Image.Image]]:
        """The pictures that iTerm2 would show, each with its arguments."""
        found: list[tuple[dict[str, str], Image.Image]] = []
        for keys, data in re.findall(rb"\x1b\]1337;File=([^:]*):([^\x1b]*)\x1b\\", self.screen):
            named = dict(pair.split("=") for pair in keys.decode().split(";"))
            assert named["size"] == str(len(b64decode(data)))
            found.append((named, Image.open(BytesIO(b64decode(data)))))
        return found

    def sixel_pictures(self) -> list[Image.Image]:
        """The pictures that a terminal with sixel would show."""
        return [_sixel(data.decode()) for data in re.findall(rb"\x1bP0;1q([^\x1b]*)\x1b\\", self.screen)]

    def rows_of_half_blocks(self) -> list[list[tuple[str, str]]]:
        """The colours of the upper and the lower half of each cell, row by row."""
        cell = re.compile(rb"38;2;(\d+;\d+;\d+);48;2;(\d+;\d+;\d+)m\xe2\x96\x80")
        rows = [[(upper.decode(), lower.decode()) for upper, lower in cell.findall(row)] for row in self._rows()]
        return [row for row in rows if row]

    def _rows(self) -> list[bytes]:
        return self.screen.split(b"\r\n")


def _sixel(data: str) -> Image.Image:
    width, height = map(int, re.findall(r'^"1;1;(\d+);(\d+)', data)[0])
    picture = Image.new("RGBA", (width, height))
    colours: dict[str, tuple[int, ...]] = {}
    colour, x, band = (0, 0, 0), 0, 0
    for number, levels, count, letter in re.findall(r"#(\d+)((?:;\d+)*)|(?:!(\d+))?([?-~$-])", data.split(";", 3)[3]):
        if levels:
            colours[number] = tuple(int(level) * 255 // 100 for level in levels.split(";")[2:])
        elif number:
            colour = colours[number]
        elif letter in "$-":
            x, band = 0, band + 6 * (letter == "-")
        else:
            for bit in range(6):
                if (ord(letter) - 63) >> bit & 1:
                    picture.paste((*colour, 255), (x, band + bit, x + int(count or 1), band + bit + 1))
            x += int(count or 1)
    return picture
