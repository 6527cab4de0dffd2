"""The transport below all others: HTTP/1.1 by httpcore, over a pool of connections.

httpx's own transport uses httpcore's connection pool, which at every request walks through all its connections, several
times where they are idle, and asks the system about each of these. With a few dozen of them that takes longer than the
request itself (docs/performance.md). Here the connection that was used last is used next, and only that one is looked
at.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable
from contextlib import aclosing, contextmanager, suppress
from typing import Any, NamedTuple, cast

import anyio
import anyio.to_thread
import httpcore
import httpx

from flux2_mcp.runapi.origins import proxy_for

MAX_CONNECTIONS = 100
MAX_KEEPALIVE_CONNECTIONS = 50
MOST_UNSENT = 2**16
"""Bytes of a request that are gathered before they are sent."""
MOST_UNREAD = 2**18
"""Half of the bytes of an answer that are taken from the system before they are asked for."""
KEEPALIVE_EXPIRY = 5.0
"""Seconds after which an idle connection is not used again; it is closed with the next request to anybody."""


def transport_to(base_url: str) -> httpx.AsyncBaseTransport:
    """A transport to this RunAPI, through the proxy that the environment names for it."""
    proxy = proxy_for(base_url)
    return PooledTransport() if proxy is None else httpx.AsyncHTTPTransport(proxy=proxy)


class _Peer(NamedTuple):
    """Whom a connection leads to: the address, and the name that TLS has proved."""

    scheme: bytes
    host: bytes
    port: int
    server_hostname: str | None


class PooledTransport(httpx.AsyncBaseTransport):
    """Send requests over at most `max_connections` at once, of which `max_keepalive_connections` stay open in between.

    A connection is used again for the same address and the same name only: behind one address there are many names, and
    TLS has proved one of them. The environment may name certificates (SSL_CERT_FILE, SSL_CERT_DIR), nothing else.
    """

    def __init__(
        self,
        *,
        max_connections: int = MAX_CONNECTIONS,
        max_keepalive_connections: int = MAX_KEEPALIVE_CONNECTIONS,
    ) -> None:
        self._max_keepalive_connections = max_keepalive_connections
        self._free = anyio.Semaphore(max_connections, fast_acquire=True)
        self._idle: list[tuple[_Peer, httpcore.AsyncConnectionInterface]] = []
        """The one that was used last comes last."""
        self._backend = _Backend()
        self._certificates: ssl.SSLContext | None = None
        self._reading = anyio.Lock()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer; its connection is free for others once it is closed.

        Raises:
            httpx.TransportError: There was none.
        """
        url = request.url
        scheme, host, port = url.raw_scheme, url.raw_host, url.port or (443 if url.scheme == "https" else 80)
        peer = _Peer(scheme, host, port, request.extensions.get("sni_hostname"))
        target = httpcore.URL(scheme=scheme, host=host, port=port, target=url.raw_path)
        asked = httpcore.Request(
            request.method,
            target,
            headers=request.headers.raw,
            content=cast("httpx.AsyncByteStream", request.stream),
            extensions=request.extensions,
        )
        await taken(self._free, request)
        connection = None
        try:
            with _as_httpx():
                connection = await self._connection_to(peer, target.origin)
                answer = await connection.handle_async_request(asked)
        except BaseException:
            await self.release(peer, connection)
            raise
        stream = _ResponseStream(self, peer, connection, answer)
        return httpx.Response(
            answer.status, headers=answer.headers, stream=stream, extensions=cast("dict[str, Any]", answer.extensions)
        )

    async def aclose(self) -> None:
        """Close the connections that are idle; the others are closed with their answers."""
        self._max_keepalive_connections = 0
        idle, self._idle = self._idle, []
        for _, connection in idle:
            await connection.aclose()

    async def _connection_to(self, peer: _Peer, origin: httpcore.Origin) -> httpcore.AsyncConnectionInterface:
        for index in range(len(self._idle) - 1, -1, -1):
            if self._idle[index][0] == peer:
                _, connection = self._idle.pop(index)
                if not connection.has_expired():
                    return connection
                await connection.aclose()
        certificates = await self._read_certificates() if origin.scheme == b"https" else None
        return httpcore.AsyncHTTPConnection(
            origin, ssl_context=certificates, keepalive_expiry=KEEPALIVE_EXPIRY, network_backend=self._backend
        )

    async def release(self, peer: _Peer, connection: httpcore.AsyncConnectionInterface | None) -> None:
        """Keep the connection, if it can be used again, and close one that has been idle for too long."""
        self._free.release()
        with anyio.CancelScope(shield=True):
            if connection is not None and connection.is_idle() and not connection.is_closed():
                self._idle.append((peer, connection))
            elif connection is not None:
                await connection.aclose()
            while self._idle and (len(self._idle) > self._max_keepalive_connections or self._idle[0][1].has_expired()):
                _, oldest = self._idle.pop(0)
                await oldest.aclose()

    async def _read_certificates(self) -> ssl.SSLContext:
        async with self._reading:
            if self._certificates is None:
                # In a thread: it takes a while.
                self._certificates = await anyio.to_thread.run_sync(httpx.create_ssl_context)
            return self._certificates


