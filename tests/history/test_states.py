from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Literal

import anyio
import pytest

from flux2_mcp.history import History, Order, ids_in
from tests.databases import history_in
from tests.history.orders import FOX, NOON, Clock, fox, order, painted

Step = Callable[..., Awaitable[Order]]


async def accepted_late(history: History, seen: Order, *, error: str) -> Order:
    """An acceptance that comes too late; it takes `error` only to be called as the others are."""
    return await history.accepted(seen, task_id=f"task-after-{error}", dialect="sdk")


async def test_an_order_is_followed_from_the_intent_to_the_file(history: History, clock: Clock) -> None:
    opened, _ = await order(history, fox())
    clock.forward(seconds=1)
    running = await history.accepted(opened, task_id="task-1", dialect="v1")
    clock.forward(seconds=9)
    expiry = NOON + timedelta(days=7)
    await history.finished(
        running, state="completed", urls=["https://x.test/1.png"], urls_expire_at=expiry, settled_cents=7
    )
    await history.saved(running, [Path("/pictures/fox.png")])

    found = await history.find("ann", "task-1")

    assert found
    assert (found.id, found.state, found.dialect, found.is_over) == (opened.id, "completed", "v1", True)
    assert (found.created_at, found.accepted_at) == (NOON, NOON + timedelta(seconds=1))
    assert found.finished_at == NOON + timedelta(seconds=10)
    assert (found.urls, found.urls_expire_at) == (("https://x.test/1.png",), expiry)
    assert (found.estimated_cents, found.settled_cents) == (5, 7)
    assert found.paths == ("/pictures/fox.png",)
    assert not found.delivered


async def test_what_a_method_returns_is_what_is_found_later(history: History) -> None:
    done = await painted(history)

    assert await history.find("ann", done.id) == done


@pytest.mark.parametrize("late", [History.unknown, partial(History.finished, state="failed"), accepted_late])
async def test_a_completed_order_never_goes_back(history: History, clock: Clock, late: Step) -> None:
    """Whoever says so later may have seen it run."""
    opened, _ = await order(history, fox())
    running = await history.accepted(opened, task_id="task-f0", dialect="sdk")
    done = await history.finished(running, state="completed", urls=["https://x.test/1.png"], settled_cents=5)
    clock.forward(seconds=5)

    for seen in (done, running):
        assert await late(history, seen, error="late") == done

    assert await history.find("ann", done.id) == done


async def test_completing_twice_keeps_the_time_and_learns_the_cost_and_fresh_links(
    history: History, clock: Clock
) -> None:
    opened, _ = await order(history, fox())
    running = await history.accepted(opened, task_id="task-1", dialect="sdk")
    first = await history.finished(running, state="completed", urls=["https://x.test/old"])
    clock.forward(days=1)

    again = await history.finished(running, state="completed", urls=["https://x.test/new"], settled_cents=6)
    silent = await history.finished(running, state="completed")
    dated = await history.finished(running, state="completed", urls=again.urls, urls_expire_at=NOON)

    assert (await history.finished(running, state="completed")).urls_expire_at == dated.urls_expire_at == NOON
    assert (first.settled_cents, again.settled_cents) == (None, 6)
    assert again.finished_at == first.finished_at
    assert again.urls == ("https://x.test/new",)
    assert silent == again


async def test_a_failure_that_turned_out_a_picture_is_none_any_more(history: History) -> None:
    opened, _ = await order(history, fox())
    running = await history.accepted(opened, task_id="task-1", dialect="sdk")
    failed = await history.finished(running, state="failed", error="too blurred")
    done = await history.finished(failed, state="completed", urls=["https://x.test/1.png"])

    assert (failed.error, done.error) == ("too blurred", None)


async def test_an_answer_that_was_lost_is_noted_until_the_task_is_found(history: History) -> None:
    opened, _ = await order(history, fox())

    lost = await history.unknown(opened, error="no answer within 60 s")
    found = await history.accepted(lost, task_id="task-1", dialect="sdk")

    assert (lost.state, lost.error) == ("unknown", "no answer within 60 s")
    assert (found.state, found.error) == ("accepted", None)


async def test_a_call_that_lost_its_answer_does_not_hide_the_task_that_another_call_got(history: History) -> None:
    opened, _ = await order(history, fox())
    running = await history.accepted(opened, task_id="task-1", dialect="sdk")

    after = await history.unknown(opened, error="no answer")

    assert after == running


async def test_a_call_that_was_refused_does_not_end_the_task_that_another_call_got(history: History) -> None:
    """Two calls resume one order with one key; RunAPI throttles the one and accepts the other."""
    opened, _ = await order(history, fox())
    running = await history.accepted(opened, task_id="task-1", dialect="sdk")

    after = await history.finished(opened, state="failed", error="429")

    assert after == running


