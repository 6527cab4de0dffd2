"""What stands between our server and the simulated RunAPI, and has one thing go wrong, at one step, so many times."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

import anyio
import httpx

from flux2_mcp.simulator import Simulator
from tests.reliability.inside import CLOCK, names_file
from tests.world import KEY

Step = Literal["create", "look", "prepare", "put", "confirm", "picture", "prices", "quote", "balance", "webhook"]
Certificate = Literal["stranger", "expired", "other name"]

BEFORE: Mapping[Step, Step | None] = {
    "prices": None,
    "create": "prices",
    "quote": "prices",
    "balance": "prices",
    "prepare": "prices",
    "put": "prepare",
    "confirm": "put",
    "look": "create",
    "picture": "look",
}
"""Which step has just been answered when the next connection is this one's."""
KEYLESS: frozenset[Step | None] = frozenset({"picture", "put", "webhook"})
"""Steps whose addresses belong to others, so that no key may go there."""


@dataclass(frozen=True)
class Message:
    """A request or an answer: its first line, its headers, and its body."""

    start: str
    headers: Sequence[tuple[str, str]]
    body: bytes = b""

    @property
    def head(self) -> bytes:
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    @property
    def raw(self) -> bytes:
        return self.head + self.body

    def with_body(self, body: bytes, **headers: str) -> Message:
        """The same message about something else, and the last one on its connection."""
        kept = [pair for pair in self.headers if pair[0].lower() == "host"]
        given = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return Message(self.start, [*kept, ("Content-Length", str(len(body))), ("Connection", "close"), *given], body)


def answer(status: int, body: bytes = b"", **headers: str) -> Message:
    """An answer with this status."""
    return Message(f"HTTP/1.1 {status} Whatever", []).with_body(body, **headers)


@dataclass
class Victim:
    """Who is told something wrong: our server, by an answer or, of a webhook, by a request."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def tell(self, data: bytes) -> None:
        self.writer.write(data)
        with suppress(OSError):
            await self.writer.drain()

    async def silence(self) -> None:
        """Say nothing until it has had enough."""
        with suppress(OSError):
            while await self.reader.read(1024):
                pass

    def reset(self) -> None:
        raw: socket.socket | None = self.writer.get_extra_info("socket")
        if raw is not None and self.writer.get_extra_info("ssl_object") is None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class Exchange:
    """One request that meets a fault."""

    gateway: Gateway
    step: Step
    request: Message
    client: Victim

    async def truth(self) -> Message:
        """What would be said without the fault, and all of its effect: RunAPI's answer, or its webhook."""
        return self.request if self.step == "webhook" else await self.gateway.answered(self.request)

    @asynccontextmanager
    async def victim(self) -> AsyncGenerator[Victim]:
        """Whoever is told."""
        if self.step != "webhook":
            yield self.client
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.server_port)
        try:
            yield Victim(reader, writer)
        finally:
            writer.transport.abort()

    async def said(self, message: Message) -> None:
        """Tell it this, and let it answer if it wants to."""
        async with self.victim() as victim:
            await victim.tell(message.raw)
            if self.step == "webhook":
                with anyio.move_on_after(5):
                    await victim.reader.read(1024)


Act = Callable[[Exchange], Awaitable[None]]


