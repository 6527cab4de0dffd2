"""Our entry gets into a config and out of it, and nothing else changes; or the text is refused in our words."""

from __future__ import annotations

import json
from typing import cast

from flux2_mcp.cli.config_editors import Setting
from flux2_mcp.cli.config_editors.json_text import Json
from flux2_mcp.errors import UnreadableConfig

LONGEST = 600
ENTRY = cast("Setting", {"command": "x", "args": ["y"]})
PATH = ("servers", "flux2")


def check(data: bytes) -> None:
    """Edit this text as strict JSON and as JSON5."""
    text = data.decode("utf-8", errors="replace")
    for strict in (True, False):
        _check(text, strict=strict)


def _check(text: str, *, strict: bool) -> None:
    editor = Json(strict=strict)
    try:
        before = editor.read(text)
        put = editor.put(text, PATH, ENTRY)
    except UnreadableConfig:
        return
    if strict and before:
        assert _written(before) == _written(json.loads(text.removeprefix("\ufeff"))), "read as every other parser does"
    section = cast("dict[str, object]", before.get("servers", {}))
    dropped = editor.drop(put, PATH)
    assert _written(editor.read(put)) == _written({**before, "servers": {**section, "flux2": ENTRY}})
    assert editor.put(put, PATH, ENTRY) == put, "a second time changes nothing"
    kept = {key: value for key, value in section.items() if key != "flux2"}
    assert "flux2" in section or _written(editor.read(dropped)) == _written({**before, "servers": kept})


def _written(value: object) -> str:
    """Not a number is equal to nothing, itself included."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
