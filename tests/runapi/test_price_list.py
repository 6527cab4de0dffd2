"""Current prices: asked for at most hourly, and never a reason to fail or to wait for long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from flux2_mcp.catalogue import AGAIN_AFTER, FRESH_FOR, PATIENCE_FOR_PRICES, PriceList, Request, catalogue
from flux2_mcp.errors import RunApiError, Throttled, Unavailable, Unreachable, UnreadableAnswer
from flux2_mcp.runapi.models import PriceSchedules
from flux2_mcp.simulator import Script
from tests.runapi.network import Answers, runapi, says, simulated

CHEAP = {"pricing_status": "available", "unit_price_cents": 1}
FOX = catalogue().check(Request(action="text_to_image", prompt="a fox", output_resolution="2k"))
MAX = catalogue().check(Request(action="text_to_image", prompt="a fox", model="max"))


class Wall:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Shop:
    """Answers with what it is told to, and counts."""

    def __init__(self, *answers: PriceSchedules | RunApiError | None) -> None:
        self._answers = list(answers)
        self.etags: list[str | None] = []

    async def __call__(self, etag: str | None) -> PriceSchedules | None:
        self.etags.append(etag)
        await anyio.lowlevel.checkpoint()
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, RunApiError):
            raise answer
        return answer


def listed(cents: int, **more: object) -> PriceSchedules:
    schedule = {"model": FOX.model, "pricing_status": "available", "unit_price_cents": cents, **more}
    return PriceSchedules.model_validate({"as_of": "2026-12-01", "price_schedules": [schedule], "etag": '"1"'})


def price_list(fetch: Callable[[str | None], Awaitable[PriceSchedules | None]], clock: Wall | None = None) -> PriceList:
    return PriceList(catalogue(), fetch, clock=clock or Wall())


def test_built_in_prices_are_those_that_were_published() -> None:
    """Section 6; nobody has published what Max costs."""
    prices = catalogue().built_in_prices()

    assert prices.source == "built in"
    assert prices.cents == {
        **{f"flux-2-pro-{what}": {"1k": 5, "2k": 7} for what in ("text-to-image", "remix-image")},
        **{f"flux-2-flex-{what}": {"1k": 14, "2k": 24} for what in ("text-to-image", "remix-image")},
        **{f"flux-2-max-{what}": {} for what in ("text-to-image", "remix-image")},
    }
    assert prices.of(MAX) is None


async def test_the_built_in_prices_agree_with_a_list_of_runapis() -> None:
    _, api = simulated()
    prices = await price_list(lambda etag: api.price_schedules(etag=etag)).current()

    built_in = catalogue().built_in_prices()
    assert prices.source == "RunAPI"
    assert dict(prices.cents) == {model: cents for model, cents in built_in.cents.items() if cents}


async def test_a_price_for_max_is_used_once_there_is_one() -> None:
    _, api = simulated(Script(max_price_cents=30))

    assert (await price_list(lambda etag: api.price_schedules(etag=etag)).current()).of(MAX) == 30


async def test_runapi_is_asked_at_most_once_an_hour() -> None:
    shop, wall = Shop(listed(6)), Wall()
    prices = price_list(shop, wall)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(prices.current)
    wall.now = FRESH_FOR - 1
    await prices.current()

    assert shop.etags == [None]
    wall.now = FRESH_FOR
    assert (await prices.current()).of(FOX) == 6
    assert shop.etags == [None, '"1"']


async def test_unchanged_prices_are_kept() -> None:
    wall = Wall()
    prices = price_list(Shop(listed(6), None), wall)
    before = await prices.current()
    wall.now = FRESH_FOR

    assert await prices.current() is before
    assert prices.known is before


@pytest.mark.parametrize("kind", [Unavailable, Throttled, Unreachable, UnreadableAnswer])
async def test_a_failure_keeps_what_is_known_and_is_not_repeated_at_once(kind: type[RunApiError]) -> None:
    wall = Wall()
    shop = Shop(kind("No"), listed(6), kind("No"))
    prices = price_list(shop, wall)

    assert (await prices.current()).of(FOX) == 7
    assert (await prices.current()).source == "built in"
    assert len(shop.etags) == 1
    wall.now = FRESH_FOR
    assert (await prices.current()).of(FOX) == 6
    wall.now = 2 * FRESH_FOR
    assert (await prices.current()).of(FOX) == 6


async def test_a_failure_is_repeated_after_a_minute() -> None:
    wall = Wall()
    shop = Shop(Unavailable("No"), listed(6))
    prices = price_list(shop, wall)
    await prices.current()
    wall.now = AGAIN_AFTER - 1
    await prices.current()

    assert len(shop.etags) == 1
    wall.now = AGAIN_AFTER
    assert (await prices.current()).of(FOX) == 6


async def test_prices_without_any_of_ours_are_asked_for_again_after_a_minute() -> None:
    wall = Wall()
    shop = Shop(listed(1, model="another"), listed(6))
    prices = price_list(shop, wall)

    assert (await prices.current()).source == "built in"
    wall.now = AGAIN_AFTER
    assert (await prices.current()).of(FOX) == 6


@pytest.mark.parametrize(
    ("answer", "is_one"),
    [(listed(6), True), (Unavailable("No", status=503), True), (Unreachable("No"), False)],
    ids=["prices", "an error", "nothing"],
)
async def test_it_is_known_whether_runapi_has_ever_answered(
    answer: PriceSchedules | RunApiError, *, is_one: bool
) -> None:
    wall = Wall()
    prices = price_list(Shop(answer, Unreachable("No")), wall)
    before = prices.has_answered
    await prices.current()
    first = prices.has_answered
    wall.now = FRESH_FOR
    await prices.current()

    assert (before, first, prices.has_answered) == (False, is_one, is_one)


async def test_a_schedule_without_a_status_counts_and_one_of_another_model_hides_none() -> None:
    api = runapi(
        Answers(
            says(
                200,
                {
                    "as_of": "2026-12-01",
                    "price_schedules": [
                        {"model": "another", **CHEAP, "currency": "USD"},
                        {"model": FOX.model, "unit_price_cents": 6, "currency": "USD"},
                    ],
                },
            )
        )
    )

    assert (await price_list(lambda etag: api.price_schedules(etag=etag)).current()).of(FOX) == 6


async def test_a_question_that_was_cut_short_is_asked_again() -> None:
    shop = Shop(listed(6))
    prices = price_list(shop)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await prices.current()

    assert (await prices.current()).of(FOX) == 6


async def test_a_silent_runapi_is_not_waited_for_long() -> None:
    async def silence(_: str | None) -> PriceSchedules | None:
        await anyio.sleep_forever()
        raise NotImplementedError

    with anyio.fail_after(PATIENCE_FOR_PRICES):
        prices = await PriceList(catalogue(), silence, patience=0.01).current()

    assert prices.of(FOX) == 7


@pytest.mark.parametrize(
    "more",
    [
        {"model": "suno-5"},
        {"model": None},
        {"currency": "EUR"},
        {"pricing_status": "unavailable"},
    ],
    ids=str,
)
async def test_a_schedule_that_says_nothing_about_our_models_changes_nothing(more: dict[str, object]) -> None:
    assert (await price_list(Shop(listed(6, **more))).current()).source == "built in"


@pytest.mark.parametrize(
    ("more", "cents"),
    [
        ({}, 6),
        ({"billing_config": {"key": "output_resolution", "overrides": {"1k": 6, "2k": 9}}}, 9),
        ({"billing_config": {"key": "output_resolution", "overrides": {"1k": 6}}}, 6),
        ({"billing_config": {"key": "duration", "overrides": {"2k": 99}}}, 6),
        ({"billing_config": []}, 6),
        ({"billing_config": {"key": "output_resolution", "overrides": {"1k": 6, "2k": -9}}}, None),
        ({"billing_config": {"key": "output_resolution", "overrides": {"1k": 6, "2k": 10**9 + 1}}}, None),
        ({"unit_price_cents": None, "billing_config": {"key": "output_resolution", "overrides": {"1k": 5}}}, None),
    ],
    ids=str,
)
async def test_the_price_is_that_of_the_resolution_else_that_of_the_unit(
    more: dict[str, object], cents: int | None
) -> None:
    """Section 6: the effective price."""
    assert (await price_list(Shop(listed(6, **more))).current()).of(FOX) == cents


ODD: list[object] = [
    None,
    5,
    "flat",
    {"model": 5},
    {"model": MAX.model, "unit_price_cents": "a lot"},
    {"model": MAX.model, "unit_price_cents": 30, "currency": None},
]


@pytest.mark.parametrize("odd", ODD, ids=str)
async def test_one_odd_schedule_spoils_no_other(odd: object) -> None:
    good = {"model": FOX.model, "pricing_status": "available", "unit_price_cents": 6}
    api = runapi(Answers(says(200, {"as_of": None, "price_schedules": [odd, good]})))
    prices = await price_list(lambda etag: api.price_schedules(etag=etag)).current()

    assert (prices.source, prices.as_of) == ("RunAPI", "")
    assert (prices.of(FOX), prices.of(MAX)) == (6, None)


@pytest.mark.parametrize("unit", ["per_megapixel", "per_1m_tokens", "per_second", "", 5])
async def test_the_price_of_something_else_is_none_of_a_picture(unit: object) -> None:
    api = runapi(Answers(says(200, {"price_schedules": [{"model": FOX.model, "billing_unit": unit, **CHEAP}]})))
    prices = await price_list(lambda etag: api.price_schedules(etag=etag)).current()

    assert prices.of(FOX) != CHEAP["unit_price_cents"]


@pytest.mark.parametrize("unit", [None, "per_call", "per_image"])
async def test_the_price_of_a_picture_may_go_by_several_names(unit: str | None) -> None:
    assert (await price_list(Shop(listed(6, billing_unit=unit))).current()).of(FOX) == 6


@pytest.mark.parametrize("content", [b"[]", b'{"price_schedules": 5}', b"<html>", b""])
async def test_a_list_that_cannot_be_read_changes_nothing(content: bytes) -> None:
    api = runapi(Answers(says(200, content=content)))
    prices = await price_list(lambda etag: api.price_schedules(etag=etag)).current()

    assert prices.source == "built in"
