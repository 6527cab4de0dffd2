"""How many requests of one caller are in hand, and how fast the next ones begin."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import anyio
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

PER_SECOND = 50.0
"""Requests of one caller that begin in a second, when the first ones have."""
FIRST_ONES = 100
"""So many begin without a pause."""
PAUSE = 1.0
"""Seconds before a refusal, so that whoever sends the next request for it has to wait."""
MOST_REMEMBERED = 10_000
"""Callers who are remembered although they have no request in hand."""


class TooManyRequests(Exception):
    """A caller has as many requests in hand as they may."""


@dataclass
class _Requests:
    in_hand: int = 0
    next_at: float = 0.0
    """When the next one would begin if they were spread out evenly."""


class RequestLimiter:
    """Gives each caller's requests a number and a pace, so that one who floods the server holds up nobody else.

    `Admission` counts calls, which wait for RunAPI and cost little. What a request costs is computing, and while one is
    computed, nobody else is served.
    """

    def __init__(
        self,
        most: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._most = most
        self._clock = clock
        self._sleep = sleep
        self._by_caller: dict[str, _Requests] = {}

    @property
    def remembered(self) -> int:
        """How many callers it knows."""
        return len(self._by_caller)

    @asynccontextmanager
    async def one(self, caller: str) -> AsyncGenerator[None]:
        """While a request of theirs is in hand; it begins when their pace allows it.

        Raises:
            TooManyRequests: They have too many.
        """
        theirs = self._by_caller.setdefault(caller, _Requests())
        if theirs.in_hand >= self._most:
            await self._sleep(PAUSE)
            raise TooManyRequests
        theirs.in_hand += 1
        try:
            now = self._clock()
            theirs.next_at = max(theirs.next_at + 1 / PER_SECOND, now - FIRST_ONES / PER_SECOND)
            if theirs.next_at > now:
                await self._sleep(theirs.next_at - now)
            yield
        finally:
            theirs.in_hand -= 1
            if len(self._by_caller) > MOST_REMEMBERED:
                self._forget()

    def _forget(self) -> None:
        since = self._clock() - FIRST_ONES / PER_SECOND
        kept = {name: each for name, each in self._by_caller.items() if each.in_hand or each.next_at > since}
        self._by_caller = kept


class LimitRequests:
    """Hands each request on as its caller's limits allow."""

    def __init__(self, app: ASGIApp, limiter: RequestLimiter) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on, or refuse."""
        caller = scope.get("user")
        if not isinstance(caller, AuthenticatedUser):
            await self._app(scope, receive, send)
            return
        try:
            async with self._limiter.one(caller.username):
                await self._app(scope, receive, send)
        except TooManyRequests:
            await _refusal()(scope, receive, send)


def _refusal() -> JSONResponse:
    words = "You have too many requests at once. Nothing was done for this one."
    body = {"error": "temporarily_unavailable", "error_description": words}
    return JSONResponse(body, HTTPStatus.TOO_MANY_REQUESTS, headers={"Retry-After": "1"})
