"""Balances in integer cents: reserved, settled, given back; and what things cost (fact sheet 6)."""

from __future__ import annotations

import random

import pytest

from flux2_mcp.simulator import Script
from tests.simulator.api_client import BLEND, FOX, KEY, REMIX, api_client

MAX = {"model": "flux-2-max-text-to-image", "prompt": "a fox", "aspect_ratio": "1:1"}
SCHEDULES, QUOTES = "/api/v1/price_schedules", "/api/v1/price_quotes"


async def test_creation_reserves_and_completion_settles() -> None:
    async with api_client() as here:
        await here.created()
        reserved, spent = await here.balance(), here.simulator.ledger.spent_cents(KEY)
        here.clock.wait(60)
        balance = (await here.http.get("/api/v1/me/balance")).json()

    assert (reserved, spent) == (995, 0)
    assert balance == {
        "balance_cents": 995,
        "paid_balance_cents": 995,
        "bonus_balance_cents": 0,
        "spent_cents_today": 5,
        "spent_cents_total": 5,
    }


async def test_failure_gives_the_money_back() -> None:
    async with api_client() as here:
        await here.created({**FOX, "prompt": "a fox [simulate: failed]"})
        reserved = await here.balance()
        here.clock.wait(60)

        assert (reserved, await here.balance()) == (995, 1000)
        assert here.simulator.ledger.paid_tasks() == []
        assert len(here.simulator.ledger.tasks(KEY)) == 1


async def test_what_is_reserved_cannot_be_spent_again() -> None:
    async with api_client(Script(keys={KEY: 9})) as here:
        first, second = await here.create(), await here.create()
        here.clock.wait(60)
        third = await here.create()

        assert [first.status_code, second.status_code, third.status_code] == [200, 402, 402]
        assert second.json() == {"error": "Insufficient credits"}
        assert len(here.simulator.ledger.tasks()) == 1


async def test_accounts_do_not_share() -> None:
    async with api_client() as here:
        await here.created()

        assert here.simulator.ledger.balance_cents("other") == 1000
        assert here.simulator.ledger.paid_tasks("other") == []


async def test_not_a_cent_is_lost_whatever_happens() -> None:
    """Opening balance = free + reserved + spent, and usage.cost adds up to what was spent."""
    chance = random.Random(3)  # noqa: S311
    async with api_client(Script(failure_rate=0.3, keys={KEY: 400}, paint_spread=0.9)) as here:
        for _ in range(60):
            model = f"flux-2-{chance.choice(('pro', 'flex'))}-text-to-image"
            await here.create({**FOX, "model": model, "output_resolution": chance.choice(("1k", "2k"))})
            here.clock.wait(chance.uniform(0, 3))
            (line,) = (await here.http.get("/simulator/ledger")).json()["accounts"]
            assert line["balance_cents"] + line["reserved_cents"] + line["spent_cents"] == 400
            assert line["balance_cents"] >= 0
        here.clock.wait(100)
        ids = [task.id for task in here.simulator.ledger.paid_tasks()]
        costs = [await here.cost(task_id) for task_id in ids]

        assert round(sum(costs) * 100) == here.simulator.ledger.spent_cents(KEY)
        assert here.simulator.ledger.balance_cents(KEY) == 400 - here.simulator.ledger.spent_cents(KEY)


@pytest.mark.parametrize(
    ("tier", "resolution", "cents"), [("pro", "1k", 5), ("pro", "2k", 7), ("flex", "1k", 14), ("flex", "2k", 24)]
)
@pytest.mark.parametrize("remix", [False, True])
async def test_the_published_prices_are_charged(tier: str, resolution: str, cents: int, *, remix: bool) -> None:
    body, path = (BLEND, REMIX) if remix else (FOX, "/api/v1/flux_2/text_to_image")
    model = str(body["model"]).replace("pro", tier)
    async with api_client(Script(looks_until_done=1)) as here:
        task_id = await here.created({**body, "model": model, "output_resolution": resolution}, path)
        action = path.rpartition("/")[2]
        params = {"output_resolution": resolution}
        quote: dict[str, object] = {"service": "flux_2", "action": action, "model": model, "params": params}
        quoted = (await here.http.post(QUOTES, json=quote)).json()["price_quote"]

        assert (await here.look(task_id, path))["usage"] == {"cost": cents / 100, "generated_images": 1}
        assert quoted["reservation_amount_cents"] == cents
        assert (quoted["pricing_status"], quoted["estimate_basis"]) == ("available", "exact")


