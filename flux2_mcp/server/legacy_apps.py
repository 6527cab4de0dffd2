"""Which legacy clients have apps, where no server keeps sessions: their session's id says so, which they send back.

They declare it once, when they connect; the calls that follow may reach any replica.
"""

from __future__ import annotations

from uuid import uuid4

from mcp.server.apps import EXTENSION_ID
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flux2_mcp.server.apps import SESSION_WITH_APPS


class NameSessionsWithApps:
    """Names the session of a client that declares apps as it connects. Bodies have to come as a whole."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on; the answer to such a client gets one header more."""
        if scope["type"] != "http" or scope["method"] != "POST" or MCP_SESSION_ID_HEADER in Headers(scope=scope):
            await self._app(scope, receive, send)
            return
        has_apps = False

        async def looking() -> Message:
            nonlocal has_apps
            message = await receive()
            body = message.get("body", b"")
            # Whoever writes these words elsewhere is told of a few tools more.
            has_apps = has_apps or (b'"initialize"' in body and EXTENSION_ID.encode() in body)
            return message

        async def naming(message: Message) -> None:
            if has_apps and message["type"] == "http.response.start":
                MutableHeaders(scope=message)[MCP_SESSION_ID_HEADER] = f"{SESSION_WITH_APPS}{uuid4().hex}"
            await send(message)

        await self._app(scope, looking, naming)