async def test_a_task_that_appears_after_a_refusal_is_resumed_again(history: History) -> None:
    opened, _ = await order(history, fox())
    await history.finished(opened, state="failed", error="429")

    await history.accepted(opened, task_id="task-1", dialect="sdk")
    again, resumed = await order(history, fox())

    assert (again.id, again.state, resumed) == (opened.id, "accepted", True)


async def test_a_task_that_appears_late_does_not_take_the_place_of_a_newer_order(history: History) -> None:
    opened, _ = await order(history, fox())
    await history.finished(opened, state="failed", error="429")
    newer, _ = await order(history, fox())

    late = await history.accepted(opened, task_id="task-1", dialect="sdk")
    again, resumed = await order(history, fox())

    assert late.state == "accepted"
    assert (again.id, resumed) == (newer.id, True)


async def test_a_failed_task_stays_failed_when_its_acceptance_is_reported_late(history: History) -> None:
    opened, _ = await order(history, fox())
    running = await history.accepted(opened, task_id="task-1", dialect="sdk")
    failed = await history.finished(running, state="failed", error="moderated")

    late = await history.accepted(opened, task_id="task-1", dialect="sdk")

    assert late == failed
    assert (failed.state, failed.error) == ("failed", "moderated")


async def test_an_order_that_was_forgotten_meanwhile_is_noted_again(history: History) -> None:
    """Its picture is paid for."""
    opened, _ = await order(history, fox())
    await history.forget("ann")

    await history.accepted(opened, task_id="task-1", dialect="sdk")
    again, resumed = await order(history, fox())

    assert (again.id, again.task_id, resumed) == (opened.id, "task-1", True)


@pytest.mark.parametrize("state", ["intended", "accepted", "unknown"])
async def test_what_is_not_over_is_found_after_a_crash(history: History, state: str) -> None:
    await painted(history, "d0ne")
    opened, _ = await order(history, fox("10"))
    if state == "accepted":
        opened = await history.accepted(opened, task_id="task-1", dialect="sdk")
    if state == "unknown":
        opened = await history.unknown(opened, error="no answer")

    assert await history.unfinished("ann") == [opened]


async def test_a_cancelled_call_does_not_lose_the_id_of_its_task(history: History) -> None:
    opened, _ = await order(history, fox())

    with anyio.CancelScope() as call:
        call.cancel()
        await history.accepted(opened, task_id="task-1", dialect="sdk")

    found = await history.find("ann", opened.id)
    assert found
    assert found.task_id == "task-1"


async def test_a_task_made_elsewhere_is_noted_once(history: History) -> None:
    await history.adopt(owner="ann", task_id="task-8", action="remix_image", dialect="v1")
    adopted = await history.adopt(owner="ann", task_id="task-9", action="remix_image", dialect="sdk")
    again = await history.adopt(owner="ann", task_id="task-9", action="remix_image", dialect="sdk")
    done = await history.finished(adopted, state="completed", urls=["https://x.test/9.png"], settled_cents=5)

    assert again == adopted
    assert adopted.made_elsewhere
    assert (adopted.state, adopted.dialect, adopted.created_at) == ("accepted", "sdk", NOON)
    assert {each.task_id for each in (await history.recent("ann")).orders} == {"task-8", "task-9"}
    assert (adopted.prompt, adopted.model, adopted.resolution, adopted.idempotency_key) == ("", "", None, "")
    assert await history.find("ann", "task-9") == done


async def test_an_order_goes_before_what_was_only_looked_at_under_its_tasks_id(history: History, clock: Clock) -> None:
    """Its answer was lost, somebody looked at the task by RunAPI's id, and then the order found its task."""
    opened, _ = await order(history, fox())
    await history.unknown(opened, error="no answer")
    clock.forward(minutes=1)
    await history.adopt(owner="ann", task_id="task-1", action="text_to_image", dialect="sdk")
    ours = await history.accepted(opened, task_id="task-1", dialect="sdk")

    assert await history.find("ann", "task-1") == ours
    assert await history.adopt(owner="ann", task_id="task-1", action="text_to_image", dialect="sdk") == ours


async def test_a_task_of_three_orders_is_that_ones_which_named_it_first(history: History) -> None:
    """Also where one that was made before has named it later."""
    early, first, third = [(await order(history, fox(name)))[0] for name in ("1", "2", "3")]
    await history.accepted(first, task_id="task-1", dialect="sdk")
    early = await history.accepted(early, task_id="task-1", dialect="sdk")
    third = await history.accepted(third, task_id="task-1", dialect="sdk")

    assert early.shared_with == first.id
    assert third.shared_with == first.id


