"""What hosts are known to give their models of a tool's result, by the public reports that are named here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from mcp_types import CallToolResult

from tests.pictures.fixtures import encoded_result, images_in
from tests.world import text_of

DESKTOP_LIMIT: Final = 1_048_576
"""Bytes of a whole result (fastmcp#1036, Windows-MCP#155)."""


@dataclass(frozen=True)
class Seen:
    """What a model is given."""

    words: str
    pictures: list[bytes] = field(repr=False)


Rule = Callable[[CallToolResult], Seen]


def structured_wins(result: CallToolResult) -> Seen:
    """Nothing but the structured content, when there is some (claude-code#54737 and #79944, opencode#32868)."""
    if result.structured_content is not None:
        return Seen(json.dumps(result.structured_content, ensure_ascii=False), [])
    return Seen(text_of(result), images_in(result))


def content_only(result: CallToolResult) -> Seen:
    """Text and pictures; structured content is for programs."""
    return Seen(text_of(result), images_in(result))


def up_to_a_megabyte(result: CallToolResult) -> Seen:
    """The same, unless it is too large: then nothing."""
    fits = len(encoded_result(result).encode()) <= DESKTOP_LIMIT
    return content_only(result) if fits else Seen("result exceeds maximum length of 1048576", [])


def worst(result: CallToolResult) -> Seen:
    """A client that we do not know may have all of these rules."""
    seen = up_to_a_megabyte(result)
    return seen if "exceeds" in seen.words else structured_wins(result)


HOSTS: Final[dict[str, Rule]] = {
    "claude-code": structured_wins,
    "codex-mcp-client": structured_wins,
    "claude-ai": up_to_a_megabyte,
    "cursor-vscode": content_only,
    "Visual Studio Code": content_only,
    "somebody's client": worst,
}
"""By the name that the client gives: Claude Code, Codex, Claude Desktop, Cursor, VS Code, and one that is unknown."""
