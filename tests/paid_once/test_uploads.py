"""Orders whose source images take long to upload, while others have the same order in hand."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import anyio
import httpx
import pytest
from mcp.client import Client
from mcp_types import CallToolResult
from PIL import Image

from flux2_mcp.history import History, Order
from flux2_mcp.server.app import build_server
from flux2_mcp.simulator import Fault, Script, Simulator
from tests.databases import database_url
from tests.paid_once.accounting import ledger_of, ledger_of_runapi
from tests.paid_once.backdating import time_passes
from tests.transports import Gate, Wire, creates
from tests.world import World, text_of, world

LOST = Fault(on="create", after=True, lose=True, times=9)


def uploads(request: httpx.Request) -> bool:
    return request.url.path.endswith("/files/prepare")


def small_world(home: Path, **environ: str) -> World:
    here = world(home, Script(looks_until_done=1, plain_pictures=True), environ=environ)
    here.output.mkdir()
    Image.new("RGB", (8, 6), "red").save(here.output / "mine.png")
    return here


def remix_in(here: World) -> dict[str, object]:
    return {"prompt": "a fox", "source_image_urls": [str(here.output / "mine.png")]}


@asynccontextmanager
async def still_uploading(here: World, results: list[CallToolResult]) -> AsyncGenerator[Client, None]:
    """A process uploads until this ends; here is the client of another."""
    gate = here.transport = Gate(here.simulator, uploads)
    async with here.client() as slow:
        here.transport = Wire(here.simulator)

        async def call() -> None:
            results.append(await slow.call_tool("remix", remix_in(here)))

        async with here.client() as other, anyio.create_task_group() as group:
            group.start_soon(call)
            await gate.holds_one()
            yield other
            gate.open()


async def test_an_order_that_another_process_gave_up_and_made_anew_is_not_sent_after_all(tmp_path: Path) -> None:
    """The money that was given back is spent."""
    here = small_world(tmp_path, FLUX2_DAILY_BUDGET="0.05")
    results: list[CallToolResult] = []
    async with still_uploading(here, results) as other:
        here.simulator.faults.append(Fault(on="prepare", status=403))
        refused = await other.call_tool("remix", remix_in(here))
        made = await other.call_tool("remix", remix_in(here))

    assert refused.is_error
    assert not made.is_error
    assert "was never sent" in text_of(results[0])
    assert "Nothing was charged" in text_of(results[0])
    assert len(here.paid) == len(here.creates) == 1
    assert sorted(order.state for order in await here.orders()) == ["completed", "failed"]


async def test_an_order_that_was_refused_another_process_is_not_sent_once_more(tmp_path: Path) -> None:
    here = small_world(tmp_path)
    results: list[CallToolResult] = []
    async with still_uploading(here, results) as other:
        here.simulator.faults.append(Fault(on="create", status=402))
        refused = await other.call_tool("remix", remix_in(here))

    [same] = results
    assert refused.is_error
    assert same.is_error
    assert "HTTP 402" in text_of(same)
    assert "never sent" not in text_of(same)
    assert "Nothing was charged" in text_of(same)
    assert len(here.creates) == 1


@pytest.mark.parametrize(("status", "kept"), [(401, "on"), (402, "on"), (402, "private"), (422, "on"), (429, "on")])
async def test_a_refusal_says_nothing_of_what_another_process_has_sent_meanwhile(
    tmp_path: Path, status: int, kept: str
) -> None:
    """To the process that is refused it looks as if it sent the order for the first time."""
    here = small_world(tmp_path, FLUX2_HISTORY=kept)
    results: list[CallToolResult] = []
    async with still_uploading(here, results) as other:
        here.simulator.faults.append(LOST)
        lost = await other.call_tool("remix", remix_in(here))
        here.simulator.faults[:] = [Fault(on="create", status=status, times=9)]
    here.simulator.faults.clear()
    async with here.client() as client:
        found = await client.call_tool("remix", remix_in(here))
        ours = await ledger_of(client)

    assert ["It is not known whether RunAPI accepted the order" in text_of(each) for each in (lost, *results)] == [
        True
    ] * 2
    assert not found.is_error
    assert len(here.paid) == 1
    assert ours == ledger_of_runapi(here.simulator)


@pytest.mark.parametrize(("status", "is_known"), [(422, True), (402, False)])
async def test_what_another_process_is_sending_fails_only_where_the_order_itself_is_wrong(
    tmp_path: Path, status: int, *, is_known: bool
) -> None:
    """The same request is refused to both; a balance may be another one a moment later."""
    here = small_world(tmp_path)
    gate = here.transport = Gate(here.simulator, creates)
    results: list[CallToolResult] = []
    states: list[str] = []
    async with here.client() as slow, anyio.create_task_group() as group:

        async def call() -> None:
            results.append(await slow.call_tool("generate", {"prompt": "a fox"}))

        group.start_soon(call)
        await gate.holds_one()
        here.transport = Wire(here.simulator)
        here.simulator.faults.append(Fault(on="create", status=status, times=9 if is_known else 1))
        async with here.client() as other:
            results.append(await other.call_tool("generate", {"prompt": "a fox"}))
        states += [order.state for order in await here.orders()]
        gate.open()
    refused, sent = results

    assert states == ["failed" if is_known else "unknown"]
    assert ("Nothing was charged" in text_of(refused)) is is_known
    assert sent.is_error is is_known
    assert len(here.paid) == (0 if is_known else 1)


@pytest.mark.parametrize(
    "fault",
    [Fault(on="prepare", status=403, times=9), Fault(on="create", status=422, times=9)],
    ids=["upload", "order"],
)
async def test_what_is_refused_does_not_hide_what_another_process_has_made(tmp_path: Path, fault: Fault) -> None:
    here = small_world(tmp_path)
    results: list[CallToolResult] = []
    async with still_uploading(here, results) as other:
        made = await other.call_tool("remix", remix_in(here))
        here.simulator.faults.append(fault)

    assert [result.is_error for result in (made, *results)] == [False, False]
    [task] = here.paid
    assert task.id in text_of(results[0])


@pytest.mark.parametrize("kept", ["on", "private"])
async def test_what_cannot_be_uploaded_is_found_where_another_process_has_sent_it_and_heard_nothing(
    tmp_path: Path, kept: str
) -> None:
    """The order is in doubt, and is sent again with the addresses that the other process had."""
    here = small_world(tmp_path, FLUX2_HISTORY=kept)
    results: list[CallToolResult] = []
    async with still_uploading(here, results) as other:
        here.simulator.faults.append(LOST)
        lost = await other.call_tool("remix", remix_in(here))
        here.simulator.faults[:] = [Fault(on="prepare", status=403, times=9)]

    assert "It is not known whether RunAPI accepted the order" in text_of(lost)
    assert "made the picture" in text_of(results[0])
    assert len(here.paid) == 1


async def test_what_another_process_has_sent_stays_in_doubt_where_it_can_neither_be_uploaded_nor_replayed(
    tmp_path: Path,
) -> None:
    here = small_world(tmp_path)
    results: list[CallToolResult] = []
    async with still_uploading(here, results) as other:
        here.simulator.faults.append(LOST)
        await other.call_tool("remix", remix_in(here))
        here.simulator.faults[:] = [Fault(on=on, status=403, times=9) for on in ("prepare", "create")]
    [order] = await here.orders()

    assert "It is not known whether RunAPI accepted the order" in text_of(results[0])
    assert order.state == "unknown"


async def test_an_order_whose_source_was_refused_says_so_later_too(tmp_path: Path) -> None:
    here = small_world(tmp_path)
    here.simulator.faults.append(Fault(on="prepare", status=403, times=9))
    async with here.client() as client:
        refused = text_of(await client.call_tool("remix", remix_in(here)))
        [order] = await here.orders()
        looked = text_of(await client.call_tool("task_status", {"task_id": order.id}))

    assert "HTTP 403" in refused
    assert "HTTP 403" in looked
    assert "Nothing was charged" in looked


async def after_a_cancelled_one(client: Client, gate: Gate, wanted: dict[str, object]) -> CallToolResult:
    """The answer to a call that waits for the upload of the same call, which is cancelled."""
    results: list[CallToolResult] = []
    has_the_order = anyio.Event()

    async def call() -> None:
        results.append(await client.call_tool("remix", wanted))

    async def call_too() -> None:
        results.append(await client.call_tool("remix", wanted, progress_callback=heard))

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        if message and message.startswith("Sending the order to RunAPI"):
            has_the_order.set()

    async with anyio.create_task_group() as others:
        async with anyio.create_task_group() as cancelled:
            cancelled.start_soon(call)
            await gate.holds_one()
            others.start_soon(call_too)
            await has_the_order.wait()
            cancelled.cancel_scope.cancel()
        await anyio.wait_all_tasks_blocked()
        gate.open()
    [result] = results
    return result


async def test_a_call_that_waits_for_the_upload_of_a_cancelled_one_gets_its_picture(tmp_path: Path) -> None:
    """The cancelled call gave its money back, and the other one takes it, for the same order but for its key."""
    here = small_world(tmp_path, FLUX2_DAILY_BUDGET="0.07")
    gate = here.transport = Gate(here.simulator, uploads)
    wanted = {**remix_in(here), "output_resolution": "2k", "save_to": str(here.output / "fox.png")}
    async with here.client() as client:
        result = await after_a_cancelled_one(client, gate, wanted)
        ours = await ledger_of(client)

    assert not result.is_error
    assert len(here.paid) == len(here.creates) == 1
    assert ours == ledger_of_runapi(here.simulator)
    assert (here.output / "fox.png").is_file()
    made, given_up = await here.orders()
    assert (made.state, given_up.state) == ("completed", "failed")
    assert (made.resolution, made.save_to) == (given_up.resolution, given_up.save_to)
    assert made.estimated_cents == given_up.estimated_cents == 7
    assert UUID(made.idempotency_key) != UUID(given_up.idempotency_key)


class Outpaced(History):
    """Another process orders something as soon as this one has given an order up."""

    orders_now: Callable[[], Awaitable[object]]

    async def given_up(self, order: Order, *, error: str) -> Order:
        given_up = await super().given_up(order, error=error)
        await self.orders_now()
        return given_up


async def outpaced(here: World, tool: str, arguments: dict[str, object]) -> CallToolResult:
    """The answer to such a call where another process makes this call in the very moment."""
    gate = here.transport = Gate(here.simulator, uploads)
    history = Outpaced(here.home / "data", url=database_url(here.home / "data"))

    async def order_and_read() -> None:
        async with here.client() as other:
            await other.call_tool(tool, arguments)

    history.orders_now = order_and_read
    async with Client(build_server(replace(here.environment(), history=history))) as client:
        here.transport = Wire(here.simulator)
        return await after_a_cancelled_one(client, gate, remix_in(here))


async def test_money_that_a_cancelled_call_gave_back_is_spent_once(tmp_path: Path) -> None:
    here = small_world(tmp_path, FLUX2_DAILY_BUDGET="0.05")
    result = await outpaced(here, "generate", {"prompt": "a hen"})

    assert "$0.05 of today's limit of $0.05" in text_of(result)
    assert [task.params["prompt"] for task in here.paid] == ["a hen"]


async def test_what_another_process_made_in_place_of_a_cancelled_call_is_not_made_once_more(tmp_path: Path) -> None:
    """Although it was handed over there: this call came before it."""
    here = small_world(tmp_path)
    result = await outpaced(here, "remix", remix_in(here))

    [task] = here.paid
    assert task.id in text_of(result)


class Steps(Wire):
    """Holds uploads, and apart from them the orders that come after them."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)
        self.uploads = Gate(simulator, uploads)
        self.creates = Gate(simulator, creates)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await (self.creates if creates(request) else self.uploads).handle_async_request(request)