async def taken(free: anyio.Semaphore, request: httpx.Request) -> None:
    """Take one of what is free for this request, as soon as there is one.

    Raises:
        httpx.PoolTimeout: There was none in time.
    """
    try:
        free.acquire_nowait()
    except anyio.WouldBlock:
        try:
            with anyio.fail_after(request.extensions.get("timeout", {}).get("pool")):
                await free.acquire()
        except TimeoutError as error:
            msg = "All connections are in use."
            raise httpx.PoolTimeout(msg, request=request) from error


class _ResponseStream(httpx.AsyncByteStream):
    """The body of an answer, whose connection is given back when it is closed."""

    def __init__(
        self,
        pool: PooledTransport,
        peer: _Peer,
        connection: httpcore.AsyncConnectionInterface,
        answer: httpcore.Response,
    ) -> None:
        self._pool = pool
        self._peer = peer
        self._connection: httpcore.AsyncConnectionInterface | None = connection
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async with aclosing(cast("AsyncGenerator[bytes]", aiter(cast("Any", self._answer.stream)))) as pieces:
                async for piece in pieces:
                    yield piece

    async def aclose(self) -> None:
        if (connection := self._connection) is None:
            return
        self._connection = None
        try:
            with _as_httpx():
                await self._answer.aclose()
        finally:
            await self._pool.release(self._peer, connection)


@contextmanager
def _as_httpx() -> Generator[None]:
    """Raise httpcore's errors as those of httpx, which have the same names."""
    try:
        yield
    except _HTTPCORE_ERRORS as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error


_HTTPCORE_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)


class _Backend(httpcore.AsyncNetworkBackend):
    """Connections by asyncio alone: anyio's take twice as long for the few bytes of a look."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 as httpcore declares it
        local_address: str | None = None,  # noqa: ARG002 nobody asks for one
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        with _failures(httpcore.ConnectTimeout, httpcore.ConnectError):
            async with asyncio.timeout(timeout):
                return await _connected(host, port)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def _connected(host: str, port: int) -> _Stream:
    """What `asyncio.open_connection()` does, with a reader of ours."""
    loop = asyncio.get_running_loop()
    reader = _Reader(limit=MOST_UNREAD, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    try:
        # Where a name has several addresses, the next one is tried beside the first after a moment.
        transport, _ = await loop.create_connection(lambda: protocol, host, port, happy_eyeballs_delay=0.25)
    except (UnicodeError, IndexError) as error:
        # A name that cannot be one, and a port: asyncio says so in its own ways.
        raise httpcore.ConnectError(str(error)) from error
    return _Stream(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


class _Reader(asyncio.StreamReader):
    """A reader that knows how much of what has come was not asked for yet."""

    unread = 0

    def feed_data(self, data: bytes) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] asyncio gives bytes
        self.unread += len(data)
        super().feed_data(data)


class _Stream(httpcore.AsyncNetworkStream):
    """One connection. A request goes out as a whole, when its answer is waited for."""

    def __init__(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._unsent = bytearray()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        # Who refuses a request may answer before all of it was read.
        with suppress(httpcore.WriteError):
            await self._flush(timeout)
        with _failures(httpcore.ReadTimeout, httpcore.ReadError):
            async with asyncio.timeout(timeout):
                data = await self._reader.read(max_bytes)
        self._reader.unread -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self._unsent += buffer
        if len(self._unsent) > MOST_UNSENT:
            await self._flush(timeout)

    async def _flush(self, timeout: float | None) -> None:  # noqa: ASYNC109
        if not self._unsent:
            return
        with _failures(httpcore.WriteTimeout, httpcore.WriteError):
            async with asyncio.timeout(timeout):
                self._writer.write(bytes(self._unsent))
                self._unsent.clear()
                await self._writer.drain()

    async def aclose(self) -> None:
        # Not close(): that waits for a peer which may hang, to take what is unsent or to end TLS.
        self._writer.transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        with _failures(httpcore.ConnectTimeout, httpcore.ConnectError):
            try:
                async with asyncio.timeout(timeout):
                    await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
            except BaseException:
                self._writer.transport.abort()
                raise
        return self

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401
        if info == "is_readable":
            # What came after an answer was not asked for, and must not be taken for the next one.
            return (
                self._reader.unread > 0 or self._reader.at_eof() or _is_readable(self._writer.get_extra_info("socket"))
            )
        return self._writer.get_extra_info(info)


@contextmanager
def _failures(slow: type[httpcore.TimeoutException], broken: type[httpcore.NetworkError]) -> Generator[None]:
    """Raise what can go wrong with a connection as httpcore does."""
    try:
        yield
    except TimeoutError as error:
        raise slow(str(error)) from error
    except OSError as error:
        raise broken(str(error)) from error


def _is_readable(raw: socket.socket) -> bool:
    """Whether there is something to read; a closed one counts too."""
    if raw.fileno() < 0:
        return True
    if not hasattr(select, "poll"):
        return bool(select.select([raw], [], [], 0)[0])
    poll = select.poll()
    poll.register(raw.fileno(), select.POLLIN)
    return bool(poll.poll(0))
