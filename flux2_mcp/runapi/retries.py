"""A transport that repeats what may be repeated, and how long it waits before it does."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus

import anyio
import httpx

from flux2_mcp.runapi.rate_limit import is_rate_limited
from flux2_mcp.runapi.retry_after import retry_after

TRANSIENT = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
UNCLEAR = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, 499})
"""Refusals in the name of something between us and RunAPI, which may have passed the request on all the same."""
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
LOST = (httpx.TransportError, httpx.DecodingError)


def backoff() -> Iterator[float]:
    """Yield one wait before each retry: 0.5, then 1 second, each up to a quarter shorter."""
    for longest in (0.5, 1.0):
        yield longest * random.uniform(0.75, 1.0)  # noqa: S311 jitter is no secret


def no_retries() -> Iterator[float]:
    """For requests whose caller has a schedule of its own."""
    return iter(())


class RetryingTransport(httpx.AsyncBaseTransport):
    """Send GETs, and POSTs with an Idempotency-Key, again after a failure that may pass.

    A request carries its own schedule in `extensions["waits"]`, and in `extensions["is_lost"]` perhaps a way to tell
    that a success says nothing. When a try ended in a way that does not tell whether it had an effect,
    `extensions["in_doubt"]` is set and stays so, whatever the later tries say.
    """

    def __init__(
        self, inner: httpx.AsyncBaseTransport, *, sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    ) -> None:
        self._inner = inner
        self._sleep = sleep

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the first answer that is worth having, or the last one.

        Raises:
            httpx.RequestError: The last try got no answer, or only the beginning of one.
        """
        waits: Iterator[float] = request.extensions.get("waits", backoff)()
        if not _may_repeat(request):
            waits = no_retries()
        while True:
            asked = 0.0
            try:
                response = await self._inner.handle_async_request(request)
            except LOST as error:
                if not isinstance(error, NEVER_SENT):
                    request.extensions["in_doubt"] = True
                if (wait := next(waits, None)) is None:
                    raise
            else:
                says_nothing = _says_nothing(request, response)
                if says_nothing or _may_have_had_an_effect(response):
                    request.extensions["in_doubt"] = True
                may_pass = says_nothing or response.status_code in TRANSIENT
                if not may_pass or (wait := next(waits, None)) is None:
                    return response
                if response.status_code == HTTPStatus.TOO_MANY_REQUESTS and is_rate_limited(request):
                    continue  # the rate limiter waits, for this request and all others of the key
                asked = retry_after(response.headers) or 0.0
            await self._sleep(max(wait, asked))

    async def aclose(self) -> None:
        """Close the connections below."""
        await self._inner.aclose()


def _may_have_had_an_effect(response: httpx.Response) -> bool:
    """Whether this failure leaves that open. A redirect does: it is how some servers answer what they have accepted."""
    return response.is_server_error or response.is_redirect or response.status_code in UNCLEAR


def _says_nothing(request: httpx.Request, response: httpx.Response) -> bool:
    """Whether this success is as good as lost to whoever asked."""
    is_lost: Callable[[httpx.Response], bool] | None = request.extensions.get("is_lost")
    return response.is_success and is_lost is not None and is_lost(response)


def _may_repeat(request: httpx.Request) -> bool:
    return request.method == "GET" or (request.method == "POST" and "idempotency-key" in request.headers)
