"""A history that cannot be read or written: nothing new is paid for, and nothing paid for is lost."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import httpx
import pytest
from mcp.client import Client
from mcp_types import CallToolResult

from flux2_mcp.server.app import build_server
from flux2_mcp.simulator import Script
from tests.databases import history_in, locked
from tests.transports import Gate, creates, looks
from tests.world import World, text_of, world

FOX = {"prompt": "a fox"}


def small_world(home: Path) -> World:
    return world(home, Script(looks_until_done=1, plain_pictures=True))


@asynccontextmanager
async def impatient(here: World) -> AsyncGenerator[Client, None]:
    """A client of a server that waits for no other program."""
    history = history_in(here.home / "data", lock_patience=0.05)
    with anyio.fail_after(30):
        async with Client(build_server(replace(here.environment(), history=history))) as client:
            yield client


async def test_nothing_is_ordered_until_the_history_can_be_written_again(tmp_path: Path) -> None:
    here = small_world(tmp_path)
    async with impatient(here) as client:
        await client.call_tool("recent_tasks", {})
        with locked(tmp_path / "data"):
            refused = await client.call_tool("generate", FOX)
        assert here.creates == []
        made = await client.call_tool("generate", FOX)

    assert refused.is_error
    assert "The history cannot be written" in text_of(refused)
    assert "is locked by another program. Nothing was ordered." in text_of(refused)
    assert "FLUX2_HISTORY=off goes on without a history:" in text_of(refused)
    assert not made.is_error
    assert len(here.paid) == 1


@pytest.mark.parametrize("step", [creates, looks], ids=["on its way to RunAPI", "being made"])
async def test_a_picture_that_was_ordered_before_is_fetched_and_returned(
    tmp_path: Path, step: Callable[[httpx.Request], bool]
) -> None:
    """And once the history can be written again, the same words find it instead of paying again."""
    here = small_world(tmp_path)
    gate = here.transport = Gate(here.simulator, step)
    results: list[CallToolResult] = []

    async def call(client: Client) -> None:
        results.append(await client.call_tool("generate", FOX))

    with ExitStack() as stack:
        async with impatient(here) as client, anyio.create_task_group() as group:
            group.start_soon(call, client)
            await gate.holds_one()
            stack.enter_context(locked(tmp_path / "data"))
            gate.open()
    [file] = here.output.iterdir()
    async with here.client() as client:
        again = await client.call_tool("generate", FOX)

    [result] = results
    assert not result.is_error
    assert f"File: {file}" in text_of(result)
    assert "is fetched, but not noted" in text_of(result)
    assert "not ordered anew" in text_of(again)
    assert "but not noted" not in text_of(again)
    assert len(here.paid) == 1


async def test_a_task_is_found_by_the_id_of_runapi_while_the_history_cannot_be_read(tmp_path: Path) -> None:
    here = small_world(tmp_path)
    async with here.client() as client:
        await client.call_tool("generate", {**FOX, "wait_seconds": 0})
    [order] = await here.orders()
    async with impatient(here) as client:
        with locked(tmp_path / "data", also_for_readers=True):
            found = await client.call_tool("task_status", {"task_id": here.paid[0].id})
            unknown = await client.call_tool("task_status", {"task_id": order.id})

    assert not found.is_error
    assert len(list(here.output.iterdir())) == 1
    assert "The history cannot be read" in text_of(unknown)
    assert len(here.paid) == 1
