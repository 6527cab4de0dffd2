from __future__ import annotations

import json
from dataclasses import replace

import anyio
import pytest

from flux2_mcp.errors import OverLimit
from flux2_mcp.history import Arrival, History
from tests.history.orders import NOON, QUARTER, Clock, fox, order, painted


async def test_a_new_request_is_an_intent_with_everything_that_a_replay_needs(history: History) -> None:
    opened, resumed = await order(history, replace(fox(key="key-7"), save_to="elsewhere"))

    assert not resumed
    assert opened.save_to == "elsewhere"
    assert opened.id.startswith("order-")
    assert (opened.state, opened.idempotency_key, opened.created_at) == ("intended", "key-7", NOON)
    assert opened.request == fox().request
    assert await history.find("ann", opened.id) == opened


async def test_the_request_comes_back_with_its_keys_in_order_and_every_character(history: History) -> None:
    """The same Idempotency-Key with another body is a 409."""
    prompt = "half a pair \ud83e, a NUL \0, 狐"

    opened, _ = await order(history, fox(prompt=prompt))
    found = await history.find("ann", opened.id)

    assert found
    assert found.request
    assert json.dumps(found.request) == json.dumps(fox(prompt=prompt).request)


@pytest.mark.parametrize("state", ["intended", "accepted", "unknown", "completed"])
async def test_the_same_request_resumes_what_was_not_delivered(history: History, state: str) -> None:
    first, _ = await order(history, fox(key="first"))
    if state == "unknown":
        await history.unknown(first, error="no answer")
    if state in {"accepted", "completed"}:
        first = await history.accepted(first, task_id="task-1", dialect="sdk")
    if state == "completed":
        await history.finished(first, state="completed")

    again, resumed = await order(history, fox(key="second"))

    assert resumed
    assert (again.id, again.idempotency_key, again.state) == (first.id, "first", state)


async def test_a_delivered_result_means_that_the_same_words_want_another_picture(history: History) -> None:
    first = await painted(history)
    await history.delivered(first.id, owner="ann")

    again, resumed = await order(history, fox())

    assert not resumed
    assert again.id != first.id
    assert (delivered := await history.find("ann", first.id))
    assert delivered.delivered


async def test_a_delivered_result_is_resumed_by_a_call_that_came_before(history: History) -> None:
    """However late it asks; a call that came after the delivery wants another picture also then."""
    pair = [fox(position=0), fox(position=1)]
    first = [order for order, _ in await history.open_orders(pair, owner="ann", resume_within=QUARTER)]
    for one in first:
        await history.finished(one, state="completed")
    ids = [one.id for one in first]
    before = await arrival(history)
    await history.delivered(*ids, owner="ann")
    after = await arrival(history)

    counted = await history.resumable(pair, owner="ann", resume_within=QUARTER, arrival=before)
    again = await history.open_orders(pair, owner="ann", resume_within=QUARTER, arrival=before)
    await history.delivered(*ids, owner="ann")

    assert counted == 2
    assert [(order.id, resumed) for order, resumed in again] == [(id, True) for id in ids]
    assert await history.resumable(pair, owner="ann", resume_within=QUARTER, arrival=after) == 0


async def test_a_result_that_was_handed_over_counts_before_the_history_hears_of_it(history: History) -> None:
    first = await painted(history)

    assert await history.resumable([fox()], owner="ann", resume_within=QUARTER, arrival=await arrival(history)) == 1
    later = await arrival(history, first.id)
    assert await history.resumable([fox()], owner="ann", resume_within=QUARTER, arrival=later) == 0


async def test_until_every_picture_of_a_call_was_delivered_all_are_resumed(history: History) -> None:
    pair = [fox(position=0), fox(position=1)]
    (first, _), (second, _) = await history.open_orders(pair, owner="ann", resume_within=QUARTER)
    await history.finished(first, state="completed")
    await history.delivered(first.id, owner="ann")
    half = await history.resumable(pair, owner="ann", resume_within=QUARTER)
    between = await arrival(history)
    await history.finished(second, state="completed")
    await history.delivered(second.id, owner="ann")

    assert half == 2
    assert await history.resumable(pair, owner="ann", resume_within=QUARTER) == 0
    assert await history.resumable(pair, owner="ann", resume_within=QUARTER, arrival=between) == 2


async def test_a_newer_order_stands_before_a_delivered_result(history: History) -> None:
    first = await painted(history)
    before = await arrival(history)
    await history.delivered(first.id, owner="ann")
    newer, _ = await order(history, fox())

    counted = await history.resumable([fox()], owner="ann", resume_within=QUARTER, arrival=before)
    [(again, _)] = await history.open_orders([fox()], owner="ann", resume_within=QUARTER, arrival=before)

    assert counted == 1
    assert again.id == newer.id


@pytest.mark.parametrize("why", ["too old", "repeat", "of another"])
async def test_a_delivered_result_is_not_resumed_where_nothing_is(history: History, clock: Clock, why: str) -> None:
    first = await painted(history)
    before = await arrival(history)
    await history.delivered(first.id, owner="ann")
    clock.forward(minutes=16 if why == "too old" else 0)

    [(again, resumed)] = await history.open_orders(
        [fox()],
        owner="bob" if why == "of another" else "ann",
        resume_within=None if why == "repeat" else QUARTER,
        arrival=before,
    )

    assert not resumed
    assert again.id != first.id


