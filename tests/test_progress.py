from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from mcp.client import Client
from mcp.client.client import ConnectMode
from mcp_types import CallToolResult
from PIL import Image

from flux2_mcp.polling import FEWEST_SAMPLES
from flux2_mcp.simulator import Fault, Script
from tests.databases import history_in
from tests.history.orders import Clock, fox
from tests.transports import Gate, looks
from tests.world import OWNER, World, every, text_of, world

pytestmark = pytest.mark.virtual_time

FOREVER = 10**9


class Listener:
    """A host that writes down what it is told, and when."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.totals: list[float | None] = []
        self.words: list[str] = []
        self.times: list[float] = []

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        self.values.append(progress)
        self.totals.append(total)
        self.words.append(message or "")
        self.times.append(anyio.current_time())


async def listened(client: Client, **arguments: object) -> tuple[Listener, CallToolResult]:
    listener = Listener()
    result = await client.call_tool("generate", {"prompt": "a fox", **arguments}, progress_callback=listener)
    return listener, result


def small_world(home: Path, mode: ConnectMode, looks_until_done: int = 6) -> World:
    return world(home, Script(looks_until_done=looks_until_done, plain_pictures=True), mode=mode)


async def test_progress_rises_strictly_and_says_what_happens(tmp_path: Path, era: ConnectMode) -> None:
    here = small_world(tmp_path, era)
    async with here.client() as client:
        heard, result = await listened(client)

    assert not result.is_error
    assert len(heard.values) >= 4
    assert all(before < after for before, after in pairwise(heard.values))
    assert all(heard.words)
    assert any("Sending the order to RunAPI" in words for words in heard.words)
    assert not any("Asking RunAPI whether it has the order" in words for words in heard.words)
    assert any("Flux 2 Pro is painting" in words for words in heard.words)
    assert all(total is None or total >= value for value, total in zip(heard.values, heard.totals, strict=True))


async def test_progress_comes_at_least_every_3_s_while_nothing_is_looked_at(tmp_path: Path) -> None:
    """A host that resets its timeout on progress must not give up between two looks."""
    here = small_world(tmp_path, "auto", FOREVER)
    here.intervals = every(60.0)
    async with here.client() as client:
        await client.call_tool("task_status", {"task_id": ""})  # what is imported at first use is there
        began = anyio.current_time()
        heard, _ = await listened(client, wait_seconds=3.9)

    moments = [moment - began for moment in heard.times]
    assert moments[0] < 1
    assert any(2.9 < moment < 3.7 for moment in moments)
    assert not here.looks


async def test_progress_goes_on_while_runapi_is_silent(tmp_path: Path) -> None:
    here = small_world(tmp_path, "legacy")
    here.simulator.faults.append(Fault(on="look", hang=60, times=99))
    async with here.client() as client:
        heard, _ = await listened(client, wait_seconds=3.5)

    assert heard.times[-1] - heard.times[0] >= 2.9
    assert all(before < after for before, after in pairwise(heard.values))


async def test_progress_says_how_long_it_usually_takes_once_that_is_known(tmp_path: Path, era: ConnectMode) -> None:
    here = small_world(tmp_path, era, FOREVER)
    here.intervals = every(1.0)
    clock = Clock()
    history = history_in(tmp_path / "data", now=clock)
    for number in range(FEWEST_SAMPLES):
        [(order, _)] = await history.open_orders([fox(f"{number}")], owner=OWNER, resume_within=None)
        running = await history.accepted(order, task_id=f"task-{number}", dialect="sdk")
        clock.forward(seconds=9)
        await history.finished(running, state="completed", urls=["https://x.test/1.png"])
    await history.aclose()
    async with here.client() as client:
        heard, _ = await listened(client, output_resolution="2k", wait_seconds=12)

    assert 9 in heard.totals
    assert heard.totals[-1] is None  # it takes longer than usual


async def test_progress_says_which_source_is_uploaded(tmp_path: Path, era: ConnectMode) -> None:
    here = small_world(tmp_path, era)
    here.output.mkdir()
    Image.new("RGB", (64, 64), "red").save(here.output / "mine.png")
    listener = Listener()
    here.simulator.faults.append(Fault(on="prepare", hang=10))
    async with here.client() as client:
        remix = {"prompt": "a hare", "source_image_urls": [str(here.output / "mine.png")]}
        await client.call_tool("remix", remix, progress_callback=listener)

    assert any(words.startswith("Uploading source 1 of 1, ") for words in listener.words)


async def test_progress_goes_on_while_a_source_is_read(tmp_path: Path, era: ConnectMode) -> None:
    """An earlier picture whose file is gone is fetched once more, before anything is ordered."""
    here = small_world(tmp_path, era)
    listener = Listener()
    async with here.client() as client:
        await listened(client)
        [file] = here.output.iterdir()
        file.unlink()
        here.simulator.faults.append(Fault(on="picture", hang=10))
        remix = {"prompt": "a hare", "source_image_urls": [f"flux2://tasks/{here.paid[0].id}/images/0"]}
        result = await client.call_tool("remix", remix, progress_callback=listener)

    assert not result.is_error
    assert len([words for words in listener.words if words.startswith("Getting ready")]) >= 3
    assert all(after - before < 3.5 for before, after in pairwise(listener.times))
    assert all(before < after for before, after in pairwise(listener.values))


async def test_progress_tells_how_many_of_several_are_done(tmp_path: Path, era: ConnectMode) -> None:
    here = small_world(tmp_path, era)
    async with here.client() as client:
        heard, _ = await listened(client, count=3)

    assert any(" of 3 done" in words for words in heard.words)
    assert all(before < after for before, after in pairwise(heard.values))


async def test_progress_says_so_when_a_look_gets_no_answer(tmp_path: Path) -> None:
    here = small_world(tmp_path, "auto")
    here.simulator.faults.append(Fault(on="look", status=503, times=3))
    async with here.client() as client:
        heard, result = await listened(client)

    assert not result.is_error
    assert any("asking again" in words for words in heard.words)


async def test_a_host_that_stops_listening_stops_no_picture(tmp_path: Path, era: ConnectMode) -> None:
    """Reporting waits for the client; looking, and the result, do not."""
    here = small_world(tmp_path, era)

    async def deaf(progress: float, total: float | None, message: str | None) -> None:
        await anyio.sleep_forever()

    async with here.client() as client:
        with anyio.fail_after(5):
            result = await client.call_tool("generate", {"prompt": "a fox"}, progress_callback=deaf)

    assert "made the picture" in text_of(result)


async def test_no_progress_comes_after_the_call(tmp_path: Path, era: ConnectMode) -> None:
    here = small_world(tmp_path, era, FOREVER)
    gate = here.transport = Gate(here.simulator, looks)
    async with here.client() as client:
        heard, _ = await listened(client, wait_seconds=0.2)
        count = len(heard.values)
        gate.open()
        await client.list_tools()
        await anyio.wait_all_tasks_blocked()

    assert len(heard.values) == count
