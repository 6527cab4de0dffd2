"""Late, odd and lost answers: what is in doubt stays in doubt, and nothing is ordered that nobody waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import anyio
import httpx
import pytest
from PIL import Image

from flux2_mcp.history import History, Order
from flux2_mcp.server.app import build_server
from flux2_mcp.simulator import Fault, Script, Simulator
from tests.databases import database_url, history_in
from tests.history.orders import fox
from tests.paid_once.accounting import ledger_of, ledger_of_runapi
from tests.paid_once.backdating import time_passes
from tests.transports import Gate, TimesOut, Wire, creates, fetches, looks
from tests.world import OWNER, every, text_of, world

pytestmark = pytest.mark.virtual_time

QUICK = Script(looks_until_done=2, plain_pictures=True)
FOX = {"prompt": "a fox"}
THREE = {"prompt": "a fox", "count": 3, "wait_seconds": 1}


def picture(folder: Path) -> str:
    path = folder / "source.png"
    Image.new("RGB", (64, 64), "red").save(path)
    return str(path)


class OneIsSlow(Wire):
    """The first task that is looked at runs for ever, until it may go on."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)
        self.slow = ""
        self.may_go_on = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        task_id = request.url.path.rpartition("/")[2]
        if looks(request) and not self.may_go_on:
            self.slow = self.slow or task_id
            if task_id == self.slow:
                return httpx.Response(200, json={"id": task_id, "status": "processing"}, request=request)
        return await super().handle_async_request(request)


class RefusesTheReplay(TimesOut):
    """Loses the answers to a create request, and then refuses to hear of it once."""

    def __init__(self, simulator: Simulator, status: int) -> None:
        super().__init__(simulator, creates, times=3)
        self._refusal = status
        self._sent = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._sent += creates(request)
        if creates(request) and self._sent == 4:
            return httpx.Response(self._refusal, json={"error": "a rule of some gateway"}, request=request)
        return await super().handle_async_request(request)


