from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

import anyio
import pytest

from flux2_mcp import telemetry
from flux2_mcp.errors import OverLimit
from flux2_mcp.history import History
from tests.history.orders import MIDNIGHT, QUARTER, Clock, fox, order, painted


async def spent(history: History) -> int:
    return await history.spent_cents("ann", since=MIDNIGHT)


async def test_what_is_reserved_settled_and_failed_adds_up(history: History) -> None:
    reserved, _ = await order(history, fox("1", cents=5))
    settled, _ = await order(history, fox("2", cents=5))
    failed, _ = await order(history, fox("3", cents=100))
    await order(history, fox("4", cents=None))
    await history.unknown(reserved, error="no answer")
    await history.finished(settled, state="completed", settled_cents=7)
    await history.finished(failed, state="failed")

    assert await spent(history) == 12


async def test_a_failed_order_that_cost_something_counts(history: History) -> None:
    failed, _ = await order(history, fox(cents=5))
    await history.finished(failed, state="failed", settled_cents=5)

    assert await spent(history) == 5


@pytest.mark.parametrize(("cents", "total"), [(5, 12), (None, 7)], ids=["estimated", "no price known"])
async def test_of_two_orders_for_one_task_both_count(history: History, cents: int | None, total: int) -> None:
    """RunAPI has stated its cost for the first; whether the second was charged too is not known."""
    first, _ = await order(history, fox("1", cents=5))
    second, _ = await order(history, fox("2", cents=cents))
    first = await history.accepted(first, task_id="task-1", dialect="sdk")
    second = await history.accepted(second, task_id="task-1", dialect="sdk")
    await history.finished(first, state="completed", settled_cents=7)
    await history.finished(second, state="completed")

    assert second.shared_with == first.id
    assert await spent(history) == total


class Meter:
    """Keeps what is counted, in place of a counter or a histogram of OpenTelemetry."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, str]] = []

    def add(self, amount: float, about: Mapping[str, str]) -> None:
        self.seen.append((amount, about.get(telemetry.OUTCOME, "")))

    record = add


@pytest.mark.parametrize(
    ("state", "cents", "counted"),
    [("completed", None, 5), ("completed", 7, 7), ("completed", 0, 0), ("failed", None, 0), ("failed", 7, 7)],
)
async def test_what_is_spent_is_counted_once_when_an_order_ends(
    history: History,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    state: Literal["completed", "failed"],
    cents: int | None,
    counted: int,
) -> None:
    cost, durations = Meter(), Meter()
    monkeypatch.setattr(telemetry, "COST_SPENT", cost)
    monkeypatch.setattr(telemetry, "TASK_DURATION", durations)
    opened, _ = await order(history, fox(cents=5))
    running = await history.accepted(opened, task_id="task-1", dialect="sdk")
    elsewhere = await history.adopt(owner="ann", task_id="task-2", action="text_to_image", dialect="sdk")
    clock.forward(seconds=9)
    for _ in range(2):
        await history.finished(running, state=state, settled_cents=cents)
        await history.finished(elsewhere, state=state, settled_cents=cents)
        assert cost.seen == [(counted, state)]

    assert durations.seen == [(9, state)]


async def test_what_is_reserved_is_counted_when_an_order_is_made(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved = Meter()
    monkeypatch.setattr(telemetry, "COST_RESERVED", reserved)
    for fingerprint, cents in (("1", 5), ("1", 5), ("2", None)):
        await order(history, fox(fingerprint, cents=cents))

    assert reserved.seen == [(5, ""), (0, "")]


async def test_yesterday_and_tasks_made_elsewhere_do_not_count(history: History, clock: Clock) -> None:
    await painted(history, "1")
    clock.forward(days=1)
    adopted = await history.adopt(owner="ann", task_id="task-9", action="text_to_image", dialect="sdk")
    await history.finished(adopted, state="completed", settled_cents=50)
    await painted(history, "2")

    assert await history.spent_cents("ann", since=MIDNIGHT + timedelta(days=1)) == 5
    assert await spent(history) == 10


async def test_the_daily_cap_is_reached_but_not_passed(history: History) -> None:
    async def call(fingerprint: str) -> None:
        await history.open_orders([fox(fingerprint)], owner="ann", resume_within=QUARTER, daily_cap_cents=10)

    await call("1")
    await call("2")
    with pytest.raises(OverLimit) as refused:
        await call("3")

    assert await spent(history) == 10
    assert str(refused.value) == (
        "This would cost $0.05, and $0.10 of today's limit of $0.10 is already spent or reserved. "
        "Nothing was charged. Wait until tomorrow, or ask the user to raise the daily limit."
    )


async def test_the_day_of_the_cap_begins_at_midnight_to_the_microsecond(history: History, clock: Clock) -> None:
    async def call(fingerprint: str, cents: int) -> None:
        await history.open_orders(
            [fox(fingerprint, cents=cents)], owner="ann", resume_within=QUARTER, daily_cap_cents=10
        )

    clock.time = MIDNIGHT - timedelta(microseconds=1)
    await call("yesterday", 10)
    clock.time = MIDNIGHT
    await call("at midnight", 4)
    clock.forward(hours=13, minutes=1, seconds=1, microseconds=1)
    await call("later", 6)
    with pytest.raises(OverLimit):
        await call("too much", 1)

    assert history.midnight() == MIDNIGHT


async def test_an_order_whose_price_nobody_knows_takes_nothing_of_the_cap(history: History) -> None:
    await history.open_orders([fox("1", cents=5)], owner="ann", resume_within=QUARTER, daily_cap_cents=5)
    opened = await history.open_orders([fox("2", cents=None)], owner="ann", resume_within=QUARTER, daily_cap_cents=5)

    assert [resumed for _, resumed in opened] == [False]


async def test_a_call_that_passes_the_cap_opens_none_of_its_pictures(history: History) -> None:
    with pytest.raises(OverLimit):
        await history.open_orders(
            [fox(position=n) for n in range(3)], owner="ann", resume_within=QUARTER, daily_cap_cents=10
        )

    assert (await history.recent("ann")).orders == ()


async def test_a_resumed_order_is_not_counted_twice(history: History) -> None:
    first, _ = await order(history, fox(cents=10))

    [(again, resumed)] = await history.open_orders(
        [fox(cents=10)], owner="ann", resume_within=QUARTER, daily_cap_cents=10
    )

    assert resumed
    assert again.id == first.id


async def test_a_refused_call_leaves_the_older_order_resumable(history: History) -> None:
    """A repeat takes the resume_key over; when it is refused it must not have."""
    first, _ = await order(history, fox())
    with pytest.raises(OverLimit):
        await history.open_orders([fox()], owner="ann", resume_within=None, daily_cap_cents=5)

    again, resumed = await order(history, fox())

    assert (again.id, resumed) == (first.id, True)


async def test_another_owner_has_a_cap_of_their_own(history: History) -> None:
    await painted(history, owner="bob")

    [(_, resumed)] = await history.open_orders([fox()], owner="ann", resume_within=QUARTER, daily_cap_cents=5)

    assert not resumed


async def test_calls_at_once_do_not_overspend_together(history: History) -> None:
    refused: list[str] = []

    async def call(n: int) -> None:
        try:
            await history.open_orders([fox(f"{n:x}")], owner="ann", resume_within=QUARTER, daily_cap_cents=52)
        except OverLimit:
            refused.append(f"{n:x}")

    with anyio.fail_after(20):
        async with anyio.create_task_group() as calls:
            for n in range(40):
                calls.start_soon(call, n)

    assert await spent(history) == 50
    assert len(refused) == 30
