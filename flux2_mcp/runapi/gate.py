"""One gate per key: all requests pass it, and it learns from "too many requests" how fast they may.

RunAPI publishes no limits. So the gate begins with a handful of requests, lets more through with every success, and
after a 429 spaces requests out at the pace that was admitted before it. Without this, a burst is lost to its own haste.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import anyio
import httpx

from flux2_mcp.runapi.patience import retry_after

FIRST_BURST = 10.0
"""Requests that are sent at once before anything is known."""
GROWTH = 1.2
"""Further requests that each success allows, while nothing is refused."""
REFILL = 10.0
"""Requests per second that are allowed in any case: a server that hangs must not hold up the others."""
WINDOW = 1.0
"""Seconds over which the admitted requests are counted when one is refused."""
CAUTION = 0.95
"""The share of the pace that was admitted, which is used afterwards."""
CLOSED_AT_LEAST = 0.5
"""Seconds to send nothing after a 429, whatever it says."""
FORGIVEN_AFTER = 10.0
"""Seconds without a 429 after which the pace is raised by a tenth, and then every second."""
FASTEST = 200.0
"""Requests per second; a pace that was raised beyond it is none any more, about a minute after the last 429."""


class Gate:
    """Times requests; use it as `await gate.turn()` before each, and tell it how each ended."""

    def __init__(
        self, *, sleep: Callable[[float], Awaitable[None]] = anyio.sleep, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sleep = sleep
        self._clock = clock
        self._line = anyio.Lock()
        self._allowed = FIRST_BURST
        self._refilled_at = clock()
        self._admitted: deque[float] = deque(maxlen=1000)
        self._pace: float | None = None
        self._next = 0.0
        self._closed_until = 0.0
        self._raised_at = 0.0

    @property
    def is_closed(self) -> bool:
        """Whether RunAPI asked to slow down, and requests still keep to a pace because of that."""
        self._forgive(self._clock())
        return self._pace is not None

    async def turn(self) -> None:
        """Wait, in the order of arrival, until a request may be sent."""
        async with self._line:
            while (wait := self._wait()) > 0:
                until = self._closed_until
                await self._sleep(wait)
                if self._closed_until == until:
                    break
            self._allowed = max(0.0, self._allowed - 1)

    def passed(self) -> None:
        """The request was admitted."""
        self._admitted.append(self._clock())
        self._allowed += GROWTH

    def refused(self, asked: float | None) -> None:
        """The request was one too many; `asked` is the wait in seconds that RunAPI asked for, if any."""
        now = self._clock()
        if now >= self._closed_until:
            admitted = sum(1 for moment in self._admitted if now - moment <= WINDOW)
            self._pace = max(1.0, CAUTION * min(admitted, self._pace or admitted))
        self._closed_until = max(self._closed_until, now + max(asked or 0.0, CLOSED_AT_LEAST))
        self._next = self._raised_at = self._closed_until

    def _wait(self) -> float:
        """Seconds until the next request may be sent; takes the place in the pace, if there is one."""
        now = self._clock()
        self._forgive(now)
        if self._pace is None:
            self._allowed += REFILL * (now - self._refilled_at)
            self._refilled_at = now
            return max(0.0, (1 - self._allowed) / REFILL)
        turn = max(now, self._next)
        self._next = turn + 1 / self._pace
        return turn - now

    def _forgive(self, now: float) -> None:
        raises = math.floor(now - self._raised_at - FORGIVEN_AFTER) + 1
        if self._pace is None or raises <= 0:
            return
        self._raised_at += raises
        # Bounded, because after a long silence the power would be too large for a float.
        self._pace *= 1.1 ** min(raises, 100)
        if self._pace > FASTEST:
            self._pace, self._refilled_at = None, now


class GatedTransport(httpx.AsyncBaseTransport):
    """Send a request that has a gate in `extensions["gate"]` in its turn, and let the gate learn from the answer."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer.

        Raises:
            httpx.RequestError: There was none.
        """
        gate: Gate | None = request.extensions.get("gate")
        if gate is None:
            return await self._inner.handle_async_request(request)
        await gate.turn()
        response = await self._inner.handle_async_request(request)
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            gate.refused(retry_after(response.headers))
        else:
            gate.passed()
        return response

    async def aclose(self) -> None:
        """Close the connections below."""
        await self._inner.aclose()


def is_gated(request: httpx.Request) -> bool:
    """Whether a gate decides when this request may be sent."""
    return request.extensions.get("gate") is not None
