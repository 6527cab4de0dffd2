"""Which graphics a terminal knows: its own variables tell, or its answer does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Graphics = Literal["kitty", "iterm2", "sixel"]

_BY_TERM: Final[Mapping[str, Graphics]] = {"xterm-kitty": "kitty", "xterm-ghostty": "kitty"}
_BY_PROGRAM: Final[Mapping[str, Graphics | None]] = {
    "ghostty": "kitty",
    "iTerm.app": "iterm2",
    "WezTerm": "iterm2",
    "rio": "iterm2",
    "Apple_Terminal": None,
}
_WITHOUT_GRAPHICS: Final = ("dumb", "linux", "screen", "tmux")
_IN_BETWEEN: Final = ("TMUX", "STY", "ZELLIJ", "INSIDE_EMACS", "CI")
"""Somebody is in between. tmux may say that it knows sixel where the terminal around it does not."""
_KONSOLE_WITH_GRAPHICS: Final = 220400


def told(environ: Mapping[str, str]) -> Graphics | Literal["ask"] | None:
    """What the environment tells; "ask" where it does not.

    A terminal inherits the variables of the one that it was started from. So TERM, which each sets itself and ssh
    passes on, counts before TERM_PROGRAM, and that before what only some set.
    """
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM")
    if not term or term.startswith(_WITHOUT_GRAPHICS) or any(environ.get(name) for name in _IN_BETWEEN):
        return None
    if term in _BY_TERM:
        return _BY_TERM[term]
    if program:
        return _BY_PROGRAM.get(program, "ask")
    if environ.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    konsole = environ.get("KONSOLE_VERSION", "")
    is_konsole = konsole.isdecimal() and int(konsole) >= _KONSOLE_WITH_GRAPHICS
    return "kitty" if is_konsole or environ.get("KITTY_WINDOW_ID") else "ask"
