"""The server over streamable HTTP: for one person on this machine, or for many who say who they are."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from socket import socket
from types import FrameType
from typing import TYPE_CHECKING

import anyio
import uvicorn
from mcp.server.auth.routes import build_resource_metadata_url, create_protected_resource_routes
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import CONNECTION_CLOSED, ErrorData, JSONRPCError
from pydantic import AnyHttpUrl
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.server import HANDLED_SIGNALS

from flux2_mcp.callers import Authenticator
from flux2_mcp.errors import BadSetting
from flux2_mcp.server.authentication import RequireCaller
from flux2_mcp.server.bodies import WholeBodies
from flux2_mcp.server.connections import Connection, Listener, let_go, look_at, note_when_full
from flux2_mcp.server.hang_up import STOPPED, ending_signals
from flux2_mcp.server.legacy_apps import NameSessionsWithApps
from flux2_mcp.server.request_limits import LimitRequests, RequestLimiter
from flux2_mcp.server.strict import StrictServer

if TYPE_CHECKING:
    from flux2_mcp.callers.oauth import OAuth

PATH = "/mcp"
HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
RETRY_AFTER = "5"
"""Seconds until whoever comes to a server that ends should come again: another will be there."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
REQUESTS_BESIDES_CALLS = 50
"""Requests that a caller may have in hand besides as many calls as they may."""
MOST_AT_ONCE = 2048
"""Connections that are accepted in one go."""
SHUTDOWN_SECONDS = 2.0
"""How long calls in flight may go on after SIGTERM."""
TIME_TO_ANSWER = 0.5
"""Seconds after that for the answers to be written, before what is still open is closed."""


@dataclass(frozen=True)
class Hosting:
    """How a server serves many."""

    authenticator: Authenticator
    hosts: Sequence[str]
    """The names under which it is reached; requests that name another are refused."""
    oauth: OAuth | None = None
    """What an OAuth client has to know to get a token."""


async def serve_http(server: StrictServer, *, host: str, listener: socket, hosting: Hosting | None = None) -> int:
    """Serve both protocol eras at /mcp until SIGTERM or SIGINT, with DNS-rebinding protection for its names.

    Gives the exit code: 0, or the customary one for the signal.
    """
    app = hosted_app(server, hosting) if hosting else WholeBodies(server.streamable_http_app(host=host), path=PATH)
    return await serve_app(server, app, listener=listener)


async def serve_app(server: StrictServer, app: ASGIApp, *, listener: socket) -> int:
    """Serve this app, in which the server is, until SIGTERM or SIGINT; gives the exit code as above."""
    requests = _Requests(server, app)
    # Its own lines go where all others go. What strangers send is not logged, and no library that happens to be
    # installed parses it.
    connection, backlog = _limits()
    config = uvicorn.Config(
        requests,
        http=connection,
        ws="none",
        backlog=backlog,
        log_config=None,
        log_level="error",
        timeout_graceful_shutdown=1,
        lifespan="on",
    )
    http = _Server(config, requests)
    note_when_full(asyncio.get_running_loop())
    await http.serve(sockets=[Listener.of(listener)])
    return 128 + http.signals[0] if http.signals else 0


def hosted_app(server: StrictServer, hosting: Hosting) -> ASGIApp:
    """An app that serves those who say who they are. It keeps no sessions: any replica answers any request."""
    oauth = hosting.oauth
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        stateless_http=True,
        transport_security=TransportSecuritySettings(
            allowed_hosts=[form for name in hosting.hosts for form in (name, f"{name}:*")],
            allowed_origins=[
                form for name in hosting.hosts for form in (f"https://{name}", f"https://{name}:*", f"http://{name}:*")
            ],
        ),
    )
    metadata_url = None
    if oauth:
        resource = AnyHttpUrl(oauth.resource)
        app.routes.extend(
            create_protected_resource_routes(resource, [AnyHttpUrl(oauth.issuer)], list(oauth.scopes) or None)
        )
        metadata_url = str(build_resource_metadata_url(resource))
    calls = server.admission.most_per_caller if server.admission else 0
    limited = LimitRequests(
        WholeBodies(NameSessionsWithApps(_without_streams(app)), path=PATH),
        RequestLimiter(calls + REQUESTS_BESIDES_CALLS),
    )
    return RequireCaller(limited, hosting.authenticator, path=PATH, metadata_url=metadata_url)


def _limits() -> tuple[type[Connection], int]:
    """Connections, of which there are half as many as the process may have files open, because calls need some too.

    And how many are accepted in one go: before the first of them can make room.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return Connection, MOST_AT_ONCE
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return Connection, MOST_AT_ONCE

    class Limited(Connection):
        most = files // 2

    return Limited, min(MOST_AT_ONCE, files // 8)


def _without_streams(app: ASGIApp) -> ASGIApp:
    """The same, but for streams on which a server tells what nobody asked: this one has nothing to tell there."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        is_stream = scope["type"] == "http" and scope["method"] == "GET" and scope["path"].rstrip("/") == PATH
        chosen = Response(status_code=HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "POST"}) if is_stream else app
        await chosen(scope, receive, send)

    return answer


