"""flux2-mcp serve: stdio, or HTTP on loopback."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

import anyio

from flux2_mcp.app_state import Environment
from flux2_mcp.cli.ports import listener, port
from flux2_mcp.errors import BadSetting
from flux2_mcp.invocation import command
from flux2_mcp.server.app import build_server
from flux2_mcp.settings import Settings, misspelt

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
PORT = 8765
WAITING = (
    "flux2-mcp: waiting for an MCP host on stdin. Hosts start this command themselves: `{install}` adds it to yours, "
    "and `{demo}` shows it at work. Ctrl+C ends it."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `serve` takes."""
    parser.add_argument("--http", action="store_true", help="streamable HTTP at http://HOST:PORT/mcp instead of stdio")
    parser.add_argument("--host", help=f"loopback address to listen on (default: {HOST})")
    parser.add_argument("--port", type=port, help=f"port to listen on (default: {PORT})")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until the host goes away, or a signal comes; gives the exit code.

    Raises:
        BadSetting: An environment variable, the address or the port cannot be used.
    """
    if not options.http and (options.host is not None or options.port is not None):
        msg = "--host and --port are for --http; over stdio there is no port."
        raise BadSetting(msg, remedy="Add --http, or leave them out.")
    # Before the server is made: the SDK configures the root logger when nobody has.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if words := misspelt(os.environ):
        logger.warning("%s It has no effect.", words)
    environment = Environment(Settings.from_environ(os.environ), home=Path.home())
    server = build_server(environment, over_stdio=not options.http)
    if options.http:
        from flux2_mcp.server.http import checked_host, serve_http

        host = checked_host(options.host or HOST)
        taken = listener(host, PORT if options.port is None else options.port)
        shown = f"[{host}]" if ":" in host else host
        print(f"flux2-mcp: serving MCP at http://{shown}:{taken.getsockname()[1]}/mcp", file=sys.stderr)
        return anyio.run(lambda: serve_http(server, host=host, listener=taken))
    from flux2_mcp.server.stdio import serve_stdio

    if sys.stdin and sys.stdin.isatty():
        print(WAITING.format(install=command("install HOST"), demo=command("demo")), file=sys.stderr)
    anyio.run(serve_stdio, server)
    return 0