async def test_deliveries_are_counted_for_each_owner(history: History) -> None:
    for fingerprint, owner in (("1", "ann"), ("2", "ann"), ("3", "bob")):
        done = await painted(history, fingerprint, owner=owner)
        await history.delivered(done.id, owner=owner)
    await history.delivered(done.id, owner="bob")

    assert [await history.deliveries(owner) for owner in ("ann", "bob", "cid")] == [2, 1, 0]


async def arrival(history: History, *uncounted: str) -> Arrival:
    """A call comes now, to a process that has handed these orders over a moment ago."""
    return Arrival(await history.deliveries("ann"), frozenset(uncounted))


async def test_a_failed_order_is_not_resumed(history: History) -> None:
    first, _ = await order(history, fox())
    await history.finished(first, state="failed", error="moderated")

    again, resumed = await order(history, fox())

    assert not resumed
    assert again.id != first.id


async def test_after_a_quarter_of_an_hour_the_same_words_want_another_picture(history: History, clock: Clock) -> None:
    first, _ = await order(history, fox())
    clock.forward(minutes=15)
    still, resumed_at_15 = await order(history, fox())
    clock.forward(seconds=1)
    later, resumed_after = await order(history, fox())

    assert (still.id, resumed_at_15) == (first.id, True)
    assert not resumed_after
    assert later.id != first.id


async def test_a_clock_that_is_set_back_makes_no_order_new(history: History, clock: Clock) -> None:
    """What was ordered lies in the future then, and counts against the budget of a day that begins again."""
    first, _ = await order(history, fox())
    clock.forward(hours=-20)

    again, resumed = await order(history, fox())

    assert (again.id, resumed) == (first.id, True)
    assert await history.spent_cents("ann", since=history.midnight()) == 5


async def test_a_task_that_became_known_late_is_taken_up_a_quarter_of_an_hour_longer(
    history: History, clock: Clock
) -> None:
    first, _ = await order(history, fox())
    first = await history.unknown(first, error="no answer")
    clock.forward(minutes=14)
    await history.accepted(first, task_id="t-1", dialect="sdk")
    clock.forward(minutes=14)

    again, resumed = await order(history, fox())

    assert (again.id, resumed) == (first.id, True)


async def test_repeat_pays_again_and_later_calls_resume_the_newest(history: History) -> None:
    first, _ = await order(history, fox())
    repeated, resumed = await order(history, fox(), resume_within=None)
    third, third_resumed = await order(history, fox())

    assert not resumed
    assert repeated.id != first.id
    assert (third.id, third_resumed) == (repeated.id, True)


async def test_each_picture_of_a_call_is_an_order_of_its_own(history: History) -> None:
    pair = [fox(position=0), fox(position=1)]

    first = await history.open_orders(pair, owner="ann", resume_within=QUARTER)
    again = await history.open_orders([*pair, fox(position=2)], owner="ann", resume_within=QUARTER)

    assert [resumed for _, resumed in first] == [False, False]
    assert [resumed for _, resumed in again] == [True, True, False]
    assert [order.id for order, _ in again][:2] == [order.id for order, _ in first]


async def test_orders_that_would_be_resumed_are_counted_beforehand(history: History, clock: Clock) -> None:
    pair = [fox(position=0), fox(position=1)]
    (first, _), (second, _) = await history.open_orders(pair, owner="ann", resume_within=QUARTER)
    await history.accepted(first, task_id="t-1", dialect="sdk")
    await history.finished(second, state="failed")
    now = await history.resumable(pair, owner="ann", resume_within=QUARTER)
    bobs = await history.resumable(pair, owner="bob", resume_within=QUARTER)
    clock.forward(minutes=16)

    assert (now, bobs) == (1, 0)
    assert await history.resumable(pair, owner="ann", resume_within=QUARTER) == 0


async def test_a_check_of_how_many_are_new_is_part_of_the_transaction(history: History) -> None:
    """Another process may have delivered one since they were counted."""
    first, _ = await order(history, fox(position=0))
    counted: list[int] = []

    def none(new: int) -> None:
        counted.append(new)
        msg = "enough"
        raise OverLimit(msg)

    pair = [fox(position=0), fox(position=1)]
    with pytest.raises(OverLimit, match="enough"):
        await history.open_orders(pair, owner="ann", resume_within=QUARTER, check=none)
    after = await history.recent("ann")
    await history.open_orders(pair[:1], owner="ann", resume_within=QUARTER, check=none)

    assert counted == [1]
    assert after.orders == (first,)


async def test_two_people_with_one_request_have_an_order_each(history: History) -> None:
    anns, _ = await order(history, fox(), owner="ann")
    bobs, resumed = await order(history, fox(), owner="bob")

    assert not resumed
    assert bobs.id != anns.id


async def test_many_calls_at_once_make_one_order(history: History) -> None:
    found: list[str] = []

    async def call() -> None:
        opened, _ = await order(history, fox())
        found.append(opened.id)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as calls:
            for _ in range(200):
                calls.start_soon(call)

    assert len(found) == 200
    assert len(set(found)) == 1


async def test_many_orders_leave_the_threads_of_others_alone(history: History) -> None:
    """Everybody else's files share the default limiter of 40 threads."""
    threads = anyio.to_thread.current_default_thread_limiter()
    busiest = 0.0

    async def call(n: int) -> None:
        nonlocal busiest
        await history.recent("ann")
        busiest = max(busiest, threads.borrowed_tokens)
        await painted(history, f"{n:x}")
        busiest = max(busiest, threads.borrowed_tokens)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as calls:
            for n in range(50):
                calls.start_soon(call, n)

    assert busiest == 0
