"""Sections 1.5 and 1.6: balance, price list, quotes."""

from __future__ import annotations

import json

import pytest

from flux2_mcp.errors import KeyRejected, UnreadableAnswer
from flux2_mcp.runapi.models import BillingConfig, PriceSchedule
from flux2_mcp.simulator import Script
from tests.runapi.network import FOX, Answers, runapi, says, simulated

QUOTE = {"price_quote": {"pricing_status": "available", "currency": "USD", "reservation_amount_cents": 5}}


async def test_the_balance_is_in_cents() -> None:
    _, api = simulated(Script(opening_cents=500))
    await api.create("text_to_image", FOX, idempotency_key="k-1")

    assert (await api.balance()).balance_cents == 495


@pytest.mark.parametrize("body", [{}, [], None, {"balance_cents": None}, {"balance_cents": "a lot"}])
async def test_a_balance_without_a_number_is_unreadable(body: object) -> None:
    with pytest.raises(UnreadableAnswer):
        await runapi(Answers(says(200, body))).balance()


@pytest.mark.parametrize("cents", [10**9, 0, -(10**9)])
async def test_a_balance_may_be_anything_that_an_account_can_hold_or_owe(cents: int) -> None:
    assert (await runapi(Answers(says(200, {"balance_cents": cents}))).balance()).balance_cents == cents


@pytest.mark.parametrize("cents", [10**9 + 1, -(10**9) - 1, 10**400])
async def test_a_balance_that_nobody_can_mean_is_unreadable(cents: int) -> None:
    with pytest.raises(UnreadableAnswer):
        await runapi(Answers(says(200, {"balance_cents": cents}))).balance()


async def test_a_wrong_key_is_said_to_be_wrong() -> None:
    _, api = simulated(Script(keys={}))
    with pytest.raises(KeyRejected):
        await api.balance()


async def test_the_day_of_a_price_is_one_short_line() -> None:
    """It stands in results beside the price."""
    day = "2026-12-01\n" * 1000
    quote = await runapi(Answers(says(200, {"price_quote": {"as_of": day}}))).price_quote("text_to_image", FOX)
    prices = await runapi(Answers(says(200, {"as_of": day}))).price_schedules()

    assert prices is not None
    assert quote.as_of == prices.as_of
    assert quote.as_of.startswith("2026-12-01 2026-12-01")
    assert len(quote.as_of) == 60


async def test_prices_are_recognised_unchanged() -> None:
    simulator, api = simulated()
    prices = await api.price_schedules()
    assert prices is not None

    assert await api.price_schedules(etag=prices.etag) is None
    assert await api.price_schedules(etag='"of yesterday"') is not None
    assert {each.model for each in prices.price_schedules} >= {"flux-2-pro-text-to-image", "flux-2-flex-remix-image"}
    assert [seen.query for seen in simulator.requests] == ["service=flux_2"] * 3
    assert "if-none-match" not in simulator.requests[0].headers


@pytest.mark.parametrize(
    ("config", "read"),
    [
        (
            {"key": "output_resolution", "overrides": {"1k": 5, "2k": 7}},
            BillingConfig(key="output_resolution", overrides={"1k": 5, "2k": 7}),
        ),
        ({"key": "x", "overrides": {"1k": "5", "2k": True, "4k": {}}}, BillingConfig(key="x", overrides={})),
        ({"key": "x", "overrides": None}, BillingConfig(key="x", overrides={})),
        ({}, BillingConfig()),
        ([], None),
        ("flat", None),
        (None, None),
    ],
    ids=str,
)
def test_an_unknown_pricing_scheme_is_left_out(config: object, read: BillingConfig | None) -> None:
    assert PriceSchedule.model_validate({"billing_config": config}).billing_config == read


async def test_a_quote_says_what_one_request_costs_and_makes_no_task() -> None:
    simulator, api = simulated()
    quote = await api.price_quote("text_to_image", {**FOX, "output_resolution": "2k"})

    assert (quote.reservation_amount_cents, quote.pricing_status) == (7, "available")
    assert simulator.ledger.tasks() == []


async def test_a_quote_can_be_had_without_a_model() -> None:
    _, api = simulated()
    quote = await api.price_quote("text_to_image", {"prompt": "a fox"})

    assert quote.reservation_amount_cents == 5


async def test_a_price_that_nobody_published_stays_unknown() -> None:
    _, api = simulated()
    quote = await api.price_quote("text_to_image", {"model": "flux-2-max-text-to-image", "aspect_ratio": "1:1"})

    assert quote.pricing_status == "unavailable"


@pytest.mark.parametrize("cents", [-1, 10**9 + 1, 10**30])
async def test_a_quote_that_nobody_can_mean_states_nothing(cents: int) -> None:
    """A negative price would pass every limit."""
    line = Answers(says(200, {"price_quote": {**QUOTE["price_quote"], "reservation_amount_cents": cents}}))

    assert (await runapi(line).price_quote("text_to_image", FOX)).reservation_amount_cents is None


async def test_a_quote_asks_for_the_parameters_apart_from_the_model() -> None:
    line = Answers(says(200, QUOTE))
    await runapi(line).price_quote("text_to_image", FOX)

    assert json.loads(line.requests[0].content) == {
        "service": "flux_2",
        "action": "text_to_image",
        "model": FOX["model"],
        "params": {"prompt": FOX["prompt"]},
    }


@pytest.mark.parametrize(
    "body", [None, [], {}, {"price_quote": None}, {"price_quote": 5}, {"price_quote": []}], ids=str
)
async def test_a_quote_that_is_none_is_unreadable(body: object) -> None:
    with pytest.raises(UnreadableAnswer):
        await runapi(Answers(says(200, body))).price_quote("text_to_image", FOX)
