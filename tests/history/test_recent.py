from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flux2_mcp.errors import RequestRefused
from flux2_mcp.history import History
from tests.history.orders import QUARTER, Clock, fox, order, painted


async def numbers(history: History, *, text: str) -> list[str]:
    return [found.fingerprint for found in (await history.recent("ann", text=text)).orders]


async def test_the_newest_comes_first(history: History, clock: Clock) -> None:
    for fingerprint in ("1", "2", "3"):
        await painted(history, fingerprint)
        clock.forward(seconds=1)

    page = await history.recent("ann")

    assert [found.fingerprint for found in page.orders] == ["3", "2", "1"]
    assert page.cursor is None


async def test_the_pictures_of_one_call_keep_their_order(history: History) -> None:
    await history.open_orders([fox(position=n) for n in range(8)], owner="ann", resume_within=QUARTER)

    assert [found.position for found in (await history.recent("ann")).orders] == [7, 6, 5, 4, 3, 2, 1, 0]


async def test_pages_are_whole_although_new_orders_arrive(history: History, clock: Clock) -> None:
    for n in range(7):
        await painted(history, f"{n}")
        clock.forward(seconds=n % 2)  # some at the same moment
    seen: list[str] = []

    page = await history.recent("ann", limit=3)
    while page.cursor:
        seen += [found.fingerprint for found in page.orders]
        await painted(history, f"a{len(seen)}")
        page = await history.recent("ann", limit=3, before=page.cursor)
    seen += [found.fingerprint for found in page.orders]

    assert sorted(seen) == ["0", "1", "2", "3", "4", "5", "6"]
    assert seen[0] == "6"


async def test_a_full_last_page_has_no_cursor(history: History) -> None:
    await history.open_orders([fox(position=n) for n in range(4)], owner="ann", resume_within=QUARTER)

    first = await history.recent("ann", limit=2)
    last = await history.recent("ann", limit=2, before=first.cursor)

    assert first.cursor
    assert len(last.orders) == 2
    assert last.cursor is None


@pytest.mark.parametrize("cursor", ["yesterday", "1e5.order-1", "9" * 40 + ".order-1", "\ud800", "' OR 1=1 --"])
async def test_a_cursor_of_somebody_else_is_refused_in_words(history: History, cursor: str) -> None:
    with pytest.raises(RequestRefused, match="cursor"):
        await history.recent("ann", before=cursor)


async def test_twenty_are_listed_unless_more_are_asked_for(history: History) -> None:
    for number in range(21):
        await painted(history, f"f{number}")

    assert len((await history.recent("ann")).orders) == 20
    assert len((await history.recent("ann", limit=21)).orders) == 21


async def test_a_limit_below_one_is_one(history: History) -> None:
    """SQLite takes a negative limit for none at all."""
    for fingerprint in ("1", "2"):
        await painted(history, fingerprint)

    assert len((await history.recent("ann", limit=-1)).orders) == 1
    assert len((await history.recent("ann", limit=10**30)).orders) == 2


async def test_only_the_wanted_state_is_listed(history: History) -> None:
    await painted(history, "d0")
    running, _ = await order(history, fox("f1"))

    assert (await history.recent("ann", states=["intended"])).orders == (running,)


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("A Fox asleep in the SNOW", "snow FOX"),
        ("100% wool", "100%"),
        ("snake_case", "snake_case"),
        ("雪の中で眠る狐", "狐"),
        ("ГРОЗА над морем", "гроза"),
        ("STRASSE im Regen", "straße"),
        ("\uff57\uff49\uff44\uff45 letters", "wide"),
        ("a back\\slash and a /slash", "back\\slash /slash"),
        ("Robert'); DROP TABLE orders;--", "'); drop table orders;--"),
    ],
)
async def test_words_are_found_in_any_case_and_script(history: History, prompt: str, text: str) -> None:
    await painted(history, "1", prompt=prompt)

    assert await numbers(history, text=text) == ["1"]


@pytest.mark.parametrize("text", ["100%", "s_ake", "%", "_", "fox bear", "' OR ''='", "\\"])
async def test_words_that_are_not_there_are_not_found(history: History, text: str) -> None:
    await painted(history, "1", prompt="1000 snakes and a fox")

    assert await numbers(history, text=text) == []


async def test_no_words_find_everything(history: History) -> None:
    await painted(history, "1")

    assert await numbers(history, text="  \n ") == ["1"]


async def test_a_whole_novel_is_a_search_too(history: History) -> None:
    """SQLite has limits for patterns and expressions; a search must not look like a broken database."""
    await painted(history, "1", prompt="a" * 300)

    assert await numbers(history, text="a" * 100_000) == ["1"]
    assert await numbers(history, text="b " * 5_000) == []
    assert not history.degraded


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(prompt=st.text(), n=st.integers(0, 3))
async def test_every_prompt_is_found_by_its_own_words(history: History, prompt: str, n: int) -> None:
    made, _ = await order(history, fox(prompt=prompt), resume_within=None)

    page = await history.recent("ann", limit=1000, text=" ".join(prompt.split()[n:]))

    assert made in page.orders
