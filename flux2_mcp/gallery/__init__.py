"""The gallery: one self-contained page that shows pictures, in a host that renders MCP Apps or in a browser."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_SOURCES = Path(__file__).parent / "page"
_SCRIPTS = (
    "elements.js",
    "words.js",
    "protocol.js",
    "cards.js",
    "images.js",
    "orders.js",
    "tiles.js",
    "actions.js",
    "stage.js",
    "history.js",
    "compose.js",
    "main.js",
)
"""In the order in which they build on each other."""


@cache
def page() -> str:
    """Give the whole page, as one HTML document with one style and one script; the first call reads files."""
    script = "\n".join(['"use strict";', *map(_source, _SCRIPTS)])
    return _source("gallery.html").replace("/* style */", _source("gallery.css")).replace("/* script */", script)


def _source(name: str) -> str:
    """Without its indentation, which is an eighth of it; no text in it goes over more than one line."""
    lines = (_SOURCES / name).read_text(encoding="utf-8").splitlines()
    return "\n".join(filter(None, map(str.strip, lines)))
