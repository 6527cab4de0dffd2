"""flux2-mcp serve: stdio, or HTTP for this machine, or for many who say who they are."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from flux2_mcp import logs
from flux2_mcp.app_state import Environment, data_folder
from flux2_mcp.cli.ports import listener, port
from flux2_mcp.credentials import DEFAULT_BASE_URL
from flux2_mcp.errors import BadSetting
from flux2_mcp.invocation import command
from flux2_mcp.runapi.origins import safe_origin
from flux2_mcp.server.app import build_server
from flux2_mcp.settings import Settings, misspelt
from flux2_mcp.telemetry.export import exported
from flux2_mcp.webhooks import Webhooks, checked_public_url

if TYPE_CHECKING:
    from flux2_mcp.server.http import Hosting
    from flux2_mcp.server.strict import StrictServer

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
PORT = 8765
MOST_FILES = 65_536
"""Files and connections that a server over HTTP may have open, where the system allows as many."""
WAITING = (
    "waiting for an MCP host on stdin. Hosts start this command themselves: `{install}` adds it to yours, "
    "and `{demo}` shows it at work. Ctrl+C ends it."
)

BY_SIGNAL = "129, 130 or 143 after SIGHUP, SIGINT (Ctrl-C) or SIGTERM"
"""Exit codes of every server."""
NO_STDOUT = "stdout is closed, and over stdio it is where a host reads the answers."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `serve` takes."""
    parser.add_argument("--http", action="store_true", help="streamable HTTP at http://HOST:PORT/mcp instead of stdio")
    parser.add_argument(
        "--host", help=f"address to listen on (default: {HOST}); others than loopback need FLUX2_HTTP_AUTH"
    )
    parser.add_argument("--port", type=port, help=f"port to listen on (default: {PORT})")
    parser.epilog = (
        "exit codes: 0 the host has closed stdin, 2 a setting, the address or the port cannot be used, "
        f"{BY_SIGNAL}, 141 the host does not read stdout any more"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until the host goes away, or a signal comes; gives the exit code.

    Raises:
        BadSetting: An environment variable, the address or the port cannot be used.
    """
    if not options.http and (options.host is not None or options.port is not None):
        msg = "--host and --port are for --http; over stdio there is no port."
        raise BadSetting(msg, remedy="Add --http, or leave them out.")
    environment = configured_environment()
    with exported(os.environ) as end_export:
        if options.http:
            return _serve_http(environment, options.host or HOST, PORT if options.port is None else options.port)
        if sys.stdout is None:
            raise BadSetting(NO_STDOUT, remedy="Keep it open, or serve over HTTP with --http.")
        from flux2_mcp.server.stdio import serve_stdio

        server = build_server(environment, over_stdio=True)

        if sys.stdin and sys.stdin.isatty():
            logs.tell(WAITING.format(install=command("install HOST"), demo=command("demo")))
        anyio.run(partial(serve_stdio, server, before_exit=end_export))
    return 0


def configured_environment() -> Environment:
    """What a server's process works with, by its environment variables; from now on its log is as they say.

    Raises:
        BadSetting: One of them cannot be used.
    """
    settings = Settings.from_environ(os.environ)
    # Before the server is made: the SDK configures the root logger when nobody has.
    logs.configure(settings.log, settings.log_level)
    if words := misspelt(os.environ):
        logger.warning("%s It has no effect.", words)
    if settings.database_url:
        from flux2_mcp.history.server_database import checked_url

        checked_url(settings.database_url.get_secret_value())
    return Environment(settings, home=Path.home())


def _serve_http(environment: Environment, host: str, port: int) -> int:
    from flux2_mcp.server.http import serve_http

    server, hosting = _server_over_http(environment, host)
    taken = listener(host, port)
    _raise_limit_of_connections()
    shown = f"[{host}]" if ":" in host else host
    logs.announce(f"serving MCP at http://{shown}:{taken.getsockname()[1]}/mcp", environment.settings.log)
    return anyio.run(lambda: serve_http(server, host=host, listener=taken, hosting=hosting))


def _server_over_http(environment: Environment, host: str) -> tuple[StrictServer, Hosting | None]:
    """A server, and how it serves many, if it does."""
    from flux2_mcp.callers.configured import authenticator, oauth_of
    from flux2_mcp.callers.secret import HOW_TO_MAKE, secret
    from flux2_mcp.server.http import Hosting, checked_host, names_of

    settings, home = environment.settings, environment.home
    is_for_many = settings.http_auth != "off"
    hosts = names_of(host, settings.allowed_hosts) if is_for_many else [checked_host(host)]
    if not is_for_many and not settings.public_url:
        return build_server(environment), None
    safe_origin(settings.base_url or DEFAULT_BASE_URL)
    folder = data_folder(settings, home=home)
    if settings.database_url and settings.secret is None:
        msg = (
            "FLUX2_DATABASE_URL needs FLUX2_SECRET too: servers that share a database have to know callers by one name."
        )
        raise BadSetting(msg, remedy=HOW_TO_MAKE)
    ours = secret(settings.secret.get_secret_value() if settings.secret else None, folder=folder)
    if settings.public_url:
        environment = replace(
            environment, webhooks=Webhooks(checked_public_url(settings.public_url), ours.key("webhooks"))
        )
    if not is_for_many:
        return build_server(environment), None
    from flux2_mcp.server.authentication import current_caller

    hosting = Hosting(
        authenticator(settings, ours, home=home, folder=folder),
        hosts,
        oauth_of(settings) if settings.http_auth == "oauth" else None,
    )
    server = build_server(replace(environment, current_caller=current_caller), state_key=ours.key("request state"))
    return server, hosting


def _raise_limit_of_connections() -> None:
    """Many systems let a process have 1,024 files open, and each connection is one."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if most == resource.RLIM_INFINITY else min(MOST_FILES, most)
    if least != resource.RLIM_INFINITY and least < wanted:
        # macOS names no limit, and has one.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
