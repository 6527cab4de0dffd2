"""Words of RunAPI's as one line that can be passed on."""

from __future__ import annotations

LONGEST_LINE = 400
"""Characters of RunAPI's own words that are passed on."""


def one_line(text: str, *, most: int = LONGEST_LINE) -> str:
    """One printable line of bounded length, without a full stop of its own."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split()).rstrip(".")
    return line if len(line) <= most else line[: most - 1] + "…"
