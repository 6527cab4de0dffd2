"""What the studio does with sources: a simulated RunAPI, and everything that was asked of it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from flux2_mcp.errors import NoSuchTask, SourceRefused
from flux2_mcp.images import Picture
from flux2_mcp.runapi.client import Connection, RunAPI
from flux2_mcp.simulator import Script, SeenRequest, Simulator
from flux2_mcp.sources import SourceLimits, Sources, Uploads

KEY = "runapi_testkey0123456789"
RUNAPI = "https://runapi.test"


def png(colour: str = "red", *, padding: int = 0) -> bytes:
    """A sound picture; padding makes the file larger, not the picture."""
    file = BytesIO()
    Image.new("RGB", (8, 6), colour).save(file, "PNG")
    return file.getvalue() + bytes(padding)


def data_uri(data: bytes, head: str = "image/png;base64") -> str:
    return f"data:{head},{base64.b64encode(data).decode()}"


@dataclass
class Clock:
    """Goes only when it is told to."""

    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.time

    def forward(self, **units: float) -> None:
        self.time += timedelta(**units)


async def no_earlier_picture(task_id: str, number: int) -> Picture:
    msg = f"Nobody knows {task_id}/{number}."
    raise NoSuchTask(msg)


@dataclass
class OwnerSources:
    """Sources of one owner, and what RunAPI saw of them."""

    sources: Sources
    simulator: Simulator
    words: list[str] = field(default_factory=list[str])

    async def urls(self, *given: str) -> list[str]:
        """Open and upload, as the studio does."""
        return await self.sources.readable_urls(await self.sources.opened(given), report=self.words.append)

    @property
    def puts(self) -> list[SeenRequest]:
        return [request for request in self.simulator.requests if request.method == "PUT"]

    @property
    def names(self) -> list[str]:
        """What RunAPI was told that the files are called."""
        asked = [request for request in self.simulator.requests if request.path.endswith("/files/prepare")]
        return [json.loads(request.body)["filename"] for request in asked]


@asynccontextmanager
async def owner_sources(
    home: Path,
    *,
    roots: Sequence[Path] | None = None,
    owner: str = "me",
    simulator: Simulator | None = None,
    transport: Callable[[Simulator], httpx.AsyncBaseTransport] = httpx.ASGITransport,
    uploads: Uploads | None = None,
    **more: object,
) -> AsyncGenerator[OwnerSources, None]:
    simulator = simulator or Simulator(Script())
    connection = Connection(RUNAPI, transport=transport(simulator))
    given: dict[str, object] = {
        "earlier_picture": no_earlier_picture,
        "limits": SourceLimits(max_bytes=100_000),
        **more,
    }
    sources = Sources(
        owner=owner,
        runapi=RunAPI(connection, KEY),
        uploads=uploads or Uploads(),
        home=home,
        roots=[home] if roots is None else roots,
        **given,  # pyright: ignore[reportArgumentType] a test names only what matters to it
    )
    try:
        yield OwnerSources(sources, simulator)
    finally:
        await connection.aclose()


async def refusal(home: Path, *given: object, **more: object) -> str:
    """The words with which sources are refused; nothing may have been sent."""
    async with owner_sources(home, **more) as opened:  # pyright: ignore[reportArgumentType] as above
        with pytest.raises(SourceRefused) as caught:
            await opened.sources.opened([str(each) for each in given])
        assert not opened.simulator.requests
        return str(caught.value)
