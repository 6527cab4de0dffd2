"""What one look at a task costs in CPU: by httpx's own client, and by ours over its transport and over ours."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import repeat
from time import process_time

import anyio
import httpx

from benchmarks.report import Goal, Report, main, middle
from benchmarks.runapi import CREATE, PlainRunAPI
from benchmarks.servers import served
from benchmarks.waiting import tiny_picture
from flux2_mcp.runapi.client import Connection, RunAPI
from flux2_mcp.runapi.connection_pool import PooledTransport
from flux2_mcp.runapi.models import Task

LOOKS = 1000
AT_ONCE = 20
ROUNDS = 5
HTTPX, THEIRS, OURS = "httpx's client", "ours, over httpx's transport", "ours, over our pool"

Look = Callable[[], Awaitable[object]]


async def measure() -> Report:
    """Each in turn, against a server in a process of its own."""
    costs: dict[str, list[float]] = {HTTPX: [], THEIRS: [], OURS: []}
    async with await anyio.open_process([sys.executable, "-m", "benchmarks.looks", "--serve"], stderr=None) as server:
        assert server.stdout
        url = (await server.stdout.receive()).decode().strip()
        for _ in range(ROUNDS):
            for name, opened in ((HTTPX, _plain), (THEIRS, _over_httpx), (OURS, _over_ours)):
                async with opened(url) as look:
                    costs[name].append(await _cost(look))
        server.terminate()
    found = {name: middle(each) for name, each in costs.items()}
    return Report(
        f"CPU of one look, {AT_ONCE} at once, median of {ROUNDS} rounds of {LOOKS}",
        [{"looks": name, "ms": cost} for name, cost in found.items()],
        [Goal("a look, beside httpx's client", found[OURS] / found[HTTPX], 1.0, "×")],
    )


async def _cost(look: Look) -> float:
    """Milliseconds of this process."""

    async def some() -> None:
        for _ in range(LOOKS // AT_ONCE):
            await look()

    await look()
    began = process_time()
    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(some)
    return (process_time() - began) / LOOKS * 1000


@asynccontextmanager
async def _plain(url: str) -> AsyncGenerator[Look, None]:
    async with httpx.AsyncClient(base_url=url) as client:
        task = (await client.post(CREATE, json={"prompt": "a fox"})).json()["id"]
        yield lambda: client.get(f"{CREATE}/{task}")


@asynccontextmanager
async def _over(url: str, transport: httpx.AsyncBaseTransport) -> AsyncGenerator[Look, None]:
    connection = Connection(url, dialect="sdk", transport=transport)
    runapi = RunAPI(connection, key="runapi_key")
    made: Task = await runapi.create("text_to_image", {"prompt": "a fox"}, idempotency_key="1")
    yield lambda: runapi.look(made)
    await connection.aclose()


def _over_httpx(url: str) -> AbstractAsyncContextManager[Look]:
    return _over(url, httpx.AsyncHTTPTransport())


def _over_ours(url: str) -> AbstractAsyncContextManager[Look]:
    return _over(url, PooledTransport())


async def _serve() -> None:
    async with served(PlainRunAPI(repeat(3600.0), tiny_picture())) as url:
        print(url, flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    if "--serve" in sys.argv:
        anyio.run(_serve)
    else:
        main(measure)
