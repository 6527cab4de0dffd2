"""Fetch a picture from the address that RunAPI gave, and from no private address."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import anyio

from flux2_mcp import telemetry
from flux2_mcp.errors import PictureUnavailable, PictureUnusable, has_too_many_files
from flux2_mcp.images.formats import MAX_PIXELS, Picture, Previewer, in_worker, recognise
from flux2_mcp.images.public_addresses import Resolve, is_literal, is_public, system_resolver

if TYPE_CHECKING:
    import httpx

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
ADDRESSES_TRIED: Final = 3
MAX_CONNECTIONS: Final = 16
AT_ONCE: Final = 4
"""Pictures that are fetched and put away at the same time; until then their bytes are held."""

_HEADERS: Final = {
    "Accept": "image/png, image/jpeg, image/webp, image/gif",
    # Otherwise a small answer could unpack to a large one before it is counted.
    "Accept-Encoding": "identity",
    "User-Agent": "flux2-mcp",
}
_TIMEOUTS: Final = {"connect": 10.0, "read": 20.0, "write": 10.0, "pool": 30.0}


@dataclass(frozen=True)
class FetchLimits:
    """How much of an answer is accepted: bytes, seconds in all, redirects, pixels."""

    max_bytes: int = 40_000_000
    seconds: float = 60
    redirects: int = 3
    max_pixels: int = MAX_PIXELS


class _TransientFailure(PictureUnavailable):
    """A failure that may have passed the next moment."""


class Fetcher:
    """Fetches pictures from RunAPI's own origin, and by https from public addresses; one per process.

    It speaks to the transport below an httpx client: there are no cookies, no credentials, no redirects and no proxies
    that would have to be turned off. A proxy would look the name up itself and reach an address that nobody checked.
    """

    def __init__(
        self,
        *,
        runapi_origin: str,
        limits: FetchLimits = FetchLimits(),
        transport: httpx.AsyncBaseTransport | None = None,
        resolve: Resolve | None = None,
        previewer: Previewer | None = None,
    ) -> None:
        self._runapi_origin = runapi_origin
        self._limits = limits
        self._transport = transport
        self._resolve: Resolve = resolve or system_resolver
        self.previewer = previewer
        self._turns = anyio.CapacityLimiter(AT_ONCE)

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """To be held while a picture is fetched and put away."""
        async with self._turns:
            with telemetry.counted(telemetry.PICTURES_ACTIVE):
                yield

    async def fetch(self, url: str) -> Picture:
        """The picture at this address, recognised by its bytes; with a preview if there is a previewer.

        Raises:
            PictureUnavailable: What went wrong, with the host but never the rest of the address: it may be signed.
            PictureUnusable: It is there, and no use to fetch again.
        """
        try:
            with anyio.fail_after(self._limits.seconds):
                data = await self._download(_address(url))
        except TimeoutError as error:
            msg = f"The picture did not arrive within {self._limits.seconds:g} seconds."
            raise PictureUnavailable(msg) from error
        return await in_worker(partial(recognise, data, max_pixels=self._limits.max_pixels, previewer=self.previewer))

    @property
    def is_crowded(self) -> bool:
        """Whether pictures wait for others to be fetched."""
        return self._turns.statistics().tasks_waiting > 0

    async def aclose(self) -> None:
        if self._transport is not None:
            await self._transport.aclose()

    async def _download(self, url: httpx.URL) -> bytes:
        try:
            return await self._follow(url)
        except _TransientFailure:
            return await self._follow(url)

    async def _follow(self, url: httpx.URL) -> bytes:
        for _ in range(self._limits.redirects + 1):
            answer = await self._get(url)
            if isinstance(answer, bytes):
                return answer
            url = answer
        msg = f"The picture's address was redirected more than {self._limits.redirects} times."
        raise PictureUnavailable(msg)

    async def _get(self, url: httpx.URL) -> bytes | httpx.URL:
        """The body, or where it is instead."""
        import httpx

        _, host, port = _origin(url)
        try:
            with telemetry.request("GET", (host.decode("ascii"), port), "{picture}") as answer:
                response = await self._ask(url)
                answer.status = response.status_code
                try:
                    return await self._read(response, url)
                finally:
                    await response.aclose()
        except httpx.TransportError as error:
            why = "Too many open files" if has_too_many_files(error) else type(error).__name__
            msg = f"The connection to {url.host} failed ({why})."
            raise _TransientFailure(msg) from error

    async def _ask(self, url: httpx.URL) -> httpx.Response:
        import httpx

        transport = self._opened()
        requests = await self._requests(url)
        for request in requests[:-1]:
            try:
                return await transport.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                # The next address of the same name: this machine may have no route to the first.
                continue
        return await transport.handle_async_request(requests[-1])

    async def _requests(self, url: httpx.URL) -> list[httpx.Request]:
        """The same request once per address of the host, best first."""
        import httpx

        if _origin(url) == _origin(httpx.URL(self._runapi_origin)):
            return [httpx.Request("GET", url, headers=_HEADERS, extensions={"timeout": _TIMEOUTS})]
        return [
            httpx.Request(
                "GET",
                # The address that was checked, so that no second look-up can give another one.
                url.copy_with(host=address),
                headers={**_HEADERS, "Host": url.netloc.decode("ascii")},
                # TLS still proves the name.
                extensions={"timeout": _TIMEOUTS, "sni_hostname": url.raw_host.decode("ascii")},
            )
            for address in await self._public_addresses(url)
        ]

    async def _public_addresses(self, url: httpx.URL) -> list[str]:
        if url.scheme != "https":
            msg = "The picture's address is not an https address, so it was not fetched."
            raise PictureUnavailable(msg)
        host = url.raw_host.decode("ascii")
        try:
            addresses = [host] if is_literal(host) else await self._resolve(host, url.port or 443)
        except (OSError, UnicodeError) as error:
            msg = f"There is no address for {url.host}."
            raise _TransientFailure(msg) from error
        # One private address among public ones is an attack too: which one is used would be chance.
        if not addresses or not all(map(is_public, addresses)):
            msg = f"{url.host} is not on the public internet, so the picture was not fetched."
            raise PictureUnavailable(msg)
        return list(addresses)[:ADDRESSES_TRIED]

    async def _read(self, response: httpx.Response, url: httpx.URL) -> bytes | httpx.URL:
        if response.status_code in REDIRECTS and "Location" in response.headers:
            return _address(response.headers["Location"], base=url)
        if response.status_code >= 500:
            msg = f"{url.host} answered with HTTP status {response.status_code}."
            raise _TransientFailure(msg)
        if response.status_code != 200:
            msg = f"{url.host} answered with HTTP status {response.status_code}; the link may have expired."
            raise PictureUnavailable(msg)
        return await self._body(response)

    async def _body(self, response: httpx.Response) -> bytes:
        promised = response.headers.get("Content-Length", "")
        if promised.isdecimal() and int(promised) > self._limits.max_bytes:
            raise self._too_much()
        pieces: list[bytes] = []
        size = 0
        # Not aiter_raw(): it refuses a response that was made from bytes, and in-memory transports make such ones.
        async for piece in cast("httpx.AsyncByteStream", response.stream):
            pieces.append(piece)
            size += len(piece)
            if size > self._limits.max_bytes:
                raise self._too_much()
        return b"".join(pieces)

    def _too_much(self) -> PictureUnusable:
        return PictureUnusable(f"The file has more than {self._limits.max_bytes / 1e6:g} MB, the limit here.")

    def _opened(self) -> httpx.AsyncBaseTransport:
        from flux2_mcp.runapi.connection_pool import PooledTransport

        self._transport = self._transport or PooledTransport(
            max_connections=MAX_CONNECTIONS, max_keepalive_connections=AT_ONCE
        )
        return self._transport


def _address(text: str, *, base: httpx.URL | None = None) -> httpx.URL:
    import httpx

    try:
        url = httpx.URL(text) if base is None else base.join(text)
        # Some names that cannot be one are only noticed when they are decoded.
        host = url.host
    except (httpx.InvalidURL, ValueError) as error:
        msg = "The picture's address is not a usable address."
        raise PictureUnavailable(msg) from error
    if url.scheme not in {"http", "https"} or not host or url.userinfo or (url.port or 1) > 65535:
        msg = "The picture's address is not a plain https address."
        raise PictureUnavailable(msg)
    return url


def _origin(url: httpx.URL) -> tuple[str, bytes, int]:
    return url.scheme, url.raw_host, url.port or {"http": 80}.get(url.scheme, 443)
