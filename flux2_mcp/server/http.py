"""The server over streamable HTTP, for one person on this machine."""

from __future__ import annotations

from socket import socket

import uvicorn
from mcp.server.mcpserver import MCPServer

from flux2_mcp.errors import BadSetting
from flux2_mcp.server.wiring import Wiring

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
SHUTDOWN_SECONDS = 3
"""How long open streams may go on after SIGTERM."""


async def serve_http(server: MCPServer[Wiring], *, host: str, listener: socket) -> None:
    """Serve both protocol eras at /mcp until SIGTERM or SIGINT, with DNS-rebinding protection for the host.

    Raises:
        BadSetting: The address can be reached from elsewhere.
    """
    app = server.streamable_http_app(host=checked_host(host))
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=SHUTDOWN_SECONDS, lifespan="on")
    await uvicorn.Server(config).serve(sockets=[listener])


def checked_host(host: str) -> str:
    """The same address, if nobody else can reach it.

    Raises:
        BadSetting: Every caller would spend this person's money.
    """
    if host not in LOOPBACK:
        msg = (
            f"serve --http listens on this machine only, not on {host}: whoever reached it would spend your RunAPI "
            "credits and read your pictures, as there are no accounts yet."
        )
        raise BadSetting(msg, remedy="Use --host 127.0.0.1, or a tunnel that asks who is calling.")
    return host
