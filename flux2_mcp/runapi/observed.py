"""A transport that tells how long each try took: the wait for its turn does not count."""

from __future__ import annotations

import httpx

from flux2_mcp import telemetry


class ObservedTransport(httpx.AsyncBaseTransport):
    """Measure each try by the route in `extensions["route"]`, which names no task."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer.

        Raises:
            httpx.RequestError: There was none.
        """
        with telemetry.request(request.method, endpoint(request.url), request.extensions["route"]) as answer:
            response = await self._inner.handle_async_request(request)
            answer.status = response.status_code
        return response

    async def aclose(self) -> None:
        """Close the connections below."""
        await self._inner.aclose()


def endpoint(url: httpx.URL) -> tuple[str, int]:
    """The server's name and port."""
    return url.host, url.port or (80 if url.scheme == "http" else 443)
