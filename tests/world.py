"""A whole small world for a test: an MCP client, our server, and a simulated RunAPI, in one process."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import anyio
import httpx
from mcp.client import Client
from mcp.client.client import ConnectMode
from mcp.client.extension import ClientExtension, advertise
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp_types import CallToolResult, Implementation, TextContent

from flux2_mcp.app_state import Environment
from flux2_mcp.history import Order
from flux2_mcp.polling import Intervals
from flux2_mcp.server.app import build_server
from flux2_mcp.server.strict import StrictServer
from flux2_mcp.settings import Settings
from flux2_mcp.simulator import Script, SeenRequest, Simulator
from flux2_mcp.simulator.tasks import Task
from tests.databases import database_setting, history_in
from tests.transports import Wire

KEY = "runapi_testkey0123456789"
BASE_URL = "https://runapi.test"
OWNER = f"local {BASE_URL}:443"
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of this machine, which speak no TLS: reading the system's certificates takes 40 ms."""
APPS = advertise(EXTENSION_ID, {"mimeTypes": [APP_MIME_TYPE]})
"""Of a client that renders MCP Apps."""


def at_once(*_: object) -> Iterator[float]:
    """No intervals between looks."""
    return repeat(0.0)


def every(seconds: float) -> Intervals:
    """A fixed interval."""

    def fixed(*_: object) -> Iterator[float]:
        return repeat(seconds)

    return fixed


async def no_sleep(_: float) -> None:
    """Waiting that takes no time, but lets others go on."""
    await anyio.lowlevel.checkpoint()


@dataclass
class World:
    """Everything that a test may look at afterwards."""

    simulator: Simulator
    home: Path
    transport: httpx.AsyncBaseTransport | None = None
    """Between our server and the simulator; for faults that a server cannot have."""
    environ: dict[str, str] = field(default_factory=dict[str, str])
    intervals: Intervals = at_once
    root: Path = Path("/")
    """Where our server's file system begins."""
    mode: ConnectMode = "auto"
    """How clients connect; tests of both protocol eras pass the fixture `era`."""
    extensions: Sequence[ClientExtension] = ()
    """What clients can do besides, such as APPS."""
    patience: float = 30
    """Seconds that a client may be connected; what hangs shall fail."""

    @property
    def output(self) -> Path:
        return self.home / "pictures"

    @property
    def paid(self) -> list[Task]:
        """The tasks that RunAPI has money for."""
        return self.simulator.ledger.paid_tasks()

    @property
    def creates(self) -> list[SeenRequest]:
        """The requests to make a task, as they arrived."""
        return [seen for seen in self.simulator.requests if seen.path.endswith(("/text_to_image", "/remix_image"))]

    @property
    def looks(self) -> list[SeenRequest]:
        """The requests that asked how a task is doing, as they arrived."""
        parts = ("/text_to_image/", "/remix_image/", "/tasks/")
        return [seen for seen in self.simulator.requests if any(part in seen.path for part in parts)]

    def environment(self) -> Environment:
        environ = {
            "RUNAPI_API_KEY": KEY,
            "RUNAPI_BASE_URL": BASE_URL,
            "FLUX2_OUTPUT_DIR": str(self.output),
            "FLUX2_DATA_DIR": str(self.home / "data"),
            **self.environ,
        }
        return Environment(
            settings=Settings.from_environ(database_setting(environ)),
            home=self.home,
            transport=self.transport or Wire(self.simulator),
            intervals=self.intervals,
            sleep=no_sleep if self.intervals is at_once else anyio.sleep,
            root=self.root,
        )

    async def orders(self) -> tuple[Order, ...]:
        """What the history on disk knows, newest first."""
        history = history_in(self.home / "data")
        try:
            return (await history.recent(OWNER)).orders
        finally:
            await history.aclose()

    @asynccontextmanager
    async def client(self, name: str = "test", *, server: StrictServer | None = None) -> AsyncGenerator[Client, None]:
        """A client that is connected to a server of its own, started now."""
        with anyio.fail_after(self.patience):
            about = Implementation(name=name, version="1")
            server = server or build_server(self.environment())
            async with Client(server, client_info=about, mode=self.mode, extensions=self.extensions) as client:
                yield client


def world(home: Path, script: Script | None = None, **more: object) -> World:
    """A world whose RunAPI finishes plain pictures at the second look, unless the script says otherwise."""
    return World(Simulator(script or Script(looks_until_done=2, plain_pictures=True)), home, **more)  # pyright: ignore[reportArgumentType]


def text_of(result: CallToolResult) -> str:
    """All words of a result."""
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))
