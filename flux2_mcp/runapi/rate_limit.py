"""One rate limiter per key: every request waits for its turn, and each 429 teaches it how fast requests may go.

RunAPI publishes no limits. So the limiter begins with a handful of requests, lets more through with every success, and
after a 429 spaces requests out at the rate that was admitted before it. Without it, RunAPI refuses most of a burst.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import anyio
import httpx

from flux2_mcp import telemetry
from flux2_mcp.runapi.retry_after import retry_after

FIRST_BURST = 10.0
"""Requests that are sent at once before anything is known."""
GROWTH = 1.2
"""Further requests that each success allows, while nothing is refused."""
REFILL = 10.0
"""Requests per second that are allowed in any case: a server that hangs must not hold up the others."""
WINDOW = 1.0
"""Seconds over which the admitted requests are counted when one is refused."""
CAUTION = 0.95
"""The share of the admitted rate that is used afterwards."""
BLOCKED_AT_LEAST = 0.5
"""Seconds to send nothing after a 429, whatever it says."""
FORGIVEN_AFTER = 10.0
"""Seconds without a 429 after which the rate is raised by a tenth, and then every second."""
FASTEST = 200.0
"""Requests per second; beyond it there is no limit any more, about a minute after the last 429."""


class RateLimiter:
    """Times requests; use it as `await rate_limiter.acquire()` before each, and tell it how each ended."""

    def __init__(
        self, *, sleep: Callable[[float], Awaitable[None]] = anyio.sleep, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sleep = sleep
        self._clock = clock
        self._queue = anyio.Lock()
        self._allowed = FIRST_BURST
        self._refilled_at = clock()
        self._admitted_at: deque[float] = deque(maxlen=1000)
        self._rate: float | None = None
        self._next = 0.0
        self._blocked_until = 0.0
        self._raised_at = 0.0

    @property
    def is_throttled(self) -> bool:
        """Whether RunAPI asked to slow down, and requests are still spaced out because of that."""
        self._forgive(self._clock())
        return self._rate is not None

    async def acquire(self) -> None:
        """Wait, in the order of arrival, until a request may be sent."""
        async with self._queue:
            while (wait := self._wait()) > 0:
                until = self._blocked_until
                await self._sleep(wait)
                if self._blocked_until == until:
                    break
            self._allowed = max(0.0, self._allowed - 1)

    def admitted(self) -> None:
        """The request was admitted."""
        self._admitted_at.append(self._clock())
        self._allowed += GROWTH

    def throttled(self, asked: float | None) -> None:
        """The request was one too many; `asked` is the wait in seconds that RunAPI asked for, if any."""
        now = self._clock()
        if now >= self._blocked_until:
            admitted = sum(1 for moment in self._admitted_at if now - moment <= WINDOW)
            self._rate = max(1.0, CAUTION * min(admitted, self._rate or admitted))
        self._blocked_until = max(self._blocked_until, now + max(asked or 0.0, BLOCKED_AT_LEAST))
        self._next = self._raised_at = self._blocked_until

    def _wait(self) -> float:
        """Seconds until the next request may be sent; reserves that moment for it."""
        now = self._clock()
        self._forgive(now)
        if self._rate is None:
            self._allowed += REFILL * (now - self._refilled_at)
            self._refilled_at = now
            return max(0.0, (1 - self._allowed) / REFILL)
        turn = max(now, self._next)
        self._next = turn + 1 / self._rate
        return turn - now

    def _forgive(self, now: float) -> None:
        raises = math.floor(now - self._raised_at - FORGIVEN_AFTER) + 1
        if self._rate is None or raises <= 0:
            return
        self._raised_at += raises
        # Bounded, because after a long silence the power would be too large for a float.
        self._rate *= 1.1 ** min(raises, 100)
        if self._rate > FASTEST:
            self._rate, self._refilled_at = None, now


class RateLimitedTransport(httpx.AsyncBaseTransport):
    """Hold a request until the limiter in `extensions["rate_limiter"]` lets it go, and tell it how that ended."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer.

        Raises:
            httpx.RequestError: There was none.
        """
        rate_limiter: RateLimiter | None = request.extensions.get("rate_limiter")
        if rate_limiter is None:
            return await self._inner.handle_async_request(request)
        with telemetry.counted(telemetry.RATE_LIMITER_QUEUE):
            await rate_limiter.acquire()
        response = await self._inner.handle_async_request(request)
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            rate_limiter.throttled(retry_after(response.headers))
        else:
            rate_limiter.admitted()
        return response

    async def aclose(self) -> None:
        """Close the connections below."""
        await self._inner.aclose()


def is_rate_limited(request: httpx.Request) -> bool:
    """Whether a rate limiter decides when this request may be sent."""
    return request.extensions.get("rate_limiter") is not None
