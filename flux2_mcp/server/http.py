"""The server over streamable HTTP, for one person on this machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from socket import socket
from types import FrameType

import anyio
import uvicorn
from mcp_types import CONNECTION_CLOSED, ErrorData, JSONRPCError
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.server import HANDLED_SIGNALS

from flux2_mcp.errors import BadSetting
from flux2_mcp.server.hang_up import STOPPED
from flux2_mcp.server.strict import StrictServer

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
SHUTDOWN_SECONDS = 2.0
"""How long calls in flight may go on after SIGTERM."""
TIME_TO_ANSWER = 0.5
"""Seconds after that for the answers to be written, before what is still open is closed."""


async def serve_http(server: StrictServer, *, host: str, listener: socket) -> int:
    """Serve both protocol eras at /mcp until SIGTERM or SIGINT, with DNS-rebinding protection for the host.

    Gives the exit code: 0, or the customary one for the signal.

    Raises:
        BadSetting: The address can be reached from elsewhere.
    """
    requests = _Requests(server, server.streamable_http_app(host=checked_host(host)))
    config = uvicorn.Config(requests, log_level="warning", timeout_graceful_shutdown=1, lifespan="on")
    http = _Server(config, requests)
    await http.serve(sockets=[listener])
    return 128 + http.signals[0] if http.signals else 0


def checked_host(host: str) -> str:
    """The same address, if nobody else can reach it.

    Raises:
        BadSetting: Every caller would spend this person's money.
    """
    if host not in LOOPBACK:
        msg = (
            f"serve --http listens on this machine only, not on {host}: whoever reached it would spend your RunAPI "
            "credits and read your pictures, as there are no accounts yet."
        )
        raise BadSetting(msg, remedy="Use --host 127.0.0.1, or a tunnel that asks who is calling.")
    return host


class _Requests:
    """An app whose requests can be ended from outside, each with a whole answer."""

    def __init__(self, server: StrictServer, app: ASGIApp) -> None:
        self._server = server
        self._app = app
        self._running: set[anyio.CancelScope] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent: list[Message] = []

        async def noting(message: Message) -> None:
            sent[:] = [message]
            await send(message)

        with anyio.CancelScope() as running:
            self._running.add(running)
            try:
                await self._app(scope, receive, noting)
            finally:
                self._running.discard(running)
        if not running.cancel_called:
            return
        if not sent:
            error = JSONRPCError(jsonrpc="2.0", id=None, error=ErrorData(code=CONNECTION_CLOSED, message=str(STOPPED)))
            await Response(error.model_dump_json(), 503, media_type="application/json")(scope, receive, send)
        elif sent[0].get("more_body", True):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def end(self) -> None:
        """Have the calls answered, now or soon, and close what is open then: streams that nobody else ends."""
        await self._server.calls.end(within=SHUTDOWN_SECONDS)
        with anyio.move_on_after(TIME_TO_ANSWER):
            while self._running:  # noqa: ASYNC110 the last one is not known beforehand
                await anyio.sleep(0.05)
        for running in self._running:
            running.cancel()


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
            if self.signals:
                # Whoever asks twice waits for nothing; every order is on disk before it is sent.
                os._exit(128 + number)
            self.should_exit = True
            self.signals.append(number)

        before = {number: signal.signal(number, stop) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await self._requests.end()
        await super().shutdown(sockets)