async def test_our_own_task_is_not_adopted(history: History) -> None:
    ours = await painted(history)

    assert await history.adopt(owner="ann", task_id="task-f0", action="text_to_image", dialect="sdk") == ours


@pytest.mark.parametrize("id", ["", "\ud800", "a\0b", "order-%", "' OR ''='"])
async def test_an_id_that_nobody_has_is_not_found(history: History, id: str) -> None:
    await painted(history)
    await order(history, fox("2"))

    assert await history.find("ann", id) is None


@pytest.mark.parametrize(
    ("handle", "ids"),
    [
        ("order-1", ["order-1"]),
        ("order-1.order-2.order-1", ["order-1", "order-2"]),
        ("order-1.task-2", []),
        ("task-1", []),
        ("", []),
    ],
)
def test_the_id_of_a_call_is_made_of_those_of_its_orders(handle: str, ids: list[str]) -> None:
    assert ids_in(handle) == ids


async def test_durations_are_those_of_orders_alike(history: History, clock: Clock) -> None:
    for fingerprint, seconds in (("1", 4.0), ("2", 2.5)):
        opened, _ = await order(history, fox(fingerprint))
        running = await history.accepted(opened, task_id=fingerprint, dialect="sdk")
        clock.forward(seconds=seconds)
        await history.finished(running, state="completed")
    failed, _ = await order(history, fox("3"))
    await history.finished(failed, state="failed")

    async def durations(
        resolution: str | None, model: str = "flux-2-pro-text-to-image", limit: int = 50
    ) -> list[float]:
        return await history.durations("ann", action="text_to_image", model=model, resolution=resolution, limit=limit)

    assert await durations("2k") == [2.5, 4.0]
    assert await durations("2k", limit=1) == [2.5]
    assert await durations(None) == []
    assert await durations("2k", model="flux-2-max-text-to-image") == []


async def test_a_failure_that_is_noted_twice_keeps_its_time_and_its_cost(history: History, clock: Clock) -> None:
    opened, _ = await order(history, fox())
    running = await history.accepted(opened, task_id="task-1", dialect="sdk")
    first = await history.finished(running, state="failed", settled_cents=5, error="blurred")
    clock.forward(seconds=9)

    assert await history.finished(running, state="failed") == first
    assert (first.finished_at, first.settled_cents, first.error) == (NOON, 5, "blurred")


async def test_a_task_that_is_named_twice_was_accepted_the_first_time(history: History, clock: Clock) -> None:
    opened, _ = await order(history, fox())
    first = await history.accepted(opened, task_id="task-1", dialect="sdk")
    clock.forward(seconds=9)

    assert await history.accepted(opened, task_id="task-1", dialect="sdk") == first


async def test_what_is_given_up_says_when_and_why(history: History) -> None:
    opened, _ = await order(history, replace(fox(), request=None))

    left = await history.given_up(opened, error="no such file")

    assert (left.state, left.finished_at, left.error) == ("failed", NOON, "no such file")


async def test_what_a_caller_has_seen_but_could_not_write_down_is_not_forgotten(history: History) -> None:
    opened, _ = await order(history, fox())
    doubted = await history.unknown(opened, error="no answer")
    running = replace(doubted, state="accepted", task_id="task-1", dialect="sdk", accepted_at=NOON, error=None)
    urls, expiry = ("https://x.test/1.png",), NOON + timedelta(days=7)
    done = replace(running, state="completed", finished_at=NOON, urls=urls, urls_expire_at=expiry, settled_cents=5)

    assert await history.latest(running) == running
    assert await history.latest(done) == done


async def test_what_another_process_noted_since_is_not_undone_by_what_was_seen(history: History) -> None:
    opened, _ = await order(history, fox())
    running = await history.accepted(opened, task_id="task-1", dialect="sdk")
    seen = await history.finished(running, state="completed", urls=["https://x.test/old"])
    newer = await history.finished(running, state="completed", urls=["https://x.test/new"], settled_cents=7)

    assert await history.latest(seen) == newer
    assert (await history.saved(seen, ["/pictures/fox.png"])).urls == newer.urls


async def test_the_cost_of_a_failure_stays_known_when_another_process_has_seen_a_picture(history: History) -> None:
    opened, _ = await order(history, fox())
    running = await history.accepted(opened, task_id="task-1", dialect="sdk")
    await history.finished(running, state="failed", settled_cents=7)
    seen = replace(running, state="completed", urls=("https://x.test/1.png",), finished_at=NOON)

    latest = await history.latest(seen)

    assert (latest.state, latest.settled_cents) == ("completed", 7)


