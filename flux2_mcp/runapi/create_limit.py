"""A transport that bounds how many create requests are under way."""

from __future__ import annotations

import anyio
import httpx

from flux2_mcp.runapi.connection_pool import MAX_CONNECTIONS, taken

MOST_CREATES = MAX_CONNECTIONS // 2


class CreateLimitTransport(httpx.AsyncBaseTransport):
    """Leaves half of the connections to looks: hundreds of orders would let those wait at whose end a picture is done.

    A create request is one with an Idempotency-Key.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport
        self._free = anyio.Semaphore(MOST_CREATES, fast_acquire=True)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "Idempotency-Key" not in request.headers:
            return await self._transport.handle_async_request(request)
        await taken(self._free, request)
        try:
            return await self._transport.handle_async_request(request)
        finally:
            self._free.release()

    async def aclose(self) -> None:
        await self._transport.aclose()
