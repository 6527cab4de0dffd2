"""Connections that anybody may open: they are given up when their client lets them wait, and make room for others."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from flux2_mcp.errors import has_too_many_files

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds in which the head of a request has to be there, then its body, and in which an answer has to be taken."""
PIECE = 16_384
"""Bytes that are parsed in one go."""
MOST_OVERHEAD = 0.5
"""The share of a piece that a body's chunks may take for themselves: one of a byte each takes 23 µs to parse."""

REST = 0.5
"""Seconds for which no connection is accepted once there is no room for any."""
SELDOM = 600.0
"""Seconds after which the log says once more that there is no room."""
NO_ROOM = (
    "No more connections can be accepted: the system lets this server open no more files (Too many open files). Those "
    "that come wait until others are closed. `ulimit -n` shows the limit, and raises it before a start."
)


class Connection(H11Protocol):
    """uvicorn's, which waits for ever: for the first byte, for the last, and for an answer to be taken."""

    most: int | None = None
    """How many there may be at once."""
    _awaits: object = None
    """What the client has to do now; a new value when it has done it."""
    since = 0.0
    """When that began, by the loop's clock."""

    def connection_made(self, transport: object) -> None:
        """Take it, and let those go that use theirs for nothing where there are too many."""
        super().connection_made(transport)  # pyright: ignore[reportArgumentType] uvicorn narrows it itself
        self._awaits, self.since = self._awaited(), self.loop.time()
        if self.most is not None and len(self.connections) > self.most:
            self._make_room(self.most)

    def _make_room(self, most: int) -> None:
        others: list[Connection] = [each for each in self.connections if isinstance(each, Connection)]
        are_open = [each for each in others if not each.transport.is_closing()]
        if len(are_open) <= most:
            return
        idle = sorted((each for each in are_open if each.is_idle and each is not self), key=_age)
        # Some at a time, because to look for them takes a while.
        for each in idle[: most // 20 + 1]:
            each.transport.abort()
        if not idle:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse it bit by bit: nobody else is served meanwhile."""
        for start in range(0, len(data), PIECE):
            if self.transport.is_closing() or self._is_answered_early:
                return
            piece = data[start : start + PIECE]
            is_all_body = self.conn.their_state is h11.SEND_BODY
            before = len(self.cycle.body) if is_all_body else 0
            super().data_received(piece)
            is_all_body = is_all_body and self.conn.their_state is h11.SEND_BODY and len(piece) == PIECE
            if is_all_body and len(self.cycle.body) - before < PIECE * (1 - MOST_OVERHEAD):
                self.send_400_response("The chunks of this body are too small.")

    @property
    def is_idle(self) -> bool:
        """Whether no request is carried out on it."""
        return not self.cycle or self.cycle.response_complete

    @property
    def _is_answered_early(self) -> bool:
        """The answer was sent, and the request goes on: nobody reads what comes."""
        return self.conn.their_state is h11.SEND_BODY and bool(self.cycle) and self.cycle.response_complete

    def on_response_complete(self) -> None:
        """Say that this was all, where the request was not read to its end; uvicorn closes it a little later."""
        super().on_response_complete()
        if self._is_answered_early and not self.transport.is_closing():
            with suppress(OSError):  # the client has reset it meanwhile
                self.transport.write_eof()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; what comes after an answer has begun can only be cut off."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response(msg)
        self._end()

    def _end(self) -> None:
        """Close it; whoever still writes an answer writes it to nobody."""
        self.transport.close()
        if self.cycle and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def look(self, now: float) -> None:
        """Give it up if the client has let it wait for too long."""
        awaits = self._awaited()
        if awaits != self._awaits:
            self._awaits, self.since = awaits, now
        elif awaits and now >= self.since + PATIENCE:
            self._give_up()

    def _awaited(self) -> object:
        # The request in hand is part of it: the next one is given time of its own.
        if self.transport.get_write_buffer_size():
            return "to be read", self.cycle
        state = self.conn.their_state
        return (state, self.cycle) if state in {h11.IDLE, h11.SEND_BODY} else None

    def _give_up(self) -> None:
        if self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.SEND_RESPONSE:
            status = HTTPStatus.REQUEST_TIMEOUT
            headers = [("Connection", "close"), ("Content-Length", "0")]
            answer = h11.Response(status_code=status, headers=headers, reason=status.phrase)
            for event in (answer, h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            self._end()
        else:
            self.transport.abort()


class Listener(socket.socket):
    """A socket that listens, and that rests while the system gives it no more connections.

    asyncio would ask again at once, as many times as it may accept in one go, for each of these once more a second
    later, and log each with all frames: the process would do nothing else.
    """

    _rests_until = 0.0
    """By the monotonic clock."""

    @classmethod
    def of(cls, taken: socket.socket) -> Listener:
        """The same socket as one of these; the other one is no longer its."""
        return cls(taken.family, taken.type, taken.proto, fileno=taken.detach())

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection.

        Raises:
            OSError: There is none, or there is no more room for any. asyncio waits a second before it asks again then.
        """
        now = time.monotonic()
        if now < self._rests_until:
            raise BlockingIOError
        try:
            return super().accept()
        except OSError as error:
            if has_too_many_files(error):
                self._rests_until = now + REST
            raise


def note_when_full(loop: asyncio.AbstractEventLoop) -> None:
    """Have the log say seldom, and in one line, that there is no room for more connections."""
    silent_until = float("-inf")

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal silent_until
        # asyncio names the socket where it cannot accept; anything else may fail for want of files too.
        if "socket" not in context or not has_too_many_files(context.get("exception")):
            loop.default_exception_handler(context)
        elif loop.time() >= silent_until:
            silent_until = loop.time() + SELDOM
            logger.warning(NO_ROOM)

    loop.set_exception_handler(handle)


def _age(connection: Connection) -> float:
    return connection.since


def look_at(connections: Iterable[object], now: float) -> None:
    """Give those up whose clients let them wait."""
    for each in list(connections):
        if isinstance(each, Connection):
            each.look(now)


def let_go(connections: Iterable[object]) -> None:
    """Close all that are left: answers that nobody has taken by now."""
    for each in list(connections):
        if isinstance(each, Connection):
            each.transport.abort()