def checked_host(host: str) -> str:
    """The same address, if nobody else can reach it.

    Raises:
        BadSetting: Every caller would spend this person's money.
    """
    if host not in LOOPBACK:
        msg = (
            f"serve --http listens on this machine only, not on {host}: whoever reached it would spend your RunAPI "
            "credits and read your pictures."
        )
        remedy = "Use --host 127.0.0.1, or have FLUX2_HTTP_AUTH tell callers apart: tokens, runapi-key or oauth."
        raise BadSetting(msg, remedy=remedy)
    return host


def names_of(host: str, allowed: str) -> list[str]:
    """The names under which a server for many is reached: those that are allowed, and loopback's.

    Raises:
        BadSetting: It listens for others, and no name is known.
    """
    names = [name.strip().lower() for name in allowed.split(",") if name.strip()]
    if bad := next((name for name in names if not HOST_NAME.fullmatch(name)), None):
        msg = (
            f"FLUX2_ALLOWED_HOSTS: {bad[:80]!r} is not a host name. Names are separated by commas, and have no scheme."
        )
        raise BadSetting(msg)
    if not names and host not in LOOPBACK:
        msg = f"The server listens on {host}, but under which name it is reached is not known."
        raise BadSetting(msg, remedy="Set FLUX2_ALLOWED_HOSTS, such as FLUX2_ALLOWED_HOSTS=flux2.example.com.")
    return list(dict.fromkeys([*names, "127.0.0.1", "localhost", "[::1]"]))


class _Requests:
    """An app whose requests can be ended from outside, each with a whole answer."""

    def __init__(self, server: StrictServer, app: ASGIApp) -> None:
        self._server = server
        self._app = app
        self._running: set[anyio.CancelScope] = set()
        self._is_ending = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._is_ending:
            # On a connection that was open: to a new one, nobody listens any more.
            headers = {"Retry-After": RETRY_AFTER, "Connection": "close"}
            await _stopped(headers)(scope, receive, send)
            return
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}:
            # A proxy may see its end elsewhere than we do, and another's request in what is left.
            await Response(status_code=HTTPStatus.BAD_REQUEST, headers={"Connection": "close"})(scope, receive, send)
            return
        sent: list[Message] = []

        async def noting(message: Message) -> None:
            await send(message)
            sent[:] = [message]

        with anyio.CancelScope() as running:
            self._running.add(running)
            try:
                await self._app(scope, receive, noting)
            finally:
                self._running.discard(running)
        if not running.cancel_called:
            return
        if not sent:
            await _stopped({})(scope, receive, send)
        elif sent[0].get("more_body", True):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def end(self) -> None:
        """Have the calls answered, now or soon, and close what is open then: streams that nobody else ends."""
        self._is_ending = True
        await self._server.end_calls(within=SHUTDOWN_SECONDS)
        with anyio.move_on_after(TIME_TO_ANSWER):
            while self._running:  # noqa: ASYNC110 the last one is not known beforehand
                await anyio.sleep(0.05)
        for running in self._running:
            running.cancel()


def _stopped(headers: dict[str, str]) -> Response:
    error = JSONRPCError(jsonrpc="2.0", id=None, error=ErrorData(code=CONNECTION_CLOSED, message=str(STOPPED)))
    return Response(error.model_dump_json(), 503, headers=headers, media_type="application/json")


class _Server(uvicorn.Server):
    """uvicorn, which logs what it cancels as a crash, and dies of its signal: this one ends its requests first."""

    def __init__(self, config: uvicorn.Config, requests: _Requests) -> None:
        super().__init__(config)
        self._requests = requests
        self.signals: list[int] = []

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # A function, not a method: by the method's object, sse_starlette would find should_exit and cut all streams.
        def stop(number: int, _: FrameType | None) -> None:
            if not self.signals:
                self.signals.append(number)
                self.should_exit = True
            elif number in HANDLED_SIGNALS:
                # Whoever asks twice waits for nothing; every order is on disk before it is sent. A terminal that closes
                # is nobody: its SIGHUP comes twice, from the shell and from the system.
                os._exit(128 + number)

        before = {number: signal.signal(number, stop) for number in {*HANDLED_SIGNALS, *ending_signals()}}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:
            look_at(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await self._requests.end()
        # uvicorn waits for them a little longer, and complains.
        asyncio.get_running_loop().call_later(TIME_TO_ANSWER, let_go, self.server_state.connections)
        await super().shutdown(sockets)
