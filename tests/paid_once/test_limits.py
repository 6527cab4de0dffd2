from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from mcp.client import Client, ClientRequestContext
from mcp.client.client import ConnectMode
from mcp_types import CallToolResult, ElicitRequestFormParams, ElicitRequestParams, ElicitResult, ErrorData
from PIL import Image

from flux2_mcp.budget import PATIENCE_FOR_QUOTES
from flux2_mcp.history import History, Intent, Order
from flux2_mcp.server.app import build_server
from flux2_mcp.simulator import Fault, Script
from tests.databases import database_url, history_in
from tests.paid_once.accounting import ledger_of, ledger_of_runapi
from tests.paid_once.backdating import time_passes
from tests.paid_once.conftest import Servers
from tests.processes import served
from tests.transports import Gate, creates
from tests.world import KEY, World, text_of, world

FOX = {"prompt": "a fox"}
PRO, PRO_2K, MAX = 5, 7, 20
"""US cents."""


CHEERFUL = Script(looks_until_done=1, plain_pictures=True)


def small_world(home: Path, *, script: Script = CHEERFUL, mode: ConnectMode = "auto", **environ: str) -> World:
    return world(home, script, environ=environ, mode=mode)


def small_world_in(home: Path, environ: dict[str, str]) -> World:
    return world(home, CHEERFUL, environ=environ)


async def one_call(here: World, **more: object) -> CallToolResult:
    async with here.client() as client:
        return await client.call_tool("generate", {**FOX, **more})


# How much one call may cost.


@pytest.mark.parametrize(
    ("cap", "arguments"),
    [
        ("0.04", {}),
        ("0.06", {"output_resolution": "2k"}),
        ("0.14", {"count": 3}),
        ("0.13", {"model": "flux-2-flex"}),
        ("0", {}),
    ],
)
async def test_a_call_above_the_cap_is_refused_and_orders_nothing(
    tmp_path: Path, cap: str, arguments: dict[str, object]
) -> None:
    here = small_world(tmp_path, FLUX2_MAX_COST_PER_CALL=cap)
    result = await one_call(here, **arguments)

    assert result.is_error
    assert "FLUX2_MAX_COST_PER_CALL" in text_of(result)
    assert "Nothing was charged" in text_of(result)
    assert here.creates == []
    assert await here.orders() == ()


async def test_a_call_at_the_cap_is_made(tmp_path: Path) -> None:
    here = small_world(tmp_path, FLUX2_MAX_COST_PER_CALL="0.15")
    result = await one_call(here, count=3)

    assert not result.is_error
    assert len(here.paid) == 3


async def test_a_call_costs_at_most_a_dollar_unless_the_person_says_otherwise(tmp_path: Path) -> None:
    here = small_world(tmp_path)
    refused = await one_call(here, model="flux-2-flex", count=8)
    here.environ["FLUX2_MAX_COST_PER_CALL"] = "off"
    made = await one_call(here, model="flux-2-flex", count=8)

    assert "$1.12, more than the $1.00" in text_of(refused)
    assert not made.is_error


@pytest.mark.parametrize(
    ("cap", "own", "passes"),
    [("0.04", 5.0, False), ("1.00", 0.04, False), ("1.00", 0.049, False), ("1.00", 0.05, True)],
)
async def test_the_limit_of_a_call_can_only_tighten(tmp_path: Path, cap: str, own: float, *, passes: bool) -> None:
    here = small_world(tmp_path, FLUX2_MAX_COST_PER_CALL=cap)
    result = await one_call(here, max_cost_usd=own)

    assert result.is_error is not passes
    assert len(here.creates) == passes


async def test_the_limit_of_a_call_is_one_to_the_cent(tmp_path: Path) -> None:
    script = replace(CHEERFUL, prices={"flux-2-pro-text-to-image": {"1k": 101}})
    here = small_world(tmp_path, script=script, FLUX2_MAX_COST_PER_CALL="off")
    async with here.client() as client:
        await client.call_tool("estimate_cost", FOX)  # asks for the prices
        refused = await client.call_tool("generate", {**FOX, "max_cost_usd": 1.00})
        made = await client.call_tool("generate", {**FOX, "max_cost_usd": 1.01})

    assert "The picture would cost $1.01, more than the $1.00 of max_cost_usd." in text_of(refused)
    assert not made.is_error
    assert len(here.paid) == 1


# What was ordered before costs nothing again.