async def test_the_price_list_has_no_max_and_needs_no_key() -> None:
    async with api_client(key="") as here:
        body = (await here.http.get(SCHEDULES)).json()

    assert [line["model"] for line in body["price_schedules"]] == [
        "flux-2-pro-text-to-image",
        "flux-2-flex-text-to-image",
        "flux-2-pro-remix-image",
        "flux-2-flex-remix-image",
    ]
    assert body["price_schedules"][0] == {
        "service": "flux_2",
        "action": "text_to_image",
        "model": "flux-2-pro-text-to-image",
        "pricing_status": "available",
        "catalog_status": "active",
        "currency": "USD",
        "billing_unit": "per_call",
        "billing_strategy": "flat",
        "unit_price_cents": 5,
        "billing_config": {"key": "output_resolution", "overrides": {"1k": 5, "2k": 7}},
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("service=flux_2", 4),
        ("service=", 4),
        ("service=nano_banana", 0),
        ("action=remix_image", 2),
        ("action=remix_image&model=flux-2-flex-remix-image", 1),
        ("action=text_to_image&model=flux-2-flex-remix-image", 0),
    ],
)
async def test_the_price_list_can_be_filtered(query: str, found: int) -> None:
    async with api_client() as here:
        body = (await here.http.get(f"{SCHEDULES}?{query}")).json()

    assert len(body["price_schedules"]) == found


async def test_a_price_list_that_has_not_changed_is_not_sent_again() -> None:
    async with api_client() as here:
        first = await here.http.get(SCHEDULES)
        etag = first.headers["ETag"]
        again = await here.http.get(SCHEDULES, headers={"If-None-Match": f'"other", W/{etag}'})
        other = await here.http.get(f"{SCHEDULES}?action=remix_image", headers={"If-None-Match": etag})

    assert etag.startswith('"')
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    assert other.status_code == 200


async def test_prices_can_be_set_and_multiplied() -> None:
    prices = {"flux-2-pro-text-to-image": {"1k": 6, "2k": 8}}
    async with api_client(Script(prices=prices, price_multiplier=1.5, looks_until_done=0)) as here:
        line = (await here.http.get(f"{SCHEDULES}?model=flux-2-pro-text-to-image")).json()["price_schedules"][0]
        task_id = await here.created()

        assert line["billing_config"]["overrides"] == {"1k": 9, "2k": 12}
        assert here.simulator.task(task_id).cost_cents == 9


async def test_max_costs_something_that_is_only_said_afterwards() -> None:
    async with api_client(Script(looks_until_done=1)) as here:
        quote = {"service": "flux_2", "action": "text_to_image", "model": MAX["model"]}
        quoted = (await here.http.post(QUOTES, json=quote)).json()["price_quote"]
        task_id = await here.created(MAX)

        assert quoted["pricing_status"] == "unavailable"
        assert (await here.look(task_id))["usage"] == {"cost": 0.2, "generated_images": 1}


async def test_max_has_a_price_when_configured() -> None:
    async with api_client(Script(max_price_cents=30, looks_until_done=0)) as here:
        quote: dict[str, object] = {"service": "flux_2", "action": "text_to_image", "model": MAX["model"], "params": {}}
        quoted = (await here.http.post(QUOTES, json=quote)).json()["price_quote"]
        listed = (await here.http.get(SCHEDULES)).json()["price_schedules"]
        task_id = await here.created(MAX)

        assert (quoted["pricing_status"], quoted["reservation_amount_cents"]) == ("available", 30)
        assert len(listed) == 6
        assert here.simulator.task(task_id).cost_cents == 30


@pytest.mark.parametrize("extra", [{}, {"params": []}, {"params": {}}, {"model": None}, {"model": None, "params": []}])
async def test_a_quote_takes_what_any_client_leaves_out(extra: dict[str, object]) -> None:
    async with api_client(key="") as here:
        body = {"service": "flux_2", "action": "text_to_image", **extra}
        response = await here.http.post(QUOTES, json=body)

        assert response.status_code == 200
        assert response.json()["price_quote"]["reservation_amount_cents"] == 5
        assert here.simulator.ledger.tasks() == []


async def test_a_quote_for_something_else_is_refused() -> None:
    async with api_client() as here:
        other = await here.http.post(QUOTES, json={"service": "suno", "action": "sing"})
        mixed = {"service": "flux_2", "action": "remix_image", "model": FOX["model"]}
        wrong = await here.http.post(QUOTES, json=mixed)

    assert set(other.json()["errors"]) == {"service", "action"}
    assert (wrong.status_code, set(wrong.json()["errors"])) == (422, {"model"})
