"""Where the browser comes back to: as much of an HTTP server as one login needs."""

from __future__ import annotations

import hmac
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Generic, TypeVar
from urllib.parse import parse_qsl, urlsplit

import anyio
from anyio.abc import Listener, SocketAttribute, SocketStream

from flux2_mcp.errors import Flux2Error, LoginFailed
from flux2_mcp.login.pages import page

HOST = "127.0.0.1"
LONGEST_HEAD = 16 * 1024
"""Bytes."""
TIME_TO_ASK = 10.0
"""Seconds: browsers open connections that they may never use."""
LONGEST_WORDS = 200

T = TypeVar("T")


@dataclass(frozen=True)
class Visit:
    """A request."""

    method: str
    path: str
    query: Mapping[str, str]


@dataclass(frozen=True)
class Reply:
    """An answer; its words are plain text."""

    status: HTTPStatus
    title: str
    words: str
    went_well: bool = False


class CallbackServer(Generic[T]):
    """Waits for the browser with the right state, and for it alone; whoever else comes is turned away."""

    def __init__(self, state: str, redeem: Callable[[str], Awaitable[T]], *, origin: str) -> None:
        self.outcome: T | Flux2Error | None = None
        self.closed = anyio.Event()
        self._state = state
        self._redeem = redeem
        self._origin = _as_browsers_say_it(origin)
        self._is_taken = False

    async def serve(self, stream: SocketStream) -> None:
        """Answer one connection."""
        async with stream:
            try:
                with anyio.fail_after(TIME_TO_ASK):
                    visit = await _visit(stream)
                reply = await self._reply(visit)
                await stream.send(self._bytes(reply, visit))
            except (anyio.BrokenResourceError, anyio.EndOfStream, TimeoutError):
                pass  # nobody is there any more
        # Only now, so that the person's page arrives before the program goes on.
        if self.outcome is not None:
            self.closed.set()

    async def _reply(self, visit: Visit | None) -> Reply:
        if visit is None or visit.method not in {"GET", "OPTIONS"}:
            return Reply(HTTPStatus.BAD_REQUEST, "Not understood", "This is no request that a browser makes.")
        if visit.path != "/callback":
            return Reply(HTTPStatus.NOT_FOUND, "Nothing here", "This address only finishes a login of flux2-mcp.")
        if visit.method == "OPTIONS":
            return Reply(HTTPStatus.NO_CONTENT, "", "")
        return await self._decided(visit.query)

    async def _decided(self, query: Mapping[str, str]) -> Reply:
        # A refusal too: any page can send the browser here, and must not end a login that is under way.
        if not hmac.compare_digest(query.get("state", "").encode(), self._state.encode()):
            return _UNPROVEN if "error" in query else _OF_ANOTHER
        if self._is_taken:
            return Reply(HTTPStatus.CONFLICT, "Already done", "This login was answered in another tab. Close this one.")
        if "error" in query:
            said = _plain(query.get("error_description") or query["error"])
            return self._failed(LoginFailed(f"RunAPI did not allow the login: {said.rstrip('.')}."))
        if not query.get("code"):
            return Reply(HTTPStatus.BAD_REQUEST, "No code", "RunAPI sent no code. Allow the login once more.")
        self._is_taken = True
        try:
            self.outcome = await self._redeem(query["code"])
        except Flux2Error as error:
            return self._failed(error)
        return Reply(
            HTTPStatus.OK, "You are logged in", "flux2-mcp has its key. You can close this tab.", went_well=True
        )

    def _failed(self, error: Flux2Error) -> Reply:
        self._is_taken = True
        self.outcome = error
        return Reply(HTTPStatus.OK, "Not logged in", str(error))

    def _bytes(self, reply: Reply, visit: Visit | None) -> bytes:
        body = page(reply.title, reply.words, went_well=reply.went_well) if reply.title else b""
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Length": str(len(body)),
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            # RunAPI's page may come by itself instead of sending the browser; nobody else's page may read the answer.
            "Access-Control-Allow-Origin": self._origin,
            "Vary": "Origin",
            "Connection": "close",
        }
        if visit and visit.method == "OPTIONS":
            headers |= {"Access-Control-Allow-Methods": "GET", "Access-Control-Allow-Private-Network": "true"}
        lines = [
            f"HTTP/1.1 {reply.status} {reply.status.phrase}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode("ascii") + body


_OF_ANOTHER = Reply(
    HTTPStatus.BAD_REQUEST,
    "Another login",
    "This answer belongs to another login, so it was ignored. Use the newest link from flux2-mcp.",
)
_UNPROVEN = Reply(
    HTTPStatus.BAD_REQUEST,
    "Still waiting",
    "This refusal does not show that it belongs to this login, so it was ignored, and flux2-mcp goes on waiting. If "
    "you denied the login, press Ctrl-C in its terminal, or let the time run out: no key was made.",
)


@asynccontextmanager
async def listener(port: int) -> AsyncGenerator[tuple[Listener[SocketStream], int], None]:
    """A port of this machine that nobody else can reach; any free one for 0.

    Raises:
        LoginFailed: The port is taken.
    """
    try:
        listeners = await anyio.create_tcp_listener(local_host=HOST, local_port=port)
    except OSError as error:
        msg = f"Port {port} of this machine cannot be used: {error.strerror or type(error).__name__}."
        raise LoginFailed(msg, remedy="Choose another with --port, or leave it out.") from error
    async with listeners:
        yield listeners, int(listeners.extra_attributes[SocketAttribute.local_port]())


async def _visit(stream: SocketStream) -> Visit | None:
    head = b""
    while b"\r\n\r\n" not in head:
        head += await stream.receive()
        if len(head) > LONGEST_HEAD:
            return None
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1"):
        return None
    try:
        target = urlsplit(words[1])
        return Visit(words[0], target.path, dict(parse_qsl(target.query, max_num_fields=20)))
    except ValueError:
        return None


def _plain(words: str) -> str:
    """Words from the address bar, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in words)[:LONGEST_WORDS].strip()


def _as_browsers_say_it(origin: str) -> str:
    scheme, _, port = origin.rpartition(":")
    return scheme if (scheme.partition(":")[0], port) in {("https", "443"), ("http", "80")} else origin
