"""A server for many on a port of this process, its callers, and a simulated RunAPI behind it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
from mcp.client import Client
from mcp.client.client import ConnectMode
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

from flux2_mcp.callers.configured import authenticator, oauth_of
from flux2_mcp.callers.secret import Secret
from flux2_mcp.polling import Intervals
from flux2_mcp.server.app import build_server
from flux2_mcp.server.authentication import current_caller
from flux2_mcp.server.http import Hosting, hosted_app
from flux2_mcp.simulator import Script, Simulator
from flux2_mcp.webhooks import Webhooks
from tests.processes import on_a_port
from tests.world import NO_CERTIFICATES, World, every

ADA = "runapi_adaadaadaadaadaada01"
BEN = "runapi_benbenbenbenbenben02"
SECRET = "0123456789abcdef0123456789abcdef"


@dataclass
class HostedWorld:
    """A server that many use, and what it has done."""

    here: World
    era: ConnectMode
    url: str

    @property
    def simulator(self) -> Simulator:
        return self.here.simulator

    @asynccontextmanager
    async def client(self, credential: str, **options: Any) -> AsyncGenerator[Client, None]:  # noqa: ANN401 as Client takes
        """Somebody's client."""
        async with client_of(self.url, credential, mode=self.era, **options) as client:
            yield client

    async def call(self, credential: str, tool: str, **arguments: object) -> CallToolResult:
        """What one call of somebody's comes to."""
        async with self.client(credential) as client:
            return await client.call_tool(tool, arguments)

    async def post(self, headers: Mapping[str, str], body: object = None) -> httpx.Response:
        """The answer to a request that is made by hand."""
        async with httpx.AsyncClient(verify=NO_CERTIFICATES, timeout=30) as http:
            return await http.post(self.url, headers={**HEADERS, **headers}, json=body or LIST_TOOLS)


HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
LIST_TOOLS: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


@dataclass
class Hosts:
    """Starts such servers."""

    home: Path
    era: ConnectMode = "auto"
    simulator: Simulator = field(default_factory=lambda: Simulator(Script(looks_until_done=1, plain_pictures=True)))
    intervals: Intervals = field(default_factory=lambda: every(0.05))
    """Between looks. Without any, calls that wait for long would leave nobody else a turn."""
    webhook_intervals: Intervals = field(default_factory=lambda: every(3600))
    """Where RunAPI tells the end of tasks."""

    @asynccontextmanager
    async def server(self, *, data: str = "data", **environ: str) -> AsyncGenerator[HostedWorld, None]:
        """A server with these settings. Those of one `data` are replicas."""
        here = World(
            self.simulator,
            self.home,
            intervals=self.intervals,
            environ={
                "RUNAPI_API_KEY": "",
                "FLUX2_HTTP_AUTH": "runapi-key",
                "FLUX2_OUTPUT_DIR": "",
                "FLUX2_DATA_DIR": str(self.home / data),
                **environ,
            },
        )
        environment = replace(here.environment(), current_caller=current_caller)
        settings, secret = environment.settings, Secret(SECRET)
        if settings.public_url:
            webhooks = Webhooks(settings.public_url, secret.key("webhooks"))
            environment = replace(environment, webhooks=webhooks, intervals=self.webhook_intervals)
        oauth = oauth_of(settings) if settings.http_auth == "oauth" else None
        known = await anyio.to_thread.run_sync(
            lambda: authenticator(settings, secret, home=self.home, folder=self.home / data)
        )
        server = build_server(environment, state_key=secret.key("request state"))
        app = hosted_app(server, Hosting(known, ["127.0.0.1", "flux2.example"], oauth))
        async with on_a_port(app) as url:
            yield HostedWorld(here, self.era, f"{url}/mcp")


@asynccontextmanager
async def client_of(url: str, credential: str, **options: Any) -> AsyncGenerator[Client, None]:  # noqa: ANN401 as Client takes
    """Somebody's client of a server at this address."""
    async with (
        httpx2.AsyncClient(verify=NO_CERTIFICATES, headers=bearer(credential), timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), **options) as client,
    ):
        yield client


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}
