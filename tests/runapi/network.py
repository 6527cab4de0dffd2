"""Both ends of the wire, for tests of the client: how it is opened, and what may be wrong at the other end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import anyio
import httpx

from flux2_mcp.runapi.client import Connection, RunAPI
from flux2_mcp.runapi.routes import DialectSetting
from flux2_mcp.simulator import AnswerLost, Script, Simulator

KEY = "runapi_testkey0123456789"
BASE_URL = "https://runapi.test"
FOX = {"model": "flux-2-pro-text-to-image", "prompt": "a red fox"}

Answer = Callable[[httpx.Request], httpx.Response]


class Naps:
    """Waiting that takes no time, and remembers how long it would have been."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await anyio.lowlevel.checkpoint()


class Line(httpx.ASGITransport):
    """A line to the simulator, on which a lost answer looks as it does on a real one."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except AnswerLost as error:
            raise httpx.ReadError(str(error)) from error


class Answers(httpx.AsyncBaseTransport):
    """A RunAPI that gives these answers in turn, and the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        await anyio.lowlevel.checkpoint()
        return (self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])(request)


class OnlyPaths(httpx.AsyncBaseTransport):
    """A RunAPI with these paths and no others."""

    def __init__(self, paths: Mapping[str, Answer]) -> None:
        self._paths = paths
        self.requests: list[httpx.Request] = []

    @property
    def asked(self) -> list[str]:
        return [f"{request.method} {request.url.path}" for request in self.requests]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        await anyio.lowlevel.checkpoint()
        return self._paths.get(f"{request.method} {request.url.path}", says(404, {"error": "Not found"}))(request)


class BreaksInTheMiddle(httpx.AsyncByteStream):
    """A body of which only the beginning arrives."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'{"id": "task-'
        msg = "The connection broke in the middle of the body."
        raise httpx.ReadError(msg)


def says(
    status: int = 200, body: object = None, *, content: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """An answer with this JSON, or with these very bytes."""
    if content is not None:
        return lambda _: httpx.Response(status, content=content, headers=headers)
    return lambda _: httpx.Response(status, json=body, headers=headers)


def breaks(error: type[httpx.TransportError]) -> Answer:
    """No answer."""

    def answer(request: httpx.Request) -> httpx.Response:
        msg = f"as a test said: {error.__name__}"
        raise error(msg, request=request)

    return answer


def breaks_in_the_middle(_: httpx.Request) -> httpx.Response:
    """An answer whose body does not arrive."""
    return httpx.Response(200, stream=BreaksInTheMiddle(), headers={"content-type": "application/json"})


def runapi(
    transport: httpx.AsyncBaseTransport,
    *,
    base_url: str = BASE_URL,
    dialect: DialectSetting = "auto",
    key: str = KEY,
    naps: Naps | None = None,
) -> RunAPI:
    """Our client at this end of the line."""
    return RunAPI(Connection(base_url, dialect=dialect, transport=transport, sleep=naps or Naps()), key)


def simulated(script: Script | None = None) -> tuple[Simulator, RunAPI]:
    """A simulator, and our client connected to it."""
    simulator = Simulator(script or Script(looks_until_done=1))
    return simulator, runapi(Line(simulator))