class Quotes(Wire):
    """Keeps what it is asked for a price with."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)
        self.asked: list[bytes] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "price_quotes" in request.url.path:
            self.asked.append(request.content)
        return await super().handle_async_request(request)


async def test_the_first_call_of_a_process_is_held_to_todays_prices(tmp_path: Path) -> None:
    """Hosts start a process for every session, so the first call is the usual one."""
    dear = Script(looks_until_done=2, prices={"flux-2-pro-text-to-image": {"1k": 500}})
    here = world(tmp_path, dear)
    async with here.client() as client:
        result = await client.call_tool("generate", FOX)

    assert result.is_error
    assert "$5.00, more than the $1.00" in text_of(result)
    assert here.creates == []


async def test_a_repeated_call_finds_all_its_pictures_as_long_as_one_is_to_come(tmp_path: Path) -> None:
    here = world(tmp_path, QUICK, intervals=every(0.05))
    here.transport = slow = OneIsSlow(here.simulator)
    async with here.client() as client:
        first = await client.call_tool("generate", THREE)
        again = await client.call_tool("generate", THREE)
        slow.may_go_on = True
        whole = await client.call_tool("generate", THREE)

    assert "2 of 3 pictures are made, 1 still to come" in text_of(first)
    assert "2 of 3 pictures are made, 1 still to come" in text_of(again)
    assert "3 of 3 pictures are made" in text_of(whole)
    assert len(here.paid) == len(here.creates) == 3


@pytest.mark.parametrize("status", [400, 402, 413, 422])
async def test_no_refusal_of_a_replay_says_what_became_of_the_first_try(tmp_path: Path, status: int) -> None:
    here = world(tmp_path, QUICK)
    here.transport = RefusesTheReplay(here.simulator, status)
    async with here.client() as client:
        await client.call_tool("generate", FOX)
        refused = await client.call_tool("generate", FOX)
        found = await client.call_tool("generate", FOX)

    assert "It is not known whether RunAPI accepted the order" in text_of(refused)
    assert "made the picture" in text_of(found)
    assert len(here.paid) == 1


async def test_a_task_that_is_completed_without_a_picture_is_looked_at_again(tmp_path: Path) -> None:
    here = world(tmp_path, QUICK)
    async with here.client() as client:
        nothing = await client.call_tool("generate", {"prompt": "a fox [simulate: empty]"})
        seen = len(here.looks)
        again = await client.call_tool("generate", {"prompt": "a fox [simulate: empty]"})

    assert "Do not generate again" in text_of(nothing)
    assert "$0.05" in text_of(nothing)
    assert again.is_error
    assert len(here.looks) > seen
    assert len(here.creates) == 1


async def test_a_task_that_runapi_does_not_know_an_hour_later_is_not_being_made(tmp_path: Path) -> None:
    """A single 404 a moment after the order is no reason to say so: it may not be shown everywhere yet."""
    here = world(tmp_path, QUICK)
    async with here.client() as client:
        await client.call_tool("generate", {**FOX, "wait_seconds": 0})
        [task] = here.paid
        here.simulator.faults.append(Fault(on="look", status=404, times=999))
        young = await client.call_tool("task_status", {"task_id": task.id, "wait_seconds": 0})
        time_passes(tmp_path, minutes=61)
        old = await client.call_tool("task_status", {"task_id": task.id, "wait_seconds": 600})
        here.simulator.faults.clear()
        found = await client.call_tool("task_status", {"task_id": task.id})

    assert "not ready yet" in text_of(young)
    assert "RunAPI does not know this task with this key" in text_of(old)
    assert "accepted, for about $0.05; whether it was charged is not known" in text_of(old)
    assert f"look for task {task.id} in that account at https://runapi.ai" in text_of(old)
    assert "made the picture" in text_of(found)


async def test_a_task_that_runapi_does_not_know_a_week_later_is_given_up(tmp_path: Path) -> None:
    """Its pictures would be deleted by now."""
    here = world(tmp_path, QUICK)
    async with here.client() as client:
        await client.call_tool("generate", {**FOX, "wait_seconds": 0})
        here.simulator.faults.append(Fault(on="look", status=404, times=999))
        time_passes(tmp_path, days=7, minutes=1)
        first = await client.call_tool("task_status", {"task_id": here.paid[0].id, "wait_seconds": 0})
        seen = len(here.looks)
        again = await client.call_tool("task_status", {"task_id": here.paid[0].id})
        [order] = await here.orders()

    assert order.state == "failed"
    assert text_of(again) == text_of(first)
    assert "RunAPI does not know this task with this key" in text_of(again)
    assert len(here.looks) == seen


async def test_a_foreign_task_is_not_waited_for_longer_than_was_asked(tmp_path: Path) -> None:
    here = world(tmp_path, QUICK)
    here.transport = Gate(here.simulator, looks)
    async with here.client() as client:
        with anyio.fail_after(3.5):
            result = await client.call_tool("task_status", {"task_id": "made-elsewhere", "wait_seconds": 1})

    assert "did not come in time" in text_of(result)


async def test_the_price_is_asked_for_without_what_is_the_persons(tmp_path: Path) -> None:
    """Their words have to be there, as RunAPI checks the request as if it were made."""
    here = world(tmp_path, QUICK)
    here.transport = quotes = Quotes(here.simulator)
    sources = [picture(tmp_path), "https://images.example/mine.png?sig=secret"]
    remix = {"prompt": "a fox", "model": "flux-2-max", "aspect_ratio": "1:1", "callback_url": "https://hooks.example/"}
    async with here.client() as client:
        for source in sources:
            quotes.asked.clear()
            await client.call_tool("remix", {**remix, "source_image_urls": [source]})

            assert quotes.asked
            for asked in quotes.asked:
                assert b"a fox" in asked
                for theirs in (b"source.png", b"mine.png", b"hooks.example"):
                    assert theirs not in asked


async def test_a_call_that_is_cancelled_while_it_uploads_orders_nothing(tmp_path: Path) -> None:
    here = world(tmp_path, QUICK)
    here.transport = gate = Gate(here.simulator, lambda request: request.url.path.endswith("/files/prepare"))
    async with here.client() as client:
        async with anyio.create_task_group() as group:
            arguments = {"prompt": "a fox", "source_image_urls": [picture(tmp_path)]}
            group.start_soon(client.call_tool, "remix", arguments)
            await gate.holds_one()
            group.cancel_scope.cancel()
        gate.open()
        await client.call_tool("recent_tasks", {})
        await anyio.sleep(10)

    assert here.creates == []


async def test_in_private_mode_a_lost_remix_is_found_after_a_restart(tmp_path: Path) -> None:
    """The same key must come with the same addresses, though nothing else of the request is kept."""
    here = world(tmp_path, QUICK, environ={"FLUX2_HISTORY": "private"})
    here.transport = TimesOut(here.simulator, creates, times=3)
    arguments = {"prompt": "a fox", "source_image_urls": [picture(tmp_path)]}
    async with here.client() as client:
        lost = await client.call_tool("remix", arguments)
    async with here.client() as client:
        found = await client.call_tool("remix", arguments)

    assert "Send the same call again" in text_of(lost)
    assert "made the picture" in text_of(found)
    assert len(here.paid) == 1


@pytest.mark.parametrize("kept", ["on", "private"])
async def test_the_history_knows_what_was_sent_and_failed_from_what_never_was(tmp_path: Path, kept: str) -> None:
    here = world(tmp_path, QUICK, environ={"FLUX2_HISTORY": kept})
    gate = here.transport = Gate(here.simulator, lambda request: request.url.path.endswith("/files/prepare"))
    async with here.client() as client:
        at_once = text_of(await client.call_tool("generate", {"prompt": "a fox [simulate: failed]"}))
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "remix", {**FOX, "source_image_urls": [picture(tmp_path)]})
            await gate.holds_one()
            group.cancel_scope.cancel()
        gate.open()
        await anyio.wait_all_tasks_blocked()
    async with here.client() as client:
        never_sent, failed = [
            text_of(await client.call_tool("task_status", {"task_id": order.id})) for order in await here.orders()
        ]

    assert "RunAPI could not make the picture: " in at_once
    assert ("The task failed." if kept == "private" else "RunAPI could not make the picture: ") in failed
    assert "was never sent" in never_sent
    assert "Nothing was charged. Order it again if it is still wanted." in never_sent


@pytest.mark.parametrize("kept", ["on", "private"])
async def test_an_order_that_was_sent_and_refused_is_not_called_unsent(tmp_path: Path, kept: str) -> None:
    """A private history does not keep why."""
    here = world(tmp_path, QUICK, environ={"FLUX2_HISTORY": kept})
    here.simulator.faults.append(Fault(on="create", status=422, body={"error": "prompt is not allowed"}))
    async with here.client() as client:
        await client.call_tool("generate", FOX)
        [order] = await here.orders()
        looked = text_of(await client.call_tool("task_status", {"task_id": order.id}))

    assert ("prompt is not allowed (HTTP 422)." if kept == "on" else "The task failed.") in looked
    assert " Nothing was charged. " in looked
    assert "never sent" not in looked


async def test_an_order_in_doubt_says_what_came_instead_of_an_answer(tmp_path: Path) -> None:
    here = world(tmp_path, QUICK)
    here.transport = TimesOut(here.simulator, creates, times=3)
    async with here.client() as client:
        lost = text_of(await client.call_tool("generate", FOX))
        [order] = await here.orders()
        looked = text_of(await client.call_tool("task_status", {"task_id": order.id}))

    assert order.error
    assert order.error in lost
    assert order.error in looked


async def test_a_repeated_call_says_where_a_picture_goes_that_is_being_fetched(tmp_path: Path) -> None:
    here = world(tmp_path, QUICK)
    here.transport = gate = Gate(here.simulator, fetches)
    elsewhere = tmp_path / "elsewhere"
    async with here.client() as client:
        await client.call_tool("generate", {**FOX, "wait_seconds": 1})
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "generate", {**FOX, "save_to": f"{elsewhere}/"})
            await anyio.sleep(1)
            gate.open()

    assert len(list(elsewhere.iterdir())) == 1


class Breaks(Wire):
    """Our own code breaks at the answer to requests of one kind."""

    def __init__(self, simulator: Simulator, at: Callable[[httpx.Request], bool]) -> None:
        super().__init__(simulator)
        self._at = at

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle_async_request(request)
        if self._at(request):
            raise ZeroDivisionError
        return answer


@pytest.mark.parametrize("at", [creates, looks, fetches])
async def test_a_mistake_of_ours_loses_nothing_that_is_paid_for(
    tmp_path: Path, at: Callable[[httpx.Request], bool], caplog: pytest.LogCaptureFixture
) -> None:
    here = world(tmp_path, QUICK)
    here.transport = Breaks(here.simulator, at)
    async with here.client() as client:
        broken = await client.call_tool("generate", FOX)
    [order], [task] = await here.orders(), here.paid
    here.transport = None
    async with here.client() as client:
        found = await client.call_tool("generate", FOX)
        ours = await ledger_of(client)

    assert order.id in caplog.text
    caplog.clear()
    assert "Something went wrong in this server (ZeroDivisionError)." in text_of(broken)
    assert (order.id if at is creates else f"task_id='{task.id}'") in text_of(broken)
    assert "Nothing was charged" not in text_of(broken)
    assert not found.is_error
    assert len(here.paid) == 1
    assert ours == ledger_of_runapi(here.simulator)


class BreaksAtALook(History):
    """Has a mistake of ours in what every look begins with."""

    async def latest(self, order: Order) -> Order:
        raise ZeroDivisionError


async def test_a_mistake_of_ours_at_a_look_says_which_task_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    here = world(tmp_path, QUICK)
    async with here.client() as client:
        await client.call_tool("generate", {**FOX, "wait_seconds": 0})
    history = BreaksAtALook(tmp_path / "data", url=database_url(tmp_path / "data"))
    async with here.client(server=build_server(replace(here.environment(), history=history))) as client:
        looked = text_of(await client.call_tool("task_status", {"task_id": here.paid[0].id}))

    assert "ZeroDivisionError" in caplog.text
    caplog.clear()
    assert "Something went wrong in this server (ZeroDivisionError)." in looked
    assert f"task_id='{here.paid[0].id}'" in looked
    assert "not known whether RunAPI accepted" not in looked


async def test_a_look_at_what_is_being_sent_waits_for_the_answer(tmp_path: Path) -> None:
    here = world(tmp_path, QUICK, intervals=every(0.1))
    here.transport = gate = Gate(here.simulator, creates)
    looked: list[str] = []
    async with here.client() as client, anyio.create_task_group() as group:
        group.start_soon(client.call_tool, "generate", FOX)
        await gate.holds_one()
        [order] = await here.orders()

        async def look() -> None:
            looked.append(text_of(await client.call_tool("task_status", {"task_id": order.id})))

        group.start_soon(look)
        await anyio.sleep(1)
        gate.open()

    assert "made the picture" in looked[0]
    assert len(here.paid) == 1


class GivenUpElsewhere(History):
    """Another process gives up every order just before this one sends it."""

    async def latest(self, order: Order) -> Order:
        await super().given_up(order, error="too slow")
        return await super().latest(order)


async def test_an_order_that_was_given_up_elsewhere_just_before_is_not_sent(tmp_path: Path) -> None:
    here = world(tmp_path, QUICK)
    history = GivenUpElsewhere(tmp_path / "data", url=database_url(tmp_path / "data"))
    async with here.client(server=build_server(replace(here.environment(), history=history))) as client:
        result = await client.call_tool("remix", {**FOX, "source_image_urls": [picture(tmp_path)]})

    assert "This order was never sent" in text_of(result)
    assert "Nothing was charged. Order it again if it is still wanted." in text_of(result)
    assert here.creates == []


async def test_a_failure_says_what_runapi_states_that_it_cost(tmp_path: Path) -> None:
    here = world(tmp_path, QUICK)
    failed = {"id": "t-1", "status": "failed", "error": "too blurred", "cost_cents": 250}
    here.simulator.faults.append(Fault(on="look", body=failed, times=9))
    async with here.client() as client:
        result = await client.call_tool("generate", FOX)

    assert "too blurred. RunAPI states a cost of $2.50." in text_of(result)
    [order] = await here.orders()
    assert (order.state, order.settled_cents) == ("failed", 250)


async def test_an_order_that_was_never_sent_is_given_up_once_no_call_can_take_it_up(tmp_path: Path) -> None:
    """Its call was cut off before it knew what to send."""
    here = world(tmp_path, QUICK)
    history = history_in(tmp_path / "data")
    intent = replace(fox(), request=None)
    [(order, _)] = await history.open_orders([intent], owner=OWNER, resume_within=None)
    await history.aclose()
    looks: list[str] = []
    async with here.client() as client:
        await anyio.sleep(5)  # until its start has looked at what was left open, which might give it up first
        for minutes in (0, 16, 1):
            time_passes(tmp_path, minutes=minutes)
            looks.append(text_of(await client.call_tool("task_status", {"task_id": order.id})))
    [given_up] = await here.orders()

    assert "This order was not sent: not all of its source images were uploaded." in looks[0]
    assert "This order was never sent: it was given up" in looks[1]
    assert "Nothing was charged. Order it again if it is still wanted." in looks[1]
    assert looks[2] == looks[1]  # also when something else has given it up
    assert given_up.state == "failed"
    assert given_up.error
    assert given_up.error in looks[1]
    assert here.creates == []


@pytest.mark.parametrize(("days", "state"), [(1, "accepted"), (8, "failed")])
async def test_a_task_that_runapi_does_not_know_is_given_up_after_a_week(tmp_path: Path, days: int, state: str) -> None:
    """Until then another key could still find it, with its picture."""
    here = world(tmp_path, QUICK)
    async with here.client() as client:
        await client.call_tool("generate", {**FOX, "wait_seconds": 0})
        time_passes(tmp_path, days=days)
        here.simulator.faults.append(Fault(on="look", status=404, times=99))
        result = await client.call_tool("task_status", {"task_id": here.paid[0].id})

    assert "does not know" in text_of(result)
    assert [order.state for order in await here.orders()] == [state]


async def test_how_long_a_picture_takes_is_learnt_from_those_of_its_kind(tmp_path: Path) -> None:
    known: list[int] = []

    def noted(durations: Sequence[float], *_: object) -> Iterator[float]:
        known.append(len(durations))
        return repeat(0.2)

    here = world(tmp_path, QUICK, intervals=noted, patience=300)
    async with here.client() as client:
        for prompt in ("a fox", "an owl", "a hare"):
            await client.call_tool("generate", {"prompt": prompt})
            await anyio.sleep(10)  # what is known of durations is good for a moment
        await client.call_tool("generate", {"prompt": "a fox", "model": "flex"})
        await client.call_tool("generate", {"prompt": "a fox", "output_resolution": "2k"})
        await client.call_tool("remix", {**FOX, "source_image_urls": [picture(tmp_path)]})

    assert known == [0, 1, 2, 0, 0, 0]
