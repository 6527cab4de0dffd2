"""Text that can be passed on: as one line, and as UTF-8."""

from __future__ import annotations

from typing import Any, cast

from pydantic import BaseModel

LONGEST_LINE = 400
"""Characters of somebody else's words that are passed on."""


def one_line(text: str, *, most: int = LONGEST_LINE) -> str:
    """One printable line of bounded length, without a full stop of its own."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split()).rstrip(".")
    return line if len(line) <= most else line[: most - 1] + "…"


def sendable(value: Any) -> Any:  # noqa: ANN401 whatever a result may hold
    """The same value with texts that UTF-8 can carry: the name of a file may be any bytes."""
    if isinstance(value, str):
        return value.encode("utf-8", errors="replace").decode()
    if isinstance(value, BaseModel):
        return value.model_copy(update={name: sendable(each) for name, each in value})
    if isinstance(value, dict):
        return {name: sendable(each) for name, each in cast("dict[str, Any]", value).items()}
    return [sendable(each) for each in cast("list[object]", value)] if isinstance(value, list) else value