@dataclass(kw_only=True)
class Gateway:
    """Passes requests on to the simulator, and webhooks to our server, but for those that a fault is meant for."""

    simulator: Simulator
    step: Step
    act: Act | None = None
    """What happens to a request of this step."""
    names: Literal["refused", "unknown"] | None = None
    """What happens to connections for it."""
    certificate: Certificate | None = None
    """With which wrong certificate they are met."""
    jump: float = 0.0
    """By how many seconds the clock jumps at each."""
    left: float
    """How many are still to meet it."""
    inside: Path
    """The folder of `inside.install`."""
    contexts: Mapping[str, ssl.SSLContext] = field(default_factory=dict[str, ssl.SSLContext])
    met: int = 0
    """How many requests or connections have met the fault, as far as that is seen here."""
    told: dict[str, float] = field(default_factory=dict[str, float])
    """When our server was told the id of a task."""
    strayed: list[bytes] = field(default_factory=list[bytes])
    """What was sent to another origin."""
    leaks: list[str] = field(default_factory=list[str])
    port: int = 0
    other_port: int = 0
    server_port: int = 0
    _is_ready: bool = False
    """Whether connections are for the step now."""

    @property
    def url(self) -> str:
        return f"{'https' if self.contexts else 'http'}://localhost:{self.port}"

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Gateway]:
        """While it is open."""
        context = self.contexts.get("good")
        if context is not None:
            context.sni_callback = self._choose_certificate
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context, limit=2**24)
        other = await asyncio.start_server(self._stray, "127.0.0.1", 0)
        self.port, self.other_port = (each.sockets[0].getsockname()[1] for each in (server, other))
        if BEFORE.get(self.step, self.step) is None:
            await self._make_ready()
        try:
            yield self
        finally:
            server.close()
            other.close()

    async def lift(self) -> None:
        """Nothing goes wrong from now on."""
        self.left = 0
        if self.names and self._is_ready:
            await anyio.to_thread.run_sync(self._forget_names)

    async def answered(self, request: Message) -> Message:
        """RunAPI's own answer."""
        method, target, _ = request.start.split(" ")
        headers = dict(request.headers)
        host = next(value for name, value in request.headers if name.lower() == "host")
        url = f"{'https' if self.contexts else 'http'}://{host}{target}"
        asked = httpx.Request(method, url, headers=headers, content=request.body)
        response = await httpx.ASGITransport(self.simulator).handle_async_request(asked)
        body = await response.aread()
        kept = [(name, value) for name, value in response.headers.items() if name.lower() != "content-length"]
        start = f"HTTP/1.1 {response.status_code} {response.reason_phrase or 'Whatever'}"
        return Message(start, [*kept, ("Content-Length", str(len(body))), *self._ending], body)

    @property
    def _ending(self) -> Sequence[tuple[str, str]]:
        """Where it is about connections, each is used once."""
        return [("Connection", "close")] if self.names or self.certificate else []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await read_message(reader)) is not None:
                if not await self._exchange(request, Victim(reader, writer)):
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _exchange(self, request: Message, client: Victim) -> bool:
        """Whether another request may follow on this connection."""
        method, target, _ = request.start.split(" ")
        step = step_of(method, urlsplit(target).path)
        if step in KEYLESS and KEY.encode() in request.raw:
            self.leaks.append(request.start)
        if step is not None and step == self.step and self.left > 0 and not self.names and not self.certificate:
            self.left -= 1
            self.met += 1
            if self.jump:
                await anyio.to_thread.run_sync(self._jump)
            if self.act is not None:
                await self.act(Exchange(self, step, request, client))
                return False
        truth = await self._passed_on(request) if step == "webhook" else await self.answered(request)
        if step == "create":
            for task in self.simulator.ledger.tasks():
                self.told.setdefault(task.id, time.monotonic())
        if step is not None and step == BEFORE.get(self.step):
            await self._make_ready()
        await client.tell(truth.raw)
        return not self._ending

    async def _passed_on(self, request: Message) -> Message:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server_port)
        try:
            await Victim(reader, writer).tell(request.raw)
            return await read_message(reader) or answer(502)
        finally:
            writer.close()

    async def _make_ready(self) -> None:
        if self._is_ready or not self.left:
            return
        self._is_ready = True
        await anyio.to_thread.run_sync(self._place_names)

    def _place_names(self) -> None:
        if self.names:
            numbers = range(int(self.left)) if self.left < float("inf") else [None]
            for nth in numbers:
                (self.inside / names_file(self.names, nth)).touch()

    def _forget_names(self) -> None:
        first = names_file(cast("str", self.names), 0)
        unused = list(self.inside.glob("names-*"))
        # Whether one for always was used, nobody knows.
        self.met = max(self.met, int(all(file.name != first for file in unused)))
        for file in unused:
            file.unlink(missing_ok=True)

    def _jump(self) -> None:
        (self.inside / f"{CLOCK}.new").write_text(str(self.met * self.jump), encoding="ascii")
        (self.inside / f"{CLOCK}.new").rename(self.inside / CLOCK)

    def _choose_certificate(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        if self.certificate and self._is_ready and self.left > 0:
            self.left -= 1
            self.met += 1
            connection.context = self.contexts[self.certificate]

    async def _stray(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            request = await read_message(reader)
            self.strayed.append(request.raw if request else b"")
            await Victim(reader, writer).tell(answer(200, b"{}").raw)
        writer.close()


async def read_message(reader: asyncio.StreamReader) -> Message | None:
    """The next request or answer; None where there is none."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    start, *lines = head.strip("\r\n").split("\r\n")
    headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    return Message(start, headers, await reader.readexactly(length))


def step_of(method: str, path: str) -> Step | None:
    """Which step this request is."""
    return next((step for step, methods, pattern in _REQUESTS if method == methods and pattern.search(path)), None)


_REQUESTS: Sequence[tuple[Step, str, re.Pattern[str]]] = (
    ("create", "POST", re.compile(r"/(text_to_image|remix_image)$")),
    ("look", "GET", re.compile(r"/(text_to_image|remix_image|tasks)/")),
    ("prepare", "POST", re.compile(r"/files/prepare$")),
    ("put", "PUT", re.compile(r"")),
    ("confirm", "POST", re.compile(r"/files/confirm$")),
    ("picture", "GET", re.compile(r"^/generated/")),
    ("prices", "GET", re.compile(r"/price_schedules$")),
    ("quote", "POST", re.compile(r"/price_quotes$")),
    ("balance", "GET", re.compile(r"/me/balance$")),
    ("webhook", "POST", re.compile(r"^/webhooks/")),
)