THREE = {**FOX, "count": 3}


async def ordered(here: World, *faults: Fault, **more: object) -> None:
    """Three pictures are ordered, but for those that a fault is in the way of; nobody has waited for them."""
    here.simulator.faults.extend(faults)
    async with here.client() as client:
        await client.call_tool("generate", {**THREE, **more, "wait_seconds": 0})


@pytest.mark.parametrize("limit", [{"FLUX2_MAX_COST_PER_CALL": "0"}, {"FLUX2_DAILY_BUDGET": "0"}, {}])
async def test_no_limit_stands_between_a_person_and_what_is_paid_for(tmp_path: Path, limit: dict[str, str]) -> None:
    here = small_world(tmp_path)
    await ordered(here)
    here.environ |= limit
    result = await one_call(here, count=3, **({} if limit else {"max_cost_usd": 0}))

    assert not result.is_error
    assert "not ordered anew" in text_of(result)
    assert len(here.creates) == len(here.paid) == 3


async def test_a_limit_does_not_refuse_to_take_up_what_nobody_states_a_price_for(tmp_path: Path) -> None:
    here = small_world(tmp_path, FLUX2_ALLOW_UNKNOWN_PRICE="true")
    await one_call(here, **UNKNOWN, wait_seconds=0)
    del here.environ["FLUX2_ALLOW_UNKNOWN_PRICE"]
    result = await one_call(here, **UNKNOWN)

    assert not result.is_error
    assert len(here.paid) == 1


@pytest.mark.parametrize(("cap", "passes"), [("0.04", False), ("0.05", True)])
async def test_the_cap_is_for_the_pictures_that_are_new(tmp_path: Path, cap: str, *, passes: bool) -> None:
    here = small_world(tmp_path)
    await ordered(here, Fault(on="create", status=402))
    here.environ["FLUX2_MAX_COST_PER_CALL"] = cap
    result = await one_call(here, count=3)

    assert result.is_error is not passes
    assert len(here.paid) == 2 + passes
    assert ("The picture would cost $0.05" in text_of(result)) is not passes


async def test_a_repeat_is_new_whatever_was_ordered_before(tmp_path: Path) -> None:
    here = small_world(tmp_path)
    await ordered(here)
    here.environ["FLUX2_MAX_COST_PER_CALL"] = "0.14"
    result = await one_call(here, count=3, repeat=True)

    assert "3 pictures would cost $0.15" in text_of(result)
    assert len(here.paid) == 3


# Prices that nobody states.


UNKNOWN = {"model": "flux-2-max", "aspect_ratio": "1:1"}


@pytest.mark.parametrize(
    ("environ", "limit"),
    [
        ({}, "FLUX2_MAX_COST_PER_CALL"),
        ({"FLUX2_MAX_COST_PER_CALL": "off", "FLUX2_DAILY_BUDGET": "5"}, "FLUX2_DAILY_BUDGET"),
    ],
    ids=["cap per call", "daily budget"],
)
async def test_an_unknown_price_is_refused_under_a_limit(tmp_path: Path, environ: dict[str, str], limit: str) -> None:
    here = small_world_in(tmp_path, environ)
    result = await one_call(here, **UNKNOWN)

    assert result.is_error
    assert f"cannot be held within {limit}." in text_of(result)
    assert "Use flux-2-pro or flux-2-flex, or let the person set FLUX2_ALLOW_UNKNOWN_PRICE" in text_of(result)
    assert here.creates == []


async def test_where_no_price_is_known_no_model_is_called_cheaper(tmp_path: Path) -> None:
    nothing = [{"model": f"flux-2-{tier}-text-to-image", "currency": "USD"} for tier in ("pro", "flex", "max")]
    here = small_world(tmp_path)
    here.simulator.faults.append(Fault(on="prices", body={"as_of": "2026-12-01", "price_schedules": nothing}, times=9))
    here.simulator.faults.append(Fault(on="quote", status=404, times=9))
    async with here.client() as client:
        await client.call_tool("estimate_cost", FOX)  # asks for the prices
        result = await client.call_tool("generate", FOX)

    assert "Nothing was charged. Let the person set FLUX2_ALLOW_UNKNOWN_PRICE=true." in text_of(result)
    assert here.creates == []


