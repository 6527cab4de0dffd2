"""flux2-mcp demo: a host, our server and a simulated RunAPI, together on this machine.

The server is a process of its own that is spoken to over stdio, as a host would; only RunAPI is simulated.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import uvicorn
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.stdio import stdio_client
from mcp_types import CallToolResult, Implementation, TextContent
from rich.console import Console

from flux2_mcp import __version__
from flux2_mcp.catalogue import Catalogue, Model, catalogue
from flux2_mcp.cli.hosts import HOSTS
from flux2_mcp.cli.showing import add_show_argument, screen_for
from flux2_mcp.cli.terminal import Printer, absolute, add_picture_arguments, checked_count, live_bar, source
from flux2_mcp.invocation import command
from flux2_mcp.presenters.models import ModelHelp
from flux2_mcp.simulator import Script, Simulator

PREFIX = r"\AError executing tool \w+: "
"""What the SDK puts before an error, for hosts."""
PROMPT = "a ceramic vase with dried flowers on a linen tablecloth"
HOST = "claude-desktop"
"""The host that is named first."""
SECONDS = 6.0
"""How long the simulated picture takes."""


def add_arguments(parser: argparse.ArgumentParser, known: Catalogue | None = None) -> None:
    """Declare what `demo` takes."""
    models = ModelHelp(known or catalogue())
    parser.add_argument("prompt", nargs="?", default=PROMPT, help=f'what the picture shows (default: "{PROMPT}")')
    add_picture_arguments(parser, models)
    parser.add_argument("--remix", nargs="+", metavar="FILE", help="remix these pictures instead")
    parser.add_argument(
        "--output", type=absolute, metavar="FOLDER", help="where to save (default: your Pictures folder)"
    )
    add_show_argument(parser)
    parser.epilog = "exit codes: 0 done, 1 the picture was not made, 2 an argument or a setting cannot be used"
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make a picture and show how it goes; 0 when it is there."""
    screen, console = screen_for(options.show), Printer()
    result = anyio.run(_made, options, console)
    facts = result.structured_content
    if result.is_error or facts is None:
        told = [block.text for block in result.content if isinstance(block, TextContent)]
        _print([line for text in told for line in re.sub(PREFIX, "", text).splitlines()], console)
        return int(result.is_error)
    found = [image for picture in facts["pictures"] for image in picture.get("images", [])]
    lost = [picture["error"] for picture in facts["pictures"] if "error" in picture]
    _print(
        [
            f"Made{_price(facts.get('cost_usd', 0), catalogue().named(options.model))}:",
            *(image.get("path") or image["note"] for image in found),
            *lost,
        ],
        console,
    )
    for image in found:
        if screen and "path" in image:
            screen.show(Path(image["path"]), share=len(found))
    _print(_next_steps(), console)
    return 0


async def _made(options: argparse.Namespace, console: Console) -> CallToolResult:
    tool, arguments = _call(options)
    console.print(
        "[bold]flux2-mcp demo[/bold]: the real server and client; only RunAPI is simulated. Nothing is charged."
    )
    async with _simulated_runapi() as base_url, _host(base_url, options.output) as client:
        console.print(f"{tool}: {arguments['prompt']}", style="cyan", highlight=False, markup=False)
        return await _called(client, tool, arguments, console)


def _print(lines: Iterable[str], console: Console) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _next_steps() -> list[str]:
    others = [name for name in HOSTS if name != HOST]
    return [
        "",
        f"Next: `{command('login')}` gets you a key.",
        f"Then `{command(f'install {HOST}')}` adds the server to your host (or {', '.join(others)}).",
        f"Later, `{command('gallery')}` shows your pictures in the browser.",
    ]


def _price(simulated: float, model: Model | None) -> str:
    """What RunAPI would ask. Where it publishes no price, the simulator's is made up."""
    if model and model.price is None:
        return f"; what {model.name} costs with RunAPI itself is not published"
    return f", at what would be ${simulated:.2f} with RunAPI itself"


def _call(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    arguments: dict[str, Any] = {
        "prompt": options.prompt,
        "model": options.model,
        "count": checked_count(options),
    }
    arguments |= {"aspect_ratio": options.aspect_ratio} if options.aspect_ratio else {}
    arguments |= {"output_resolution": options.resolution} if options.resolution else {}
    if not options.remix:
        return "generate", arguments
    return "remix", {**arguments, "source_image_urls": [source(each) for each in options.remix]}


async def _called(client: Client, tool: str, arguments: dict[str, Any], console: Console) -> CallToolResult:
    with live_bar(console) as moved:

        async def heard(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001 the bar has a clock
            moved(message or "", total or SECONDS)

        return await client.call_tool(tool, arguments, progress_callback=heard)


@asynccontextmanager
async def _simulated_runapi() -> AsyncGenerator[str, None]:
    """A RunAPI on a free port of this machine; yields its address."""
    script = Script(queue_seconds=SECONDS / 6, paint_seconds=SECONDS * 5 / 6, max_price_cents=21)
    server = uvicorn.Server(uvicorn.Config(Simulator(script), host="127.0.0.1", port=0, log_level="error"))
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve)
        while not server.started:  # noqa: ASYNC110 uvicorn has no event for it
            await anyio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True


@asynccontextmanager
async def _host(base_url: str, output: str | None) -> AsyncGenerator[Client, None]:
    """Our server as a process, started as a host would start it, with data of its own."""
    with TemporaryDirectory() as data:
        environ = {
            **os.environ,
            "RUNAPI_BASE_URL": base_url,
            "RUNAPI_API_KEY": "runapi_simulated",
            "FLUX2_DATA_DIR": data,
            "FLUX2_MAX_COST_PER_CALL": "off",
            "FLUX2_SAVE": "on",
            "FLUX2_RESULT": "structured",
        }
        if output:
            environ["FLUX2_OUTPUT_DIR"] = output
        parameters = StdioServerParameters(command=sys.executable, args=["-m", "flux2_mcp"], env=environ)
        about = Implementation(name="flux2-mcp-demo", version=__version__)
        async with Client(stdio_client(parameters), client_info=about) as client:
            yield client