async def test_unseen_is_what_was_neither_saved_nor_delivered_while_its_links_live(
    history: History, clock: Clock
) -> None:
    async def made(fingerprint: str, *, days: float = 7) -> Order:
        done = await painted(history, fingerprint)
        return await history.finished(
            done, state="completed", urls=done.urls, urls_expire_at=NOON + timedelta(days=days)
        )

    await history.saved(await made("saved"), [Path("/pictures/fox.png")])
    await history.delivered((await made("delivered")).id, owner="ann")
    await made("dead", days=1)
    elsewhere = await history.adopt(owner="ann", task_id="task-9", action="text_to_image", dialect="sdk")
    await history.finished(
        elsewhere, state="completed", urls=["https://x.test/9.png"], urls_expire_at=NOON + timedelta(days=7)
    )
    left: list[Order] = []
    for number in range(8):
        left.append(await made(f"{number}"))
        clock.forward(hours=number // 4)
    clock.time = NOON + timedelta(days=1)

    assert await history.unseen("ann") == sorted(left, key=lambda each: (each.created_at, each.id))


async def test_what_was_left_open_comes_in_the_order_in_which_it_was_ordered(history: History, clock: Clock) -> None:
    left: list[Order] = []
    for number in range(8):
        left.append((await order(history, fox(f"{number}")))[0])
        clock.forward(hours=number // 4)

    assert await history.unfinished("ann") == sorted(left, key=lambda each: (each.created_at, each.id))


async def test_forget_deletes_what_is_older(history: History, clock: Clock) -> None:
    await painted(history, "01d")
    clock.forward(days=1)
    young = await painted(history, "2e")

    assert await history.forget("ann", before=clock()) == 1
    assert (await history.recent("ann")).orders == (young,)


async def test_one_order_that_is_forgotten_takes_no_other_with_it(history: History) -> None:
    doomed, other = await painted(history, "1"), await painted(history, "2")

    assert await history.forget_one("ann", doomed.id) == 1
    assert (await history.recent("ann")).orders == (other,)


async def test_a_closed_history_opens_again(history: History) -> None:
    done = await painted(history)
    await history.aclose()

    assert await history.find("ann", done.id) == done


async def test_an_order_shows_no_words_and_no_signed_links(history: History) -> None:
    """It may end up in a log."""
    shown = repr(await painted(history))

    assert "fox" not in shown
    assert "https://" not in shown
    assert "key-1" not in shown


async def test_a_call_that_was_refused_does_not_take_away_the_doubt_of_another(history: History) -> None:
    """The answer to the other one was lost; only who knew of that may know better."""
    opened, _ = await order(history, fox())
    lost = await history.unknown(opened, error="no answer")

    late = await history.finished(opened, state="failed", error="402")
    known = await history.finished(lost, state="failed", error="422")

    assert (late.state, late.error) == ("unknown", "no answer")
    assert known.state == "failed"


async def test_pictures_that_are_wanted_elsewhere_by_now_are_not_noted(history: History) -> None:
    done = await painted(history)
    saved = await history.saved(done, ["/pictures/first.png"])
    await history.redirected(saved, save_to="elsewhere")

    after = await history.saved(done, ["/pictures/fox.png"])

    assert (after.paths, after.save_to) == ((), "elsewhere")


@pytest.mark.parametrize("mode", ["on", "private"])
@pytest.mark.parametrize("sent", [True, False])
async def test_an_order_is_given_up_only_as_long_as_nobody_is_about_to_send_it(
    folder: Path, mode: Literal["on", "private"], *, sent: bool
) -> None:
    """Two processes may have it in hand: whoever comes second learns what the first one did."""
    history = history_in(folder, mode=mode)
    opened, _ = await order(history, replace(fox(), request=None))
    was_first = sent and (await history.prepared(opened, request={"prompt": FOX}))[1]
    given_up = await history.given_up(opened, error="never sent")
    prepared, is_first = await history.prepared(opened, request={"prompt": FOX})
    await history.aclose()

    assert given_up.state == prepared.state == ("intended" if sent else "failed")
    assert (was_first, is_first) == (sent, False)
    assert (prepared.request is None) is not sent


@pytest.mark.parametrize("modes", [("on", "private"), ("private", "on"), ("private", "private")])
async def test_what_may_have_been_sent_is_not_given_up_by_a_history_that_keeps_more_or_less(
    folder: Path, modes: tuple[Literal["on", "private"], Literal["on", "private"]]
) -> None:
    """Whatever it kept of the request, it knows that there was one, also after it has noted something else."""
    before, after = (History(folder, mode=mode) for mode in modes)
    opened, _ = await order(before, fox())
    await before.aclose()
    [left] = await after.unfinished("ann")
    await after.redirected(left, save_to="elsewhere")
    given_up = await after.given_up(left, error="never sent")
    await after.aclose()

    assert (given_up.id, given_up.state) == (opened.id, "intended")
