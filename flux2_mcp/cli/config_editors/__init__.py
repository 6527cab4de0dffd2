"""The formats of hosts' config files: read one, and change one member of it without touching the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

Setting = str | bool | int | list[str] | dict[str, "Setting"]
"""What an entry is made of."""
BEYOND_US = "It has a number that is none or is too long, or is nested too deeply."
"""What is said of a text that a parser gives up on, valid or not."""


class Format(Protocol):
    """A config file's text, read and edited by people and by their host.

    Every method raises UnreadableConfig for a text that it does not understand completely.
    """

    def read(self, text: str) -> Mapping[str, object]:
        """Everything the text says; an empty text says nothing."""
        ...

    def put(self, text: str, path: Sequence[str], value: Setting) -> str:
        """The text with this value at this path; whatever else it holds stays as it is, comments too."""
        ...

    def drop(self, text: str, path: Sequence[str]) -> str:
        """The text without the member at this path, if it had one."""
        ...


def with_line_ends_of(old: str, new: str) -> str:
    """The new text with CRLF at every line's end where the old one has it at every one."""
    is_crlf = "\r\n" in old and old.count("\r\n") == old.count("\n")
    return new.replace("\r\n", "\n").replace("\n", "\r\n") if is_crlf else new
