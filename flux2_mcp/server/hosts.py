"""What hosts make of a result, by the name that their client gives.

Claude Code, Codex and opencode show their model nothing but the structured content when there is some, so that a
picture beside it is lost (claude-code#54737 and #79944, opencode#32868). For them, and for clients we do not know, a
result with pictures carries none: its text says the same facts.
"""

from __future__ import annotations

from typing import Any, Literal

from mcp.server.mcpserver import Context

ResultStyle = Literal["auto", "content", "structured"]

READS_BOTH = ("claude-ai", "claude desktop", "cursor", "visual studio code", "vscode", "inspector", "goose", "postman")
"""Clients, by a part of their name, that are known to use content beside structured content."""


def wants_structure(ctx: Context[Any], style: ResultStyle) -> bool:
    """Whether a result with pictures should carry the same facts as structured content."""
    if style != "auto":
        return style == "structured"
    params = ctx.session.client_params
    name = params.client_info.name.lower() if params else ""
    return any(known in name for known in READS_BOTH)
