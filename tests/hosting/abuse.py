"""A hosted server as a process, those who abuse it over bare sockets, and somebody whose calls must not suffer."""

from __future__ import annotations

import json
import re
import signal
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
from anyio.abc import Process, SocketAttribute, SocketStream

from flux2_mcp.simulator import Simulator
from tests.hosting.world import ADA, BEN, HEADERS, bearer
from tests.processes import AT_ONCE, MODULE, environment, served, started
from tests.test_http import address_in, complaints
from tests.world import NO_CERTIFICATES

NORMAL = 6.0
"""Seconds in which a call is answered although others abuse the server, on a machine where others are busy."""
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
COUNTS_ITS_TASKS = """
import asyncio, os, signal
from pathlib import Path

def count(*_):
    file = Path(os.environ["HOME"], "tasks.txt")
    file.with_suffix(".new").write_text(str(len(asyncio.all_tasks())))
    file.with_suffix(".new").replace(file)

signal.signal(signal.SIGUSR1, count)
"""
IMPATIENT = "import flux2_mcp.server.connections as connections; connections.PATIENCE = 1.0"

FEW_BUFFERS = """
import socket
made = connections.Connection.connection_made

def made_with_few_buffers(self, transport):
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    made(self, transport)

connections.Connection.connection_made = made_with_few_buffers
"""
"""The system keeps nearly nothing of an answer that is not read."""


@dataclass(frozen=True)
class Footprint:
    """What a server holds."""

    connections: int
    files: int
    tasks: int
    mib: float

    def is_like(self, before: Footprint) -> bool:
        """Whether it is no more, but for some connections to RunAPI, and memory."""
        return (
            self.connections <= before.connections
            and self.files <= before.files + 20
            and self.tasks <= before.tasks + 4
        )