class LateToGiveUp(History):
    """Another process is always a little quicker than this one, when an order shall be given up."""

    is_about_to: anyio.Event
    may_give_up: anyio.Event

    async def given_up(self, order: Order, *, error: str) -> Order:
        self.is_about_to.set()
        await self.may_give_up.wait()
        return await super().given_up(order, error=error)


@pytest.mark.parametrize("kept", ["on", "private"])
async def test_an_order_that_is_sent_at_the_moment_it_shall_be_given_up_is_not_called_unsent(
    tmp_path: Path, kept: str
) -> None:
    """Its upload took a quarter of an hour."""
    here = small_world(tmp_path, FLUX2_HISTORY=kept)
    steps = here.transport = Steps(here.simulator)
    folder = tmp_path / "data"
    history = LateToGiveUp(folder, mode="on" if kept == "on" else "private", url=database_url(folder))
    history.is_about_to, history.may_give_up = anyio.Event(), anyio.Event()
    statuses: list[CallToolResult] = []
    async with here.client() as slow:
        here.transport = Wire(here.simulator)
        async with Client(build_server(replace(here.environment(), history=history))) as other:

            async def ask() -> None:
                [order] = await here.orders()
                statuses.append(await other.call_tool("task_status", {"task_id": order.id}))

            with anyio.fail_after(30):
                async with anyio.create_task_group() as group:
                    group.start_soon(slow.call_tool, "remix", remix_in(here))
                    await steps.uploads.holds_one()
                    time_passes(tmp_path, minutes=16)
                    group.start_soon(ask)
                    await history.is_about_to.wait()
                    steps.uploads.open()
                    await steps.creates.holds_one()
                    history.may_give_up.set()
                    while not statuses:  # noqa: ASYNC110 there is no event for it
                        await anyio.sleep(0.01)
                    steps.creates.open()

    [status] = statuses
    assert "not sent" not in text_of(status)
    assert "never sent" not in text_of(status)
    assert len(here.paid) == 1
