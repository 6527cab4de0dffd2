"""flux2-mcp gallery: the pictures in the browser, on this computer only."""

from __future__ import annotations

import argparse
import os
from socket import socket
from typing import TYPE_CHECKING

import anyio

from flux2_mcp.app_state import data_folder
from flux2_mcp.cli.ports import listener, port
from flux2_mcp.cli.serve import BY_SIGNAL, configured_environment
from flux2_mcp.login import OpenBrowser, opened
from flux2_mcp.telemetry.export import exported

if TYPE_CHECKING:
    from flux2_mcp.app_state import Environment
    from flux2_mcp.server.local_gallery import LocalGallery
    from flux2_mcp.server.strict import StrictServer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `gallery` takes."""
    parser.add_argument(
        "--port", type=port, default=0, help="port on 127.0.0.1, such as one of a tunnel (default: any that is free)"
    )
    parser.add_argument(
        "--no-open", action="store_true", help="only print the link; open it in a browser on this computer"
    )
    parser.epilog = f"exit codes: 2 the port or a setting cannot be used, {BY_SIGNAL}"
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve the gallery until Ctrl-C; gives the exit code.

    Raises:
        BadSetting: An environment variable or the port cannot be used.
    """
    environment = configured_environment()
    with exported(os.environ):
        taken = listener("127.0.0.1", options.port)
        from flux2_mcp.server.app import build_server
        from flux2_mcp.server.local_gallery import local_gallery

        server = build_server(environment, for_gallery=True)
        gallery = local_gallery(server, port=taken.getsockname()[1])
        # From here on a browser that comes waits in the queue until it is served.
        taken.listen()
        print(f"The gallery: {gallery.link}\n{_about(environment)}", flush=True)
        opens = None if options.no_open else environment.open_browser
        return anyio.run(_serve, server, gallery, taken, opens)


async def _serve(server: StrictServer, gallery: LocalGallery, taken: socket, opens: OpenBrowser | None) -> int:
    from flux2_mcp.server.http import serve_app

    code = 0
    async with anyio.create_task_group() as group:
        if opens:
            group.start_soon(_open, gallery.link, opens)
        code = await serve_app(server, gallery, listener=taken)
        group.cancel_scope.cancel()
    return code


async def _open(link: str, opens: OpenBrowser) -> None:
    if not await opened(link, opens):
        print("No browser opened: paste the link into one on this computer.", flush=True)


def _about(environment: Environment) -> str:
    """How it goes on, and which history it shows: a host may have been given another one."""
    settings = environment.settings
    if settings.history == "off":
        shown = "No history is kept (FLUX2_HISTORY is off): it shows what is made from now on."
    elif settings.database_url:
        shown = "It shows the history on the server that FLUX2_DATABASE_URL names."
    else:
        shown = f"It shows the history in {data_folder(settings, home=environment.home)}."
    return f"The link works once, in one browser. Ctrl+C ends the gallery.\n{shown}"
