"""Requests whose body is there as a whole before anything is done with it, and answers that are taken as a whole."""

from __future__ import annotations

from http import HTTPStatus

from mcp.server.transport_security import DEFAULT_MAX_REQUEST_BODY_SIZE as MOST_BYTES
from mcp_types import INVALID_REQUEST, ErrorData, JSONRPCError
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_VALUES = 20_000
"""Values in a body. The longest that a tool takes are texts; a million little ones would keep everybody waiting."""


class WholeBodies:
    """Hands a POST to this path on when its body is there, within limits, and ends it when its answer is on its way.

    A client that goes away before is nobody's failure; and one that reads nothing has its request in hand for as long.
    """

    def __init__(self, app: ASGIApp, *, path: str, most_bytes: int = MOST_BYTES) -> None:
        self._app = app
        self._path = path
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != self._path:
            await self._app(scope, receive, send)
            return
        try:
            body = await _body(scope, receive, self._most_bytes)
        except ClientDisconnect:
            return
        if isinstance(body, Response):
            await body(scope, receive, send)
            return
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        async def send_and_wait(message: Message) -> None:
            if message["type"] == "http.response.body" and message.get("body") and not message.get("more_body"):
                # The server waits before it sends more: here until its client has read most of this.
                await send({**message, "more_body": True})
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        await self._app(scope, replay, send_and_wait)


async def _body(scope: Scope, receive: Receive, most_bytes: int) -> bytes | Response:
    length = Headers(scope=scope).get("content-length", "0")
    if length.isdecimal() and int(length) > most_bytes:
        return _too_large(f"more than {most_bytes // 2**20} MiB")
    body = bytearray()
    async for piece in Request(scope, receive).stream():
        body += piece
        if len(body) > most_bytes:
            return _too_large(f"more than {most_bytes // 2**20} MiB")
    if sum(body.count(sign) for sign in (b",", b"[", b"{")) > MOST_VALUES:
        return _too_large(f"more than {MOST_VALUES:,} values")
    return bytes(body)


async def drop_body(receive: Receive, *, most_bytes: int) -> None:
    """Read a body that nobody wants, up to so many bytes.

    An answer that overtakes it ends the connection, and its client may find that out only with its next request.
    """
    size, more = 0, True
    while more and size <= most_bytes:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)


def _too_large(why: str) -> Response:
    message = f"This body is too large: {why}. Nothing was done with it."
    error = JSONRPCError(jsonrpc="2.0", id=None, error=ErrorData(code=INVALID_REQUEST, message=message))
    return Response(
        error.model_dump_json(exclude_unset=True), HTTPStatus.REQUEST_ENTITY_TOO_LARGE, media_type="application/json"
    )
