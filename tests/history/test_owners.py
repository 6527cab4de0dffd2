from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from flux2_mcp.history import History
from tests.history.orders import NOON, Clock, fox, order, painted


@pytest.fixture
async def bobs(history: History) -> str:
    """The id of an order that is not Ann's, and still runs; there is another, whose picture nobody has seen."""
    unseen = await painted(history, "unseen", owner="bob")
    await history.finished(unseen, state="completed", urls=unseen.urls, urls_expire_at=NOON + timedelta(days=7))
    opened, _ = await order(history, fox(), owner="bob")
    await history.accepted(opened, task_id="task-bob", dialect="sdk")
    return opened.id


async def test_a_stranger_finds_nothing_by_any_method(history: History, bobs: str) -> None:
    assert await history.find("ann", bobs) is None
    assert await history.find("ann", "task-bob") is None
    assert (await history.recent("ann", text="fox")).orders == ()
    assert await history.unfinished("ann") == []
    assert await history.unseen("ann") == []
    assert await history.spent_cents("ann", since=NOON - timedelta(days=1)) == 0
    assert await history.durations("ann", action="text_to_image", model=fox().model, resolution="2k") == []
    assert await history.forget("ann") == 0
    assert await history.forget_one("ann", "task-unseen") == 0


async def test_a_task_is_not_shared_with_a_stranger(history: History, bobs: str) -> None:
    """Two keys may see one task, and two owners may be at one RunAPI."""
    opened, _ = await order(history, fox())
    ours = await history.accepted(opened, task_id="task-bob", dialect="sdk")

    assert ours.shared_with is None
    assert bobs != ours.id


async def test_a_stranger_cannot_change_anything(history: History, bobs: str) -> None:
    before = await history.find("bob", bobs)

    await history.delivered(bobs, owner="ann")
    await history.adopt(owner="ann", task_id="task-bob", action="text_to_image", dialect="sdk")

    assert await history.find("bob", bobs) == before


async def test_an_order_under_another_name_changes_nothing_of_the_first(history: History, bobs: str) -> None:
    before = await history.find("bob", bobs)
    assert before

    await history.finished(replace(before, owner="ann"), state="failed", error="never")

    assert await history.find("bob", bobs) == before


async def test_a_stranger_cannot_page_through_with_a_foreign_cursor(history: History) -> None:
    for fingerprint in ("1", "2"):
        await painted(history, fingerprint, owner="bob")
    page = await history.recent("bob", limit=1)

    assert (await history.recent("ann", before=page.cursor)).orders == ()


async def test_forgetting_is_for_one_owner(history: History, bobs: str) -> None:
    await painted(history)

    assert await history.forget("ann") == 1
    assert await history.find("bob", bobs)


async def test_forgetting_one_order_is_for_one_owner(history: History, bobs: str) -> None:
    """Also where both have it: an order may be known under another name."""
    known = await history.find("bob", bobs)
    assert known
    theirs = await history.finished(known, state="completed", urls=["https://x.test/1.png"])
    ours = await history.finished(replace(theirs, owner="ann"), state="completed", urls=theirs.urls)

    assert await history.forget_one("ann", ours.id) == 1
    assert await history.find("bob", bobs) == theirs


async def test_forgetting_what_is_older_is_for_one_owner(history: History, clock: Clock, bobs: str) -> None:
    await painted(history)
    clock.forward(days=1)

    assert await history.forget("ann", before=clock()) == 1
    assert await history.find("bob", bobs)


async def test_who_has_orders_is_known_with_their_number(history: History, bobs: str) -> None:
    """The person to whom the file belongs sees them all."""
    await painted(history)

    assert list((await history.owners()).items()) == [("ann", 1), ("bob", 2)]
