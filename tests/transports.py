"""The way between our server and the simulator, as it is on good days and on bad ones."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import httpx

from flux2_mcp.simulator import AnswerLost, Simulator


class Wire(httpx.AsyncBaseTransport):
    """A network in memory: an answer that the simulator loses is a broken connection here, as on a real wire."""

    def __init__(self, simulator: Simulator) -> None:
        self._app = httpx.ASGITransport(simulator)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._app.handle_async_request(request)
        except AnswerLost as error:
            msg = "the peer closed the connection"
            raise httpx.ReadError(msg, request=request) from error


class NoNetwork(httpx.AsyncBaseTransport):
    """Nothing can be reached."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        msg = "no route to host"
        raise httpx.ConnectError(msg, request=request)


class Gate(Wire):
    """Holds requests of one kind until it is opened."""

    def __init__(self, simulator: Simulator, holds: Callable[[httpx.Request], bool], *, after: bool = False) -> None:
        super().__init__(simulator)
        self._holds = holds
        self._after = after
        self.held = 0
        """How many requests were held so far."""
        self._arrived = anyio.Event()
        self._opened = anyio.Event()

    async def holds_one(self) -> None:
        """Wait for the first request that is held."""
        with anyio.fail_after(30):
            await self._arrived.wait()

    def open(self) -> None:
        """Let everything through, from now on."""
        self._opened.set()

    def close(self) -> None:
        """Hold what comes from now on."""
        self._opened = anyio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self._holds(request):
            return await super().handle_async_request(request)
        # `after`: the request had its effect, and its answer is on the way.
        answer = await super().handle_async_request(request) if self._after else None
        if not self._opened.is_set():
            self.held += 1
            self._arrived.set()
            await self._opened.wait()
        return answer or await super().handle_async_request(request)


class TimesOut(Wire):
    """Delivers requests of one kind, and lets their answers come too late, `times` times."""

    def __init__(self, simulator: Simulator, late: Callable[[httpx.Request], bool], *, times: int) -> None:
        super().__init__(simulator)
        self._late = late
        self._times = times

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle_async_request(request)
        if self._times and self._late(request):
            self._times -= 1
            msg = "the answer did not come in time"
            raise httpx.ReadTimeout(msg, request=request)
        return answer


def creates(request: httpx.Request) -> bool:
    """Whether this request makes a task, and so costs money."""
    return request.method == "POST" and request.url.path.endswith(("/text_to_image", "/remix_image"))


def looks(request: httpx.Request) -> bool:
    """Whether this request asks how a task is doing."""
    return request.method == "GET" and any(
        part in request.url.path for part in ("/text_to_image/", "/remix_image/", "/tasks/")
    )


def fetches(request: httpx.Request) -> bool:
    """Whether this request fetches a finished picture."""
    return "/generated/" in request.url.path
