"""Who makes a request over HTTP: a bearer token, looked at before anything else of the request is."""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import anyio
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware, get_access_token
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from pydantic import ConfigDict
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from flux2_mcp import telemetry
from flux2_mcp.callers import LONGEST_CREDENTIAL, Authenticator, Caller, CannotVerify, MissingScope

logger = logging.getLogger(__name__)

MOST_GUESSES = 20
"""Wrong credentials that an address may send in a minute."""
A_MINUTE = 60.0
"""Seconds."""
PAUSE = 1.0
"""Seconds before a refusal where the address has had as many, so that whoever sends the next request for it waits."""
MOST_REMEMBERED = 10_000
"""Addresses that are remembered at once."""


HOW_TO_CALL = "This server needs to know who is calling. Send the header Authorization: Bearer and your key or token."


class CallerToken(AccessToken):
    """A caller in the form that the SDK hands on: it gives a caller's sessions and questions to nobody else."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    caller: Caller

    @classmethod
    def of(cls, caller: Caller) -> CallerToken:
        """Without the credential, which nobody needs any more."""
        return cls(token="", client_id=caller.name, subject=caller.name, scopes=[], caller=caller)


def current_caller() -> Caller:
    """Who makes the request in hand.

    Raises:
        LookupError: There is none, so that nothing may be done for anybody.
    """
    token = get_access_token()
    if isinstance(token, CallerToken):
        return token.caller
    msg = "No caller is known here."
    raise LookupError(msg)


class RequireCaller:
    """Lets requests below one path through that say whose they are; all others are answered with 401.

    Guesses are limited by address: beyond the limit a wrong credential is not told that it is wrong. A right one is
    never held up by others behind the same address, such as a load balancer's. Refusals beyond it come slowly.
    """

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        *,
        path: str,
        metadata_url: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._app = app
        self._with_caller = AuthContextMiddleware(app)
        self._authenticator = authenticator
        self._path = path
        self._metadata_url = metadata_url
        self._sleep = sleep
        self._guesses = _Guesses(clock)
        self._refusals = _Guesses(clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] != "http" or not _is_below(scope["path"], self._path):
            await self._app(scope, receive, send)
            return
        answer = await self._identified(scope)
        if isinstance(answer, Caller):
            scope["user"] = AuthenticatedUser(CallerToken.of(answer))
            await self._with_caller(scope, receive, send)
            return
        telemetry.REFUSALS.add(1, {telemetry.ERROR: str(answer.status_code)})
        address = _address(scope)
        if self._refusals.wait(address) > 0:
            await self._sleep(PAUSE)
        self._refusals.note(address)
        await answer(scope, receive, send)

    async def _identified(self, scope: Scope) -> Caller | Response:
        address = _address(scope)
        scheme, _, credential = Headers(scope=scope).get("authorization", "").partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential:
            return self._refusal(HTTPStatus.UNAUTHORIZED, "", HOW_TO_CALL)
        try:
            caller = await self._authenticator.caller(credential) if len(credential) <= LONGEST_CREDENTIAL else None
        except MissingScope as missing:
            return self._refusal(HTTPStatus.FORBIDDEN, "insufficient_scope", f"The token lacks: {missing}")
        except CannotVerify:
            logger.warning("Whose token a caller has cannot be found out: the issuer's keys cannot be fetched.")
            return _later(HTTPStatus.SERVICE_UNAVAILABLE, "The token cannot be checked now.", 5)
        if caller is None:
            if (wait := self._guesses.wait(address)) > 0:
                return _later(HTTPStatus.TOO_MANY_REQUESTS, "Too many wrong credentials from this address.", wait)
            self._guesses.note(address)
            return self._refusal(HTTPStatus.UNAUTHORIZED, "invalid_token", "This credential is not known here.")
        return caller

    def _refusal(self, status: HTTPStatus, error: str, words: str) -> Response:
        parts = [f'error="{error}"', f'error_description="{words}"'] if error else []
        if self._metadata_url:
            parts.append(f'resource_metadata="{self._metadata_url}"')
        challenge = f"Bearer {', '.join(parts)}".strip()
        return _answer(status, error or "invalid_token", words, {"WWW-Authenticate": challenge})


class _Guesses:
    """How many wrong credentials, or refusals, each address has had in the current minute."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_address: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """When the minute began, and how many."""

    def wait(self, address: str) -> float:
        """Seconds until another may be sent; 0 when it may now."""
        began, count = self._by_address.get(address, (0.0, 0))
        return max(0.0, began + A_MINUTE - self._clock()) if count >= MOST_GUESSES else 0.0

    def note(self, address: str) -> None:
        """One was wrong."""
        now = self._clock()
        began, count = self._by_address.pop(address, (now, 0))
        if now >= began + A_MINUTE:
            began, count = now, 0
        self._by_address[address] = began, count + 1
        while len(self._by_address) > MOST_REMEMBERED:
            self._by_address.popitem(last=False)


def _address(scope: Scope) -> str:
    return (scope.get("client") or ("",))[0]


def _is_below(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top}/")


def _later(status: HTTPStatus, words: str, seconds: float) -> Response:
    return _answer(status, "temporarily_unavailable", words, {"Retry-After": str(max(1, round(seconds)))})


def _answer(status: HTTPStatus, error: str, words: str, headers: dict[str, str]) -> Response:
    body = json.dumps({"error": error, "error_description": words})
    return Response(body, status, headers=headers, media_type="application/json")
