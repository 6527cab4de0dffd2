"""The network below everything: httpx's transport, with connections whose state costs little to ask for."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterable
from ssl import SSLContext
from typing import Any

import httpcore
import httpx

from flux2_mcp.runapi.origins import proxy_for

LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20)


def network(base_url: str) -> httpx.AsyncBaseTransport:
    """A transport to this RunAPI, through the proxy that the environment names for it.

    Before each request httpcore asks every idle connection whether its peer has closed it. Through anyio that collects
    all that is known of the socket, from the system too: a third of what a request costs. There is no public way to
    give httpx's transport another network backend; where the private one is gone, requests cost what they cost.
    Seen in httpx 0.28.1 and httpcore 1.0.9.
    """
    # The client reads proxies from the environment only without a transport of ours.
    transport = httpx.AsyncHTTPTransport(proxy=proxy_for(base_url), limits=LIMITS)
    pool = getattr(transport, "_pool", None)
    if hasattr(pool, "_network_backend"):
        pool._network_backend = _Backend(pool._network_backend)  # noqa: SLF001  # pyright: ignore[reportOptionalMemberAccess]
    return transport


class _Backend(httpcore.AsyncNetworkBackend):
    """Another backend, whose streams keep their socket at hand."""

    def __init__(self, inner: httpcore.AsyncNetworkBackend) -> None:
        self._inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 as httpcore declares it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(stream, stream.get_extra_info("socket"))

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    """Another stream, and its socket."""

    def __init__(self, inner: httpcore.AsyncNetworkStream, raw: socket.socket | None) -> None:
        self._inner = inner
        self._raw = raw
        # They are what takes the time; nothing is to be added.
        self.read = inner.read
        self.write = inner.write
        self.aclose = inner.aclose

    async def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout), self._raw)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401
        if info == "is_readable" and self._raw is not None:
            return _is_readable(self._raw)
        return self._inner.get_extra_info(info)


def _is_readable(raw: socket.socket) -> bool:
    """Whether there is something to read, which on an idle connection is its end; a closed one counts too."""
    if raw.fileno() < 0:
        return True
    if not hasattr(select, "poll"):
        return bool(select.select([raw], [], [], 0)[0])
    poll = select.poll()
    poll.register(raw, select.POLLIN)
    return bool(poll.poll(0))
