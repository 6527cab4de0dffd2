"""Our server as a process, and the two doors to it: stdio and streamable HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import anyio
import httpx2
from anyio.abc import Process
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

from tests.processes import MODULE, Host, environment, started
from tests.test_http import address_in
from tests.world import NO_CERTIFICATES

Transport = Literal["stdio", "http"]
LONGEST = 400.0
"""Seconds that a call may take."""


class Door(Protocol):
    """A way to call tools."""

    process: Process
    port: int

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> CallToolResult: ...


class Stdio:
    port = 0

    def __init__(self, host: Host) -> None:
        self._host = host
        self.process = host.process

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> CallToolResult:
        answer = await self._host.answer(await self._host.call(tool, dict(arguments)), within=LONGEST)
        return CallToolResult.model_validate(answer["result"])


class Http:
    def __init__(self, client: Client, process: Process, port: int) -> None:
        self._client = client
        self.process = process
        self.port = port

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> CallToolResult:
        return await self._client.call_tool(tool, dict(arguments))


@asynccontextmanager
async def opened(
    transport: Transport, home: Path, base_url: str, *, inside: Path, environ: Mapping[str, str]
) -> AsyncGenerator[Door]:
    """A door to a server that was started for this; what it writes to stderr is in the home."""
    everything = {**environment(home, base_url), **environ}
    prelude = f"from tests.reliability.inside import install; install({str(inside)!r})"
    errors = home / "stderr.txt"
    with errors.open("wb") as stderr:
        if transport == "stdio":
            async with started(*MODULE, environ=everything, stderr=stderr, prelude=prelude) as process:
                yield Stdio(await Host.of(process, "legacy", errors))
            return
        command = (*MODULE, "serve", "--http", "--port", "0")
        async with started(*command, environ=everything, stderr=stderr, prelude=prelude) as process:
            with anyio.fail_after(60):
                url = await address_in(errors)
            async with (
                httpx2.AsyncClient(verify=NO_CERTIFICATES, timeout=LONGEST) as http,
                Client(streamable_http_client(url, http_client=http)) as client,
            ):
                await client.list_tools()
                yield Http(client, process, int(url.split(":")[2].partition("/")[0]))