@dataclass
class Abused:
    """The server."""

    home: Path
    url: str
    process: Process
    simulator: Simulator

    @property
    def port(self) -> int:
        return httpx.URL(self.url).port or 0

    @asynccontextmanager
    async def connection(self, *sent: bytes) -> AsyncGenerator[SocketStream]:
        """A bare connection on which this was sent."""
        async with await SocketStream.from_socket(self.unread()) as stream:
            for piece in sent:
                await stream.send(piece)
            yield stream

    def unread(self, sent: bytes = b"") -> socket.socket:
        """One of which nobody reads anything, and the system takes hardly more than nothing."""
        raw = socket.socket()
        if sent:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", self.port))
        raw.sendall(sent)
        return raw

    async def answer(self, *sent: bytes) -> bytes:
        """What comes back, up to the end of the first head or of the connection."""
        async with self.connection(*sent) as stream:
            return await received(stream, lambda said: b"\r\n\r\n" in said)

    async def call(self, key: str = BEN, tool: str = "recent_tasks", **arguments: object) -> str:
        """The text of a call's result; one that fails or takes too long fails the test."""
        body: dict[str, Any] = {"name": tool, "arguments": arguments, "_meta": MODERN}
        headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": tool}
        with anyio.fail_after(NORMAL):
            async with httpx.AsyncClient(verify=NO_CERTIFICATES, timeout=None) as http:  # noqa: S113 as said above
                answer = await http.post(
                    self.url,
                    json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": body},
                    headers={**HEADERS, **headers, **bearer(key)},
                )
        assert answer.status_code == 200, answer.text
        result = answer.json()["result"]
        assert not result["isError"], result
        return result["content"][0]["text"]

    async def footprint(self) -> Footprint:
        tasks = await counted_tasks(self.home, self.process)
        folder = Path("/proc", str(self.process.pid))
        pages = int((folder / "statm").read_text().split()[1])
        files = len(list((folder / "fd").iterdir()))
        return Footprint(self._connections(), files, tasks, pages / 256)

    def _connections(self) -> int:
        """Those that clients opened and the process still holds; others have the inode 0."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        ours = f":{self.port:04X}"
        return sum(row[1].endswith(ours) and row[2] != "00000000:0000" and row[9] != "0" for row in rows)

    async def is_as_before(self, before: Footprint, *, within: float = AT_ONCE, more_mib: float) -> None:
        """Wait until it holds no more than before, but for so much memory."""
        now = before
        try:
            with anyio.fail_after(within):
                while not (now := await self.footprint()).is_like(before):  # noqa: ASYNC110 as above
                    await anyio.sleep(0.1)
        except TimeoutError:
            message = f"{before} became {now}"
            raise AssertionError(message) from None
        assert now.mib < before.mib + more_mib

    async def ends_without_complaint(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        with anyio.fail_after(AT_ONCE):
            await self.process.wait()
        assert self.process.returncode == 143
        said = complaints(self.home)
        assert said == [], "\n".join(said)


@asynccontextmanager
async def abused(
    home: Path, simulator: Simulator | None = None, *, prelude: str = "", often: bool = True
) -> AsyncGenerator[Abused]:
    """A server that has answered calls before."""
    errors = home / "stderr.txt"
    async with served(simulator) as (base_url, runapi):
        environ = {
            **environment(home, base_url),
            "RUNAPI_API_KEY": "",
            "FLUX2_OUTPUT_DIR": "",
            "FLUX2_HTTP_AUTH": "runapi-key",
        }
        command = (*MODULE, "serve", "--http", "--port", "0")
        both = f"{COUNTS_ITS_TASKS}\n{prelude}"
        with errors.open("wb") as stderr:
            async with started(*command, environ=environ, stderr=stderr, often=often, prelude=both) as process:
                server = Abused(home, await address_in(errors), process, runapi)
                await server.call()
                yield server
                assert process.returncode is None or process.returncode == 143


async def counted_tasks(home: Path, process: Process) -> int:
    """How many asyncio tasks there are in a process that counts its tasks."""
    counted = anyio.Path(home / "tasks.txt")
    await counted.unlink(missing_ok=True)
    process.send_signal(signal.SIGUSR1)
    while not await counted.exists():  # noqa: ASYNC110 another process has no event to wait for
        await anyio.sleep(0.01)
    return int(await counted.read_text())


def request(
    body: bytes = b"",
    *lines: str,
    key: str | None = ADA,
    start: str = "POST /mcp HTTP/1.1",
    version: str = "2025-11-25",
) -> bytes:
    """A request that is right, but for what is said. Where its length is said otherwise, it is not said twice."""
    head = [
        start,
        "Host: 127.0.0.1",
        *(f"{name}: {value}" for name, value in HEADERS.items()),
        f"MCP-Protocol-Version: {version}",
        *([f"Authorization: Bearer {key}"] if key else []),
        *lines,
    ]
    if not re.search("content-length|transfer-encoding", "".join(lines), re.IGNORECASE):
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*head, "", "")).encode("latin-1") + body


def message(method: str, **params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


def modern(method: str, *, arguments: bytes = b"{}", **params: object) -> bytes:
    """A whole request of the modern era, with these arguments as they are."""
    name = params.get("name") or params.get("uri")
    lines = [f"Mcp-Method: {method}", *([f"Mcp-Name: {name}"] if name else [])]
    body = message(method, **params, arguments="@", _meta=MODERN).replace(b'"@"', arguments)
    return request(body, *lines, version="2026-07-28")


async def received(stream: SocketStream, is_enough: Callable[[bytes], bool] = lambda _: False) -> bytes:
    """What comes until it is enough, or the connection ends."""
    said = b""
    with anyio.fail_after(AT_ONCE):
        try:
            while not is_enough(said):
                said += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass
    return said


def status(answer: bytes) -> int:
    """Its status; 0 where there is none."""
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    return int(found[1]) if found else 0


def will_reset(stream: SocketStream) -> None:
    """Have its end be a RST instead of a FIN."""
    raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 this is no Django
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
