"""Many callers at once, each with a key of their own, on servers over HTTP; saving off, and mostly previews too.

On one server with a history in a file, and on two with one PostgreSQL behind HAProxy. The callers, the servers, the
database, HAProxy and a RunAPI that costs next to nothing share the machine.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream

from benchmarks.images import photograph
from benchmarks.report import Goal, Report, Row, main, middle, p99
from benchmarks.runapi import PlainRunAPI
from benchmarks.servers import PLAIN, Server, served
from benchmarks.waiting import Waits, tiny_picture
from tests.hosting.haproxy import load_balancer
from tests.postgresql import running as postgresql
from tests.processes import MODERN, MODULE, environment, started

SECONDS = 2.0
"""Of each task."""
KNOWN = 20
"""Calls before those that count."""


@dataclass(frozen=True)
class Crowd:
    """Who calls what."""

    callers: int
    calls: int = 1
    """Of each caller, all at once."""
    servers: int = 1
    webhooks: bool = False
    """Whether RunAPI tells the ends."""
    previews: bool = False
    """Whether pictures of 1 megapixel are made small for the callers."""

    @property
    def number(self) -> int:
        """All calls."""
        return self.callers * self.calls


USUAL, LARGE, WITH_PREVIEWS = Crowd(50, 4), Crowd(50, 20), Crowd(50, previews=True)
CROWDS = (
    *(replace(crowd, webhooks=told) for crowd in (USUAL, LARGE) for told in (False, True)),
    *(Crowd(callers, servers=servers, webhooks=True) for servers in (1, 2) for callers in (100, 1000)),
    replace(LARGE, servers=2, webhooks=True),
    WITH_PREVIEWS,
)


@dataclass
class Load(Waits):
    """How all calls fared."""

    slowest_health: float = 0.0
    """Seconds that the slowest answer at /healthz took meanwhile."""


async def measure() -> Report:
    """One crowd after another, each on servers of its own."""
    found = {crowd: await _load(crowd) for crowd in CROWDS}
    told, large, large_told = (found[crowd] for crowd in CROWDS[1:4])
    return Report(
        f"Callers over HTTP, all at once; tasks of {SECONDS:g} s",
        [_row(crowd, each) for crowd, each in found.items()],
        [
            Goal("errors of all", sum(len(each.errors) for each in found.values()), 0),
            Goal("50 callers × 20 calls: p99 overshoot", p99(large.late), 2.0, "s"),
            Goal("… with webhooks", p99(large_told.late), 2.0, "s"),
            Goal("50 callers × 20 calls: peak memory", large.peak_mib, 300, "MiB"),
            Goal("200 calls with webhooks: p99 overshoot", p99(told.late), 0.5, "s"),
            Goal("… status requests per task", told.requests / 200 - 1, 2),
            Goal("50 calls with previews: /healthz", found[WITH_PREVIEWS].slowest_health * 1000, 100, "ms"),
        ],
    )


def _row(crowd: Crowd, found: Load) -> Row:
    return {
        "servers": crowd.servers,
        "callers": crowd.callers,
        "calls of each": crowd.calls,
        "webhooks": "yes" if crowd.webhooks else "no",
        "previews": "yes" if crowd.previews else "no",
        "finished per second": round(len(found.late) / found.seconds, 1),
        "median, s": middle(found.late),
        "p99, s": round(p99(found.late), 3),
        "requests per task": round(found.requests / crowd.number, 2),
        "errors": len(found.errors),
        "CPU per call, ms": round(found.cpu_seconds / crowd.number * 1000, 1),
        "peak of one, MiB": round(found.peak_mib),
        "/healthz, at most, ms": round(found.slowest_health * 1000),
    }


async def _load(crowd: Crowd) -> Load:
    picture = photograph(1024) if crowd.previews else tiny_picture()
    runapi, found = PlainRunAPI(repeat(SECONDS), picture), Load()
    async with (
        served(runapi) as base_url,
        _servers(base_url, crowd) as (servers, port),
        anyio.create_task_group() as group,
    ):
        group.start_soon(_tell_ends, runapi)
        await _call_all(port, runapi, [(0, f"known {n}") for n in range(KNOWN)], Load())
        before, used, began = runapi.requests, _cpu_seconds(servers), monotonic()
        group.start_soon(_watch_health, servers[0].port, found)
        prompts = [(caller, f"fox {caller} {n}") for n in range(crowd.calls) for caller in range(crowd.callers)]
        await _call_all(port, runapi, prompts, found)
        found.seconds, found.cpu_seconds = monotonic() - began, _cpu_seconds(servers) - used
        found.requests, found.peak_mib = runapi.requests - before, max(server.memory() for server in servers)
        group.cancel_scope.cancel()
    return found


@dataclass
class Listening(Server):
    """A server, and the port that it listens on."""

    port: int = 0


def _cpu_seconds(servers: Sequence[Server]) -> float:
    return sum(server.cpu_seconds for server in servers)


@asynccontextmanager
async def _servers(base_url: str, crowd: Crowd) -> AsyncGenerator[tuple[Sequence[Listening], int], None]:
    """The servers, and the port that callers know."""
    ports = [_free_port() for _ in range(max(2, crowd.servers))]
    async with AsyncExitStack() as stack:
        more: dict[str, str] = {}
        if crowd.servers > 1:
            more["FLUX2_DATABASE_URL"] = stack.enter_context(postgresql()).url
        public = ports[0]
        servers = [
            await stack.enter_async_context(_server(base_url, port, crowd, more)) for port in ports[: crowd.servers]
        ]
        if crowd.servers > 1:
            balancer = load_balancer(*(f"http://127.0.0.1:{port}" for port in ports))
            public = urlsplit(await stack.enter_async_context(balancer)).port or 0
        yield servers, public


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@asynccontextmanager
async def _server(base_url: str, port: int, crowd: Crowd, more: Mapping[str, str]) -> AsyncGenerator[Listening, None]:
    with TemporaryDirectory() as home:
        environ = {
            **environment(Path(home), base_url),
            **PLAIN,
            "FLUX2_PREVIEW": "auto" if crowd.previews else "off",
            "RUNAPI_API_KEY": "",
            "FLUX2_OUTPUT_DIR": "",
            "FLUX2_HTTP_AUTH": "runapi-key",
            "FLUX2_SECRET": "0123456789abcdef" * 2,
            **({"FLUX2_PUBLIC_URL": f"http://127.0.0.1:{port}"} if crowd.webhooks else {}),
            **more,
        }
        command = (*MODULE, "serve", "--http", "--port", str(port))
        with (Path(home) / "log").open("wb") as log:
            async with started(*command, environ=environ, stderr=log, alone=True) as process:
                while not await _answers(port):  # noqa: ASYNC110 another process has no event to wait for
                    await anyio.sleep(0.05)
                yield Listening(process, Path(home), port=port)


async def _call_all(port: int, runapi: PlainRunAPI, prompts: list[tuple[int, str]], found: Load) -> None:
    async with anyio.create_task_group() as group:
        for caller, prompt in prompts:
            group.start_soon(_call, port, runapi, f"runapi_{caller:020}", prompt, found)


async def _call(port: int, runapi: PlainRunAPI, key: str, prompt: str, found: Load) -> None:
    """One call by hand, which takes less of the machine than a client."""
    arguments = {"prompt": prompt, "wait_seconds": 120}
    params = {"name": "generate", "arguments": arguments, "_meta": MODERN}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
        "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: generate\r\n"
        "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    try:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(head.encode() + body)
            answer = await _all_of(stream)
    except OSError as error:
        answer = str(error).encode()
    if b"made the picture" in answer and b'"isError":true' not in answer:
        found.late.append(monotonic() - runapi.ends[prompt])
    else:
        found.errors.append(answer.decode(errors="replace")[:300])


async def _all_of(stream: ByteStream) -> bytes:
    return b"".join([piece async for piece in stream])


async def _answers(port: int) -> bool:
    try:
        async with await anyio.connect_tcp("127.0.0.1", port):
            return True
    except OSError:
        return False


async def _watch_health(port: int, found: Load) -> None:
    while True:
        began = monotonic()
        await _ask(port, "GET /healthz")
        found.slowest_health = max(found.slowest_health, monotonic() - began)
        await anyio.sleep(0.1)


async def _tell_ends(runapi: PlainRunAPI) -> None:
    """Send the webhooks that are due."""
    async with anyio.create_task_group() as group:
        while True:
            now = monotonic()
            due = [address for end, address in runapi.callbacks if end <= now]
            runapi.callbacks = [each for each in runapi.callbacks if each[0] > now]
            for address in due:
                url = urlsplit(address)
                group.start_soon(_ask, url.port or 80, f"POST {url.path}")
            await anyio.sleep(0.02)


async def _ask(port: int, what: str) -> bytes:
    """The answer to a request without a body, by hand."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        head = f"{what} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        await stream.send(head.encode())
        return await _all_of(stream)


if __name__ == "__main__":
    main(measure)
