"""What these tests share: a server of pictures that misbehaves, a host that offers folders, and looking at results."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx
from mcp.client import Client
from mcp.client.context import ClientRequestContext
from mcp_types import CallToolResult, ErrorData, ImageContent, Implementation, ListRootsResult, ResourceLink, Root
from PIL import Image

from flux2_mcp.server.app import build_server
from flux2_mcp.simulator import SeenRequest, Simulator
from tests.images.examples import encoded, plain
from tests.transports import Wire, fetches
from tests.world import World

ELSEWHERE = "https://93.184.216.34"
"""A public address that is not RunAPI's; being a number, it needs no look-up."""

Answer = Callable[[httpx.Request], httpx.Response]


class PictureServer(Wire):
    """Answers for finished pictures in its own way, until it is healed; all else is the simulator's."""

    def __init__(self, simulator: Simulator, answer: Answer) -> None:
        super().__init__(simulator)
        self._answer: Answer | None = answer
        self.asked: list[httpx.Request] = []

    def heal(self) -> None:
        """From now on, the picture is there."""
        self._answer = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not fetches(request):
            return await super().handle_async_request(request)
        self.asked.append(request)
        return self._answer(request) if self._answer else await super().handle_async_request(request)


def answers(body: bytes, status: int = 200, **headers: str) -> Answer:
    """The same answer every time."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: httpx.Response(status, content=body, headers=named)


class Megabytes(httpx.AsyncByteStream):
    """A body that never says how long it is."""

    def __init__(self, count: int) -> None:
        self.count = count

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self.count):
            yield bytes(1_000_000)


@dataclass
class Folders:
    """A host that offers folders, and counts how often it was asked for them."""

    paths: list[Path]
    asked: int = field(default=0)
    error: ErrorData | None = None
    """What it answers instead."""
    silent: bool = False

    async def __call__(self, context: ClientRequestContext) -> ListRootsResult | ErrorData:
        self.asked += 1
        if self.silent:
            await anyio.sleep_forever()
        if self.error:
            return self.error
        return ListRootsResult(roots=[Root(uri=path.as_uri()) for path in self.paths])  # pyright: ignore[reportArgumentType] text is a URI too


@asynccontextmanager
async def offering(here: World, folders: Folders) -> AsyncGenerator[Client, None]:
    """A client of a host that offers these folders."""
    about = Implementation(name="test", version="1")
    with anyio.fail_after(30):
        async with Client(
            build_server(here.environment()), client_info=about, mode=here.mode, list_roots_callback=folders
        ) as client:
            yield client


def images_in(result: CallToolResult) -> list[bytes]:
    """The pictures in a result, and nothing but pictures that are what they say."""
    blocks = [block for block in result.content if isinstance(block, ImageContent)]
    return [base64.b64decode(block.data) for block in blocks]


def links_in(result: CallToolResult) -> list[ResourceLink]:
    return [block for block in result.content if isinstance(block, ResourceLink)]


def encoded_result(result: CallToolResult) -> str:
    """The result as it goes over the wire."""
    return result.model_dump_json(by_alias=True, exclude_none=True)


def sources_of(request: SeenRequest) -> list[str]:
    """The addresses that RunAPI was given to remix."""
    return json.loads(request.body)["source_image_urls"]


def puts(here: World) -> list[SeenRequest]:
    """The uploads that reached the storage."""
    return [seen for seen in here.simulator.requests if seen.method == "PUT"]


def png(colour: str = "red", edge: int = 64) -> bytes:
    return encoded(plain(edge, edge, colour), "PNG")


def data_uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def colour_at(path: Path, *, across: float) -> tuple[int, int, int]:
    """The colour at half height of a saved picture."""
    with Image.open(path) as picture:
        pixel = picture.convert("RGB").getpixel((int(picture.width * across), picture.height // 2))
    assert isinstance(pixel, tuple)
    red, green, blue = pixel
    return red, green, blue
