"""What a host writes over stdio, message by message; what is none is answered, where the SDK would drop it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol, cast

import anyio
from anyio.abc import ObjectReceiveStream
from mcp.shared.message import SessionMessage
from mcp_types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCRequest,
    RequestId,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

from flux2_mcp.server.sdk import has_lost_its_id, unreadable_line
from flux2_mcp.text import sendable

NO_JSON = ErrorData(
    code=PARSE_ERROR,
    message="This line is not JSON. Nothing was done or charged. Send each message as one line of JSON.",
)
NO_MESSAGE = ErrorData(
    code=INVALID_REQUEST,
    message="This is not a JSON-RPC message. Nothing was done or charged. Send one object a line, and no batch, with "
    'jsonrpc "2.0", a method, an id that is a string or an integer, and params that are an object.',
)

Item = SessionMessage | Exception


class _Source(Protocol):
    async def receive(self) -> Item: ...
    async def aclose(self) -> None: ...


class _Target(Protocol):
    async def send(self, item: SessionMessage, /) -> None: ...


class Inbox(ObjectReceiveStream[Item]):
    """The SDK's stream of messages, between its reader, which hands on what it could not read, and its server."""

    def __init__(self, source: _Source, target: _Target, *, at_end: Callable[[], Awaitable[None]]) -> None:
        self._source = source
        self._target = target
        self._at_end = at_end
        """Called before the server hears that nothing more will come; it drops all calls then."""
        self.was_used = False
        """Whether a host has said anything."""

    async def receive(self) -> Item:
        """The next message, once what came before it and is none has been answered."""
        while True:
            try:
                item = await self._source.receive()
            except anyio.EndOfStream:
                await self._at_end()
                raise
            self.was_used = True
            if isinstance(item, ValidationError):
                item = _read_again(item)
            if (error := _error(item)) is None:
                return item
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await self._target.send(SessionMessage(error))

    async def aclose(self) -> None:
        await self._source.aclose()


def _read_again(invalid: ValidationError) -> Item:
    """The same line with whole characters: hosts that count in UTF-16 cut texts in the middle of an emoji."""
    line = unreadable_line(invalid)
    if line is None:
        return invalid
    try:
        line = json.dumps(sendable(_without_cut_id(json.loads(line))))
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValidationError as still_invalid:
        return still_invalid
    except (ValueError, RecursionError):
        return invalid


def _without_cut_id(message: object) -> object:
    """An id with half a character cannot be repeated, and nobody would know an answer to another one.

    Raises:
        ValidationError: This would be answered with it.
    """
    if not isinstance(message, dict):
        return message
    fields = cast("dict[str, object]", message)
    if "id" not in fields or sendable(fields["id"]) == fields["id"]:
        return fields
    without = {**fields, "id": None}
    return JSONRPCRequest.model_validate(without) if "method" in fields else without


def _error(item: Item) -> JSONRPCError | None:
    """What to answer; None to what the server can have, and to what JSON-RPC gives no answer."""
    if isinstance(item, SessionMessage):
        return JSONRPCError(jsonrpc="2.0", id=None, error=NO_MESSAGE) if has_lost_its_id(item.message) else None
    if not isinstance(item, ValidationError):
        return None
    if (line := unreadable_line(item)) is not None:
        return JSONRPCError(jsonrpc="2.0", id=None, error=NO_JSON) if line.strip() else None
    # An object lacks what one of the shapes needs; that problem comes with the object.
    problems = item.errors(include_url=False)
    objects = [cast("dict[str, object]", each["input"]) for each in problems if each["type"] == "missing"]
    whole = objects[0] if objects else {}
    if "method" not in whole and {"result", "error"} & set(whole):
        return None  # an answer to a question of ours
    return JSONRPCError(jsonrpc="2.0", id=_id(whole.get("id")), error=NO_MESSAGE)


def _id(value: object) -> RequestId | None:
    return value if isinstance(value, str) or type(value) is int else None
