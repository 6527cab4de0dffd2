"""One host or many that make a server's day: calls side by side, over stdio or over HTTP."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import anyio
import httpx

from tests.hosting.abuse import MODERN
from tests.hosting.world import HEADERS, bearer
from tests.processes import Host
from tests.world import NO_CERTIFICATES

Json = dict[str, Any]


class Door(ABC):
    """How calls reach the server."""

    @abstractmethod
    async def ask(self, method: str, who: int, **params: object) -> Json:
        """The whole answer to a request of this caller's."""

    @abstractmethod
    async def break_off(self, method: str, who: int, **params: object) -> None:
        """Make a request, and give it up before its answer."""

    async def call(self, tool: str, who: int, **arguments: object) -> Json:
        """The result of a call."""
        return (await self.ask("tools/call", who, name=tool, arguments=arguments))["result"]


@dataclass
class OverStdio(Door):
    """One host, which tells its answers apart by their ids."""

    host: Host
    _numbers: count[int] = field(default_factory=lambda: count(1000))
    _awaited: dict[int, anyio.Event] = field(default_factory=dict[int, anyio.Event])
    _answers: dict[int, Json] = field(default_factory=dict[int, Json])
    _writing: anyio.Lock = field(default_factory=anyio.Lock)

    async def ask(self, method: str, who: int, **params: object) -> Json:
        number = await self._send(method, params)
        await self._awaited[number].wait()
        del self._awaited[number]
        return self._answers.pop(number)

    async def break_off(self, method: str, who: int, **params: object) -> None:
        number = await self._send(method, params)
        await anyio.sleep(0.02 * (number % 5))
        del self._awaited[number]
        cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}
        async with self._writing:
            await self.host.send(cancelled)

    async def _send(self, method: str, params: Mapping[str, object]) -> int:
        number = next(self._numbers)
        self._awaited[number] = anyio.Event()
        with_token = {**params, "_meta": {"progressToken": number}}
        async with self._writing:
            await self.host.send({"jsonrpc": "2.0", "id": number, "method": method, "params": with_token})
        return number

    async def read(self) -> None:
        """Take what comes, until there is nothing more."""
        with suppress(anyio.EndOfStream, anyio.IncompleteRead):
            while True:
                message = await self.host.hear()
                number = message.get("id")
                if number in self._awaited and "method" not in message:
                    self._answers[number] = message
                    self._awaited[number].set()


@dataclass
class OverHttp(Door):
    """Many callers, each with a key of their own."""

    url: str
    http: httpx.AsyncClient

    async def ask(self, method: str, who: int, **params: object) -> Json:
        named = str(params.get("name") or params.get("uri") or "")
        headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, **({"Mcp-Name": named} if named else {})}
        answer = await self.http.post(
            self.url,
            json={"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": MODERN}},
            headers={**HEADERS, **headers, **bearer(key_of(who))},
        )
        return answer.json()

    async def break_off(self, method: str, who: int, **params: object) -> None:
        with anyio.move_on_after(0.02 * (who % 5)):
            await self.ask(method, who, **params)


def key_of(who: int) -> str:
    """A RunAPI key of somebody's."""
    return f"runapi_caller{who:03}caller{who:03}"


@asynccontextmanager
async def over_stdio(host: Host) -> AsyncGenerator[Door]:
    """A door for calls that go on side by side."""
    door = OverStdio(host)
    async with anyio.create_task_group() as group:
        group.start_soon(door.read)
        yield door
        group.cancel_scope.cancel()


@asynccontextmanager
async def over_http(url: str) -> AsyncGenerator[Door]:
    """The same for many."""
    async with httpx.AsyncClient(verify=NO_CERTIFICATES, timeout=60) as http:
        yield OverHttp(url, http)
