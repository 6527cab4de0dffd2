"""Ask a terminal what it can: within a time, without an echo, and without taking anything that somebody types."""

from __future__ import annotations

import os
import re
import select
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

TIME_TO_ANSWER: Final = 1.0
"""Seconds, for everything. A terminal takes milliseconds, ssh what a packet takes there and back. Only a terminal that
never answers costs so much; an answer that came later would be typed into the shell."""

_QUESTIONS: Final = b"\x1b[16t\x1b[c"
"""How large is a cell, and what are you (DA1)? All answer the second, so that nobody has to wait for the first."""
_ABOUT_ITSELF: Final = re.compile(rb"\x1b\[\?\d+((?:;\d+)*)c")
_ABOUT_A_CELL: Final = re.compile(rb"\x1b\[6;(\d+);(\d+)t")
_SIXEL: Final = b"4"
_LONGEST_ANSWER: Final = 4096


@dataclass(frozen=True)
class Answer:
    """What a terminal says about itself."""

    knows_sixel: bool
    cell: tuple[int, int] | None
    """Width and height in pixels."""


def ask(stdin: int, stdout: int) -> Answer | None:
    """The answer of the terminal that both are; None where there is none, or nobody may be asked."""
    if sys.platform == "win32" or not _is_ours(stdin, stdout):
        return None
    try:
        with _listening(stdin) as heard:
            # What is there already was typed by somebody, for the shell.
            if select.select([stdin], [], [], 0)[0]:
                return None
            os.write(stdout, _QUESTIONS)
            _listen(stdin, heard)
    except OSError:
        # The terminal is gone.
        return None
    about = _ABOUT_ITSELF.search(heard)
    if about is None:
        return None
    size = _ABOUT_A_CELL.search(heard)
    height, width = (int(number) for number in size.groups()) if size else (0, 0)
    return Answer(_SIXEL in about[1].split(b";"), (width, height) if width and height else None)


def _is_ours(stdin: int, stdout: int) -> bool:
    """Whether both are one terminal, in whose foreground we are: in the background, a question would stop us."""
    try:
        is_one = os.isatty(stdin) and os.isatty(stdout) and os.fstat(stdin).st_rdev == os.fstat(stdout).st_rdev
        return is_one and os.tcgetpgrp(stdin) == os.getpgrp()
    except OSError:
        return False


@contextmanager
def _listening(stdin: int) -> Generator[bytearray]:
    """Gives what is heard, to be filled; meanwhile nothing is echoed, and what comes need not be a line.

    What somebody typed before stays, unless there was no answer: then all that comes may be a part of one.
    """
    import termios

    heard = bytearray()
    before = termios.tcgetattr(stdin)
    raw = termios.tcgetattr(stdin)
    raw[3] &= ~(termios.ICANON | termios.ECHO)
    try:
        termios.tcsetattr(stdin, termios.TCSANOW, raw)
        yield heard
    finally:
        is_a_part = heard and not _ABOUT_ITSELF.search(heard)
        termios.tcsetattr(stdin, termios.TCSAFLUSH if is_a_part else termios.TCSANOW, before)


def _listen(stdin: int, heard: bytearray) -> None:
    """Hear until the last question is answered, byte by byte: what comes afterwards is typed by somebody."""
    until = time.monotonic() + TIME_TO_ANSWER
    while len(heard) < _LONGEST_ANSWER and not _ABOUT_ITSELF.search(heard):
        left = until - time.monotonic()
        if left <= 0 or not select.select([stdin], [], [], left)[0]:
            return
        if not (byte := os.read(stdin, 1)):
            return
        heard += byte