@pytest.mark.parametrize(
    "environ",
    [{"FLUX2_MAX_COST_PER_CALL": "off"}, {"FLUX2_ALLOW_UNKNOWN_PRICE": "true", "FLUX2_DAILY_BUDGET": "5"}],
    ids=["no limit", "allowed"],
)
async def test_an_unknown_price_is_paid_where_the_person_allows_it_and_counts_once_it_is_known(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    here = small_world_in(tmp_path, environ)
    async with here.client() as client:
        result = await client.call_tool("generate", {**FOX, **UNKNOWN})
        ours = await ledger_of(client)

    assert not result.is_error
    assert ours == ledger_of_runapi(here.simulator)
    assert ours.spent == MAX


@pytest.mark.parametrize(
    "environ",
    [{"FLUX2_ALLOW_UNKNOWN_PRICE": "true"}, {"FLUX2_MAX_COST_PER_CALL": "off"}],
    ids=["allowed", "no other limit"],
)
async def test_the_limit_of_a_call_holds_for_an_unknown_price_whatever_the_person_allows(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    """Whoever made the call said what it may cost; the setting is about the person's own limits."""
    here = small_world_in(tmp_path, environ)
    result = await one_call(here, **UNKNOWN, max_cost_usd=5)

    assert result.is_error
    assert "cannot be held within max_cost_usd. Nothing was charged." in text_of(result)
    assert "leave max_cost_usd out" in text_of(result)
    assert here.creates == []


@pytest.mark.parametrize(("cap", "passes"), [("0.39", False), ("0.40", True)])
async def test_a_price_that_only_a_quote_states_is_held_within_the_cap(
    tmp_path: Path, cap: str, *, passes: bool
) -> None:
    here = small_world(tmp_path, script=replace(CHEERFUL, max_price_cents=20), FLUX2_MAX_COST_PER_CALL=cap)
    here.simulator.faults.append(Fault(on="prices", status=503, times=99))
    async with here.client() as client:
        estimate = (await client.call_tool("estimate_cost", {**FOX, **UNKNOWN})).structured_content
        result = await client.call_tool("generate", {**FOX, **UNKNOWN, "count": 2})

    assert estimate is not None
    assert (estimate["price_source"], estimate["cost_usd"]) == ("quote", 0.2)
    assert estimate["price_as_of"].startswith("20")
    assert ("$0.40, more than the $0.39" in text_of(result)) is not passes
    assert len(here.paid) == (2 if passes else 0)


@pytest.mark.parametrize(
    "stated",
    [{"currency": "EUR"}, {"pricing_status": "unavailable"}, {"reservation_amount_cents": None}],
    ids=["euros", "not for sale", "no amount"],
)
async def test_a_quote_that_states_no_dollars_states_no_price(tmp_path: Path, stated: dict[str, object]) -> None:
    quote = {"pricing_status": "available", "currency": "USD", "reservation_amount_cents": 20, "as_of": "2026-12-01"}
    here = small_world(tmp_path)
    here.simulator.faults.append(Fault(on="quote", body={"price_quote": quote | stated}, times=9))
    async with here.client() as client:
        estimate = (await client.call_tool("estimate_cost", {**FOX, **UNKNOWN})).structured_content
        result = await client.call_tool("generate", {**FOX, **UNKNOWN})

    assert estimate is not None
    assert (estimate["price_source"], estimate["price_as_of"]) == ("unknown", "2026-12-01")
    assert "Nobody states a price" in text_of(result)
    assert here.creates == []


@pytest.mark.virtual_time
@pytest.mark.parametrize("fault", [Fault(on="quote", status=404, times=9), Fault(on="quote", hang=25, times=9)])
async def test_where_nobody_answers_what_it_costs_no_price_is_known(tmp_path: Path, fault: Fault) -> None:
    here = small_world(tmp_path)
    here.simulator.faults.append(fault)
    async with here.client() as client:
        began = anyio.current_time()
        estimate = (await client.call_tool("estimate_cost", {**FOX, **UNKNOWN})).structured_content
        took = anyio.current_time() - began

    assert estimate is not None
    assert (estimate["price_source"], estimate["allowed"]) == ("unknown", False)
    assert estimate["price_as_of"]
    assert took < 2 * PATIENCE_FOR_QUOTES


# How much a day may cost.


async def test_calls_at_once_do_not_pass_the_daily_budget_together(tmp_path: Path) -> None:
    here = small_world(tmp_path, FLUX2_DAILY_BUDGET="0.17")
    gate = here.transport = Gate(here.simulator, creates)
    results: list[CallToolResult] = []

    async def order(client: Client, nth: int) -> None:
        results.append(await client.call_tool("generate", {"prompt": f"fox number {nth}"}))

    async with here.client() as one, here.client() as other, anyio.create_task_group() as group:
        for nth in range(4):
            group.start_soon(order, one, nth)
            group.start_soon(order, other, 10 + nth)
        await gate.holds_one()
        await anyio.wait_all_tasks_blocked()
        gate.open()
    async with here.client() as client:
        ours = await ledger_of(client)

    assert sorted(bool(result.is_error) for result in results) == [False] * 3 + [True] * 5
    assert all("Nothing was charged" in text_of(result) for result in results if result.is_error)
    assert ours == ledger_of_runapi(here.simulator)
    assert ours.spent == 3 * PRO


async def test_processes_at_once_do_not_pass_the_daily_budget_together(servers: Servers, tmp_path: Path) -> None:
    async with (
        served() as (base_url, runapi),
        servers.server(tmp_path, base_url, FLUX2_DAILY_BUDGET="0.19") as one,
        servers.server(tmp_path, base_url, FLUX2_DAILY_BUDGET="0.19") as other,
    ):
        calls = [
            (host, await host.call("generate", {"prompt": f"fox of {host.process.pid}", "count": 3}))
            for host in (one, other)
        ]
        answers = [await host.answer(number) for host, number in calls]

    assert sorted(answer["result"]["isError"] for answer in answers) == [False, True]
    assert runapi.ledger.spent_cents(KEY) == 3 * PRO


async def test_what_a_call_would_pass_the_budget_with_is_refused_whole(tmp_path: Path) -> None:
    """Three of four pictures would fit, but nobody asked for three."""
    here = small_world(tmp_path, FLUX2_DAILY_BUDGET="0.19")
    result = await one_call(here, count=4)

    assert result.is_error
    assert here.creates == []
    assert await here.orders() == ()


async def test_a_failed_picture_gives_its_money_back_to_the_day(tmp_path: Path) -> None:
    here = small_world(tmp_path, FLUX2_DAILY_BUDGET="0.05")
    async with here.client() as client:
        failed = await client.call_tool("generate", {"prompt": "a fox [simulate: failed]"})
        made = await client.call_tool("generate", FOX)
        refused = await client.call_tool("generate", {"prompt": "one more"})
        ours = await ledger_of(client)

    assert failed.is_error
    assert not made.is_error
    assert "$0.05 of today's limit of $0.05" in text_of(refused)
    assert ours == ledger_of_runapi(here.simulator)
    assert ours.spent == PRO


@pytest.mark.parametrize("charged", [3, 9])
async def test_the_day_counts_what_was_charged_not_what_was_expected(tmp_path: Path, charged: int) -> None:
    """RunAPI changed its price since this version was made, and the list cannot be had."""
    prices = {"flux-2-pro-text-to-image": {"1k": charged}}
    here = small_world(tmp_path, script=replace(CHEERFUL, prices=prices), FLUX2_DAILY_BUDGET="1")
    here.simulator.faults.append(Fault(on="prices", status=503, times=99))
    async with here.client() as client:
        result = await client.call_tool("generate", FOX)
        ours = await ledger_of(client)

    assert f"cost: $0.0{charged}" in text_of(result)
    assert ours == ledger_of_runapi(here.simulator)
    assert ours.spent == charged


async def test_the_day_of_the_budget_ends_by_the_clock_of_the_history(tmp_path: Path) -> None:
    """What is spent is noted by that clock; by another one it could count for no day, or for two."""
    here = small_world(tmp_path, FLUX2_DAILY_BUDGET="0.05")
    day = timedelta(days=2)
    history = history_in(tmp_path / "data", now=lambda: datetime.now(UTC) + day)
    async with Client(build_server(replace(here.environment(), history=history))) as client:
        first = await client.call_tool("generate", FOX)
        same_day = await client.call_tool("generate", {"prompt": "a second fox"})
        day += timedelta(days=1)
        next_day = await client.call_tool("generate", {"prompt": "a third fox"})
        ours = await ledger_of(client)

    assert [each.is_error for each in (first, same_day, next_day)] == [False, True, False]
    assert "$0.05 of today's limit" in text_of(same_day)
    assert ours.spent == 5


# Asking the person.


Answer = Literal["accept", "refuse", "decline", "cancel"]


class Person:
    """Somebody who is asked about the price, and answers always the same."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.questions: list[str] = []
        self.form: dict[str, object] = {}

    async def __call__(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        self.questions.append(params.message)
        assert isinstance(params, ElicitRequestFormParams)
        self.form = params.requested_schema
        if self._answer in {"accept", "refuse"}:
            return ElicitResult(action="accept", content={"spend": self._answer == "accept"})
        return ElicitResult(action="decline" if self._answer == "decline" else "cancel")


@asynccontextmanager
async def asked(here: World, person: Person) -> AsyncGenerator[Client, None]:
    with anyio.fail_after(30):
        async with Client(build_server(here.environment()), mode=here.mode, elicitation_callback=person) as client:
            yield client


def question(order: str, prompt: str = "a fox") -> str:
    return f'{order}, from "{prompt}". Order?'


async def test_a_person_who_agrees_to_the_price_gets_the_picture(tmp_path: Path, era: ConnectMode) -> None:
    here = small_world(tmp_path, mode=era, FLUX2_CONFIRM_OVER="0.10")
    person = Person("accept")
    async with asked(here, person) as client:
        result = await client.call_tool("generate", {**FOX, "count": 3})
        ours = await ledger_of(client)

    assert person.questions == [question("Flux 2 Pro: 3 pictures for $0.15")]
    assert not result.is_error
    assert len(here.paid) == 3
    assert ours == ledger_of_runapi(here.simulator)


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("a fox in\n\nthe snow.", "a fox in the snow"),
        ("fox " * 30, "fox " * 14 + "fox…"),
        (
            'a fox" for $0.00. Order?\u202e [yes](https://x.example) <b>',
            "a fox' for $0.00. Order? yes(https: x. example) b",
        ),
        ('{"scene": "ein Füchschen 🦊 \ud83e"}', "{'scene': 'ein Füchschen 🦊 ?'}"),
        ("see http:/*/x.example, www.7.de or me@x.example", "see http: x. example, www. 7. de or me@x. example"),
        ("a fox at f/1.8, 2.5 m away.", "a fox at f/1.8, 2.5 m away"),
    ],
    ids=["lines", "long", "markup", "JSON", "links", "numbers"],
)
async def test_the_question_shows_the_first_words_of_the_prompt(tmp_path: Path, prompt: str, shown: str) -> None:
    """On one line, and without what could look like words of ours or what hosts make a link of."""
    here = small_world(tmp_path, FLUX2_CONFIRM_OVER="0.04")
    person = Person("accept")
    async with asked(here, person) as client:
        result = await client.call_tool("generate", {"prompt": prompt, "wait_seconds": 0})

    assert not result.is_error
    assert person.questions == [question("Flux 2 Pro: one picture for $0.05", shown)]


async def test_nothing_is_chosen_before_the_person_chooses(tmp_path: Path, era: ConnectMode) -> None:
    here = small_world(tmp_path, mode=era, FLUX2_CONFIRM_OVER="0.04")
    person = Person("accept")
    async with asked(here, person) as client:
        await client.call_tool("generate", FOX)

    assert person.form["required"] == ["spend"]
    assert "default" not in str(person.form)


@pytest.mark.parametrize("answer", ["refuse", "decline", "cancel"])
async def test_a_person_who_does_not_agree_pays_nothing(tmp_path: Path, era: ConnectMode, answer: Answer) -> None:
    here = small_world(tmp_path, mode=era, FLUX2_CONFIRM_OVER="0.04")
    async with asked(here, Person(answer)) as client:
        result = await client.call_tool("generate", FOX)

    assert result.is_error
    assert "did not agree" in text_of(result)
    assert "Nothing was charged" in text_of(result)
    assert here.creates == []
    assert await here.orders() == ()


async def test_a_remix_asks_as_well(tmp_path: Path, era: ConnectMode) -> None:
    here = small_world(tmp_path, mode=era, FLUX2_CONFIRM_OVER="0.04")
    person = Person("accept")
    async with asked(here, person) as client:
        result = await client.call_tool("remix", {**FOX, "source_image_urls": ["https://example.com/fox.png"]})

    assert not result.is_error
    assert len(person.questions) == 1


async def test_nobody_is_asked_about_what_is_cheap_enough(tmp_path: Path, era: ConnectMode) -> None:
    here = small_world(tmp_path, mode=era, FLUX2_CONFIRM_OVER="0.05")
    person = Person("decline")
    async with asked(here, person) as client:
        result = await client.call_tool("generate", FOX)

    assert not result.is_error
    assert person.questions == []


async def test_a_host_that_cannot_ask_is_told_the_amount_and_the_way_out(tmp_path: Path, era: ConnectMode) -> None:
    here = small_world(tmp_path, mode=era, FLUX2_CONFIRM_OVER="0.04")
    result = await one_call(here)

    assert result.is_error
    assert "$0.05" in text_of(result)
    assert "raise FLUX2_CONFIRM_OVER" in text_of(result)
    assert here.creates == []


@pytest.mark.parametrize(("confirm_over", "requests"), [("", 1), ("5", 2)])
async def test_each_request_of_a_host_looks_once_into_what_it_would_cost(
    tmp_path: Path, era: ConnectMode, confirm_over: str, requests: int
) -> None:
    """In the modern era the call comes a second time with the answer; in the other, time has passed meanwhile."""
    here = small_world(tmp_path, mode=era, FLUX2_ALLOW_UNKNOWN_PRICE="true", FLUX2_CONFIRM_OVER=confirm_over)
    async with asked(here, Person("accept")) as client:
        result = await client.call_tool("generate", {**FOX, **UNKNOWN})

    assert not result.is_error
    assert len([seen for seen in here.simulator.requests if "price_quotes" in seen.path]) == requests


@pytest.mark.parametrize("allowed", [False, True])
async def test_the_limits_come_before_the_question(tmp_path: Path, era: ConnectMode, *, allowed: bool) -> None:
    """Nobody is asked about an unknown price that a limit refuses; where they have lifted it, they are."""
    setting = "true" if allowed else "false"
    here = small_world(tmp_path, mode=era, FLUX2_CONFIRM_OVER="5", FLUX2_ALLOW_UNKNOWN_PRICE=setting)
    person = Person("accept")
    async with asked(here, person) as client:
        result = await client.call_tool("generate", {**FOX, **UNKNOWN})

    assert person.questions == ([question("Flux 2 Max: one picture at a price that nobody states")] if allowed else [])
    assert ("cannot be held within FLUX2_MAX_COST_PER_CALL" in text_of(result)) is not allowed
    assert len(here.paid) == allowed


async def test_nobody_is_asked_about_what_was_ordered_before(tmp_path: Path, era: ConnectMode) -> None:
    here = small_world(tmp_path, mode=era, FLUX2_CONFIRM_OVER="0.04")
    person = Person("accept")
    async with asked(here, person) as client:
        await client.call_tool("generate", {**THREE, "wait_seconds": 0})
        result = await client.call_tool("generate", THREE)

    assert not result.is_error
    assert person.questions == [question("Flux 2 Pro: 3 pictures for $0.15")]
    assert len(here.paid) == 3


async def test_nobody_is_asked_about_a_remix_that_was_ordered_before(tmp_path: Path, era: ConnectMode) -> None:
    """Its sources make it the same."""
    here = small_world(tmp_path, mode=era, FLUX2_CONFIRM_OVER="0.04")
    here.output.mkdir()
    Image.new("RGB", (8, 6), "red").save(here.output / "mine.png")
    remix = {**FOX, "source_image_urls": [str(here.output / "mine.png")], "enable_safety_checker": True}
    person = Person("accept")
    async with asked(here, person) as client:
        await client.call_tool("remix", {**remix, "wait_seconds": 0})
        result = await client.call_tool("remix", remix)

    assert not result.is_error
    assert len(person.questions) == len(here.paid) == 1


async def test_a_host_that_cannot_ask_may_take_up_what_was_ordered_before(tmp_path: Path, era: ConnectMode) -> None:
    here = small_world(tmp_path, mode=era)
    await ordered(here)
    here.environ["FLUX2_CONFIRM_OVER"] = "0"
    result = await one_call(here, count=3)

    assert not result.is_error
    assert len(here.paid) == 3


async def test_the_question_is_about_the_pictures_that_are_new(tmp_path: Path, era: ConnectMode) -> None:
    here = small_world(tmp_path, mode=era)
    await ordered(here, Fault(on="create", status=402))
    here.environ["FLUX2_CONFIRM_OVER"] = "0.04"
    person = Person("accept")
    async with asked(here, person) as client:
        result = await client.call_tool("generate", THREE)

    assert person.questions == [question("Flux 2 Pro: 1 more of 3 pictures for $0.05")]
    assert not result.is_error
    assert len(here.paid) == 3


@pytest.mark.parametrize(
    "answer",
    [
        ElicitResult(action="accept"),
        ElicitResult(action="accept", content={}),
        ElicitResult(action="accept", content={"spend": "banana"}),
        ErrorData(code=-32603, message="no window to ask in"),
    ],
    ids=["empty", "nothing chosen", "nonsense", "error"],
)
async def test_a_host_that_fails_to_ask_pays_nothing(tmp_path: Path, answer: ElicitResult | ErrorData) -> None:
    """In the modern era a host that cannot answer does not send the call again."""
    here = small_world(tmp_path, mode="legacy", FLUX2_CONFIRM_OVER="0.04")

    async def host(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult | ErrorData:
        return answer

    with anyio.fail_after(30):
        async with Client(build_server(here.environment()), mode="legacy", elicitation_callback=host) as client:
            result = await client.call_tool("generate", FOX)

    assert result.is_error
    assert "did not answer the question. Nothing was charged. Ask for less, or" in text_of(result)
    assert here.creates == []


class SlowPerson(Person):
    """Somebody who thinks about the first question until no earlier order can be taken up any more."""

    def __init__(self, home: Path) -> None:
        super().__init__("accept")
        self._home = home

    async def __call__(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        if not self.questions:
            time_passes(self._home, minutes=16)
        return await super().__call__(context, params)


async def test_nobody_pays_more_than_they_agreed_to(tmp_path: Path, era: ConnectMode) -> None:
    """In the modern era the call comes again with the answer, and the question is another one then."""
    here = small_world(tmp_path, mode=era)
    await ordered(here, Fault(on="create", status=402))
    here.environ["FLUX2_CONFIRM_OVER"] = "0.04"
    person = SlowPerson(tmp_path)
    async with asked(here, person) as client:
        result = await client.call_tool("generate", THREE)

    about = [question("Flux 2 Pro: 1 more of 3 pictures for $0.05"), question("Flux 2 Pro: 3 pictures for $0.15")]
    assert person.questions == (about if era == "auto" else about[:1])
    assert ("Meanwhile this costs more" in text_of(result)) is (era == "legacy")
    assert len(here.paid) == (5 if era == "auto" else 2)


class SlowToOrder(History):
    """Orders so long after it was planned that no earlier order can be taken up any more."""

    home: Path

    async def open_orders(self, intents: Iterable[Intent], **how: Any) -> list[tuple[Order, bool]]:  # noqa: ANN401 as it is asked for
        await anyio.to_thread.run_sync(partial(time_passes, self.home, minutes=16))
        return await super().open_orders(intents, **how)


async def test_nobody_pays_more_than_they_would_have_been_asked_about(tmp_path: Path) -> None:
    """One more of three pictures was cheap enough; all three are not."""
    here = small_world(tmp_path)
    await ordered(here, Fault(on="create", status=402))
    here.environ["FLUX2_CONFIRM_OVER"] = "0.06"
    history = SlowToOrder(tmp_path / "data", url=database_url(tmp_path / "data"))
    history.home = tmp_path
    async with Client(build_server(replace(here.environment(), history=history))) as client:
        result = await client.call_tool("generate", THREE)

    assert "than when the person was, or would have been, asked about it" in text_of(result)
    assert len(here.paid) == 2


async def test_nobody_orders_more_pictures_than_they_agreed_to_at_a_price_that_nobody_states(tmp_path: Path) -> None:
    """Two of three were ordered before the question, and are no longer taken up after it."""
    here = small_world(tmp_path, mode="legacy", FLUX2_ALLOW_UNKNOWN_PRICE="true")
    here.simulator.faults.append(Fault(on="quote", status=404, times=99))
    await ordered(here, Fault(on="create", status=402), **UNKNOWN)
    here.environ["FLUX2_CONFIRM_OVER"] = "0.04"
    person = SlowPerson(tmp_path)
    async with asked(here, person) as client:
        result = await client.call_tool("generate", {**THREE, **UNKNOWN})

    assert len(person.questions) == 1
    assert "1 more of 3 pictures at a price that nobody states" in person.questions[0]
    assert "Meanwhile this costs more" in text_of(result)
    assert len(here.paid) == 2


class PriceRise(Person):
    """Somebody who thinks until RunAPI has answered what its prices are."""

    def __init__(self, prices: Gate) -> None:
        super().__init__("accept")
        self._prices = prices

    async def __call__(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        self._prices.open()
        return await super().__call__(context, params)


async def test_nobody_pays_a_price_that_they_have_not_heard(tmp_path: Path, era: ConnectMode) -> None:
    """The price list did not answer in time for the question, and is dearer than the table that comes with us."""
    script = Script(looks_until_done=1, plain_pictures=True, prices={"flux-2-pro-text-to-image": {"1k": 90}})
    here = small_world(tmp_path, script=script, mode=era, FLUX2_CONFIRM_OVER="0.04")
    prices = here.transport = Gate(here.simulator, lambda request: "price_schedules" in request.url.path)
    person = PriceRise(prices)
    async with asked(here, person) as client:
        result = await client.call_tool("generate", FOX)

    about = [question("Flux 2 Pro: one picture for $0.05"), question("Flux 2 Pro: one picture for $0.90")]
    assert person.questions == (about if era == "auto" else about[:1])
    assert ("Meanwhile this costs more" in text_of(result)) is (era == "legacy")
    assert len(here.paid) == (1 if era == "auto" else 0)


# What estimate_cost says beforehand.


@pytest.mark.parametrize(
    ("environ", "cents", "why_not"),
    [
        ({}, 5, ""),
        ({}, 4, "The balance at RunAPI is $0.04, less than the $0.05 of this. Add credits"),
        ({"RUNAPI_API_KEY": ""}, 5, "There is no RunAPI key yet. Run `flux2-mcp login`"),
        ({"FLUX2_MAX_COST_PER_CALL": "0.04"}, 5, "more than the $0.04 of FLUX2_MAX_COST_PER_CALL"),
        ({"FLUX2_DAILY_BUDGET": "0.04"}, 5, "$0.00 of the $0.04 of FLUX2_DAILY_BUDGET"),
        ({"FLUX2_DAILY_BUDGET": "0.05"}, 5, ""),
        ({"FLUX2_CONFIRM_OVER": "0.05"}, 5, ""),
        ({"FLUX2_CONFIRM_OVER": "0.04"}, 5, "this host cannot ask the person"),
    ],
    ids=["free to go", "poor", "no key", "cap", "budget", "all of the budget", "not asked", "cannot be asked"],
)
async def test_an_estimate_allows_what_the_call_would_be_allowed(
    tmp_path: Path, environ: dict[str, str], cents: int, why_not: str
) -> None:
    here = small_world(tmp_path, script=replace(CHEERFUL, opening_cents=cents), **environ)
    async with here.client() as client:
        estimate = (await client.call_tool("estimate_cost", FOX)).structured_content
        made = await client.call_tool("generate", {**FOX, "wait_seconds": 0})

    assert estimate is not None
    assert estimate["allowed"] is not made.is_error
    assert estimate["allowed"] is not bool(why_not)
    assert why_not in estimate.get("why_not", "")
    assert estimate["asks_first"] is False


async def test_an_estimate_at_an_unknown_price_asks_for_no_money_that_is_spent(tmp_path: Path) -> None:
    """It counts as nothing when it is ordered, too."""
    script = replace(CHEERFUL, opening_cents=5)
    here = small_world(tmp_path, script=script, FLUX2_DAILY_BUDGET="0.05", FLUX2_ALLOW_UNKNOWN_PRICE="true")
    here.simulator.faults.append(Fault(on="quote", status=404, times=9))
    async with here.client() as client:
        await client.call_tool("generate", FOX)
        estimate = (await client.call_tool("estimate_cost", {**FOX, **UNKNOWN})).structured_content

    assert estimate is not None
    assert (estimate["left_today_usd"], estimate["balance_usd"], estimate["allowed"]) == (0, 0, True)


@pytest.mark.parametrize(("cap", "allowed"), [("1.00", True), ("0.04", False)])
async def test_an_estimate_says_that_the_person_is_asked_first(
    tmp_path: Path, era: ConnectMode, cap: str, *, allowed: bool
) -> None:
    """Unless a limit refuses the call before that. Nobody is asked for an estimate."""
    here = small_world(tmp_path, mode=era, FLUX2_CONFIRM_OVER="0.04", FLUX2_MAX_COST_PER_CALL=cap)
    person = Person("accept")
    async with asked(here, person) as client:
        estimate = (await client.call_tool("estimate_cost", FOX)).structured_content

    assert estimate is not None
    assert estimate["allowed"] is estimate["asks_first"] is allowed
    assert person.questions == []
