"""Where the browser comes back to: one page on this machine, for as long as a login lasts."""

from __future__ import annotations

import hmac
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Generic, TypeVar

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flux2_mcp.errors import Flux2Error, LoginFailed
from flux2_mcp.login.pages import page

HOST = "127.0.0.1"
LONGEST_HEAD = 16 * 1024
"""Bytes."""
TIME_TO_ANSWER = 1
"""Seconds that an answer may still take when the login ends."""
LONGEST_REASON = 200

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What the person sees; its texts are plain."""

    status: HTTPStatus
    title: str
    text: str
    went_well: bool = False


class Callback(Generic[T]):
    """Waits for the browser with the right state, and refuses everybody else."""

    def __init__(
        self, state: str, redeem: Callable[[str], Awaitable[T]], *, origin: str, in_terminal: bool = False
    ) -> None:
        self.outcome: T | Exception | None = None
        self.ended = anyio.Event()
        self._state = state
        self._redeem = redeem
        self._origin = _without_default_port(origin)
        self._unproven = _unproven(in_terminal=in_terminal)
        self._is_taken = False

    def listening(self, listener: socket.socket) -> AbstractAsyncContextManager[None]:
        """Answer there; at the end the last page still arrives, and every connection is closed."""
        app = Starlette(
            routes=[Route("/callback", self._respond, methods=["GET", "OPTIONS"])],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
            exception_handlers={404: self._nothing_here, 405: self._not_understood},
        )
        return _serving(app, listener)

    async def _respond(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            allowed = {"Access-Control-Allow-Methods": "GET", "Access-Control-Allow-Private-Network": "true"}
            return Response(status_code=HTTPStatus.NO_CONTENT, headers=self._headers | allowed)
        if request.method != "GET":  # Starlette sends HEAD here too
            return await self._not_understood()
        return self._page(await self._answer(request.query_params))

    async def _answer(self, query: Mapping[str, str]) -> Answer:
        # A refusal too: any page can send the browser here, and must not end a login that is under way.
        if not hmac.compare_digest(query.get("state", "").encode(), self._state.encode()):
            return self._unproven if query.get("error") else _OTHER_LOGIN
        if self._is_taken:
            return Answer(
                HTTPStatus.CONFLICT, "Already done", "This login was answered in another tab. Close this one."
            )
        if error := query.get("error"):
            reason = _printable(query.get("error_description") or error)
            return self._failed(LoginFailed(f"RunAPI did not allow the login: {reason.rstrip('.')}."))
        if not query.get("code"):
            return Answer(HTTPStatus.BAD_REQUEST, "No code", "RunAPI sent no code. Allow the login once more.")
        self._is_taken = True
        try:
            self._end(await self._redeem(query["code"]))
        except Flux2Error as error:
            return self._failed(error)
        except Exception as crash:
            self._end(crash)
            raise
        return Answer(
            HTTPStatus.OK, "You are logged in", "flux2-mcp has its key. You can close this tab.", went_well=True
        )

    def _failed(self, error: Flux2Error) -> Answer:
        self._is_taken = True
        self._end(error)
        return Answer(HTTPStatus.OK, "Not logged in", str(error))

    def _end(self, outcome: T | Exception) -> None:
        self.outcome = outcome
        self.ended.set()

    async def _nothing_here(self, *_: object) -> Response:
        return self._page(_NOTHING_HERE)

    async def _not_understood(self, *_: object) -> Response:
        return self._page(_NOT_UNDERSTOOD)

    def _page(self, answer: Answer) -> Response:
        body = page(answer.title, answer.text, went_well=answer.went_well)
        return Response(body, answer.status, self._headers, media_type="text/html")

    @property
    def _headers(self) -> dict[str, str]:
        return {
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            # RunAPI's page may come by itself instead of sending the browser; nobody else's page may read the answer.
            "Access-Control-Allow-Origin": self._origin,
            "Vary": "Origin",
            "Connection": "close",
        }


_NOTHING_HERE = Answer(HTTPStatus.NOT_FOUND, "Nothing here", "This address only finishes a login of flux2-mcp.")
_NOT_UNDERSTOOD = Answer(HTTPStatus.BAD_REQUEST, "Not understood", "This is no request that a browser makes.")
_OTHER_LOGIN = Answer(
    HTTPStatus.BAD_REQUEST,
    "Another login",
    "This answer belongs to another login, so it was ignored. Use the newest link from flux2-mcp.",
)


def _unproven(*, in_terminal: bool) -> Answer:
    """A refusal that anybody may have sent; a login that a host runs has no terminal to stop it in."""
    stop = "press Ctrl-C in its terminal, or let the time run out" if in_terminal else "let the time run out"
    return Answer(
        HTTPStatus.BAD_REQUEST,
        "Still waiting",
        "This refusal does not show that it belongs to this login, so it was ignored, and flux2-mcp goes on waiting. "
        f"If you denied the login, {stop}: no key was made.",
    )


def listen(port: int) -> socket.socket:
    """A port of this machine that nobody else can reach; any free one for 0.

    Raises:
        LoginFailed: The port is taken.
    """
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        msg = f"Port {port} of this machine cannot be used: {error.strerror or type(error).__name__}."
        raise LoginFailed(msg, remedy="Choose another with --port, or leave it out.") from error


@asynccontextmanager
async def _serving(app: Starlette, listener: socket.socket) -> AsyncGenerator[None, None]:
    """Run uvicorn without its own loop, which would take over the program's signals and look for its end by a clock."""
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        proxy_headers=False,
        h11_max_incomplete_event_size=LONGEST_HEAD,
        timeout_graceful_shutdown=TIME_TO_ANSWER,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with listener:
        with anyio.CancelScope(shield=True):  # what listens must be known, to be closed
            await server.startup([listener])
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await server.shutdown([listener])


def _printable(text: str) -> str:
    """Text from the address bar, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:LONGEST_REASON].strip()


def _without_default_port(origin: str) -> str:
    """As browsers write it."""
    scheme, _, port = origin.rpartition(":")
    return scheme if (scheme.partition(":")[0], port) in {("https", "443"), ("http", "80")} else origin
