"""When a task is looked at: what the schedule gains over a fixed interval."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, repeat, takewhile
from statistics import fmean, median, quantiles

import pytest

from flux2_mcp.polling import expected, intervals

RANDOM = random.Random(7)  # noqa: S311 a simulation
LOG_UNIFORM = [0.5 * 40 ** RANDOM.random() for _ in range(1000)]
"""Seconds, 0.5 to 20: all that is known is the magnitude."""
ALIKE = [8 * math.exp(RANDOM.gauss(0, 0.25)) for _ in range(1000)]
"""Seconds; the tasks of one model at one resolution."""


@dataclass
class Gain:
    median: float
    p99: float
    requests: float


def simulated(durations: Sequence[float], schedule: Callable[[], Iterator[float]]) -> Gain:
    """How late each task is noticed, in seconds, and how many requests that took, the create request included."""
    late: list[float] = []
    requests: list[int] = []
    for duration in durations:
        age, sent = 0.0, 1
        for pause in schedule():
            age, sent = age + pause, sent + 1
            if age >= duration:
                break
        late.append(age - duration)
        requests.append(sent)
    return Gain(median(late), quantiles(late, n=100)[98], fmean(requests))


def as_seen(durations: Sequence[float]) -> list[float]:
    """What the history knows of tasks: until when they were noticed, not when they ended."""
    return [next(age for age in accumulate(intervals()) if age >= duration) for duration in durations]


def every_two_seconds() -> Iterator[float]:
    """The vendor's own clients: a look at once, and then one every two seconds."""
    yield 0.0
    yield from repeat(2.0)


def test_unknown_tasks_are_noticed_soon_for_few_requests() -> None:
    ours, fixed = simulated(LOG_UNIFORM, intervals), simulated(LOG_UNIFORM, every_two_seconds)

    assert ours.median <= 0.5
    assert ours.p99 <= 1.5
    assert ours.requests <= 1.4 * fixed.requests


def test_twenty_similar_tasks_are_enough_to_look_at_the_right_moment() -> None:
    known = as_seen(ALIKE[:20])
    ours, fixed = simulated(ALIKE, lambda: intervals(known)), simulated(ALIKE, every_two_seconds)

    assert ours.median <= 0.4
    assert ours.p99 <= 1.5
    assert ours.requests <= 1.25 * fixed.requests


def test_known_tasks_are_left_alone_until_they_may_be_done() -> None:
    first = next(intervals(ALIKE[:20]))

    assert first > 3


def test_a_task_that_outlives_everything_known_is_still_looked_at() -> None:
    """Never faster than four times a second, never slower than every fourteenth of its age."""
    waits = list(islice(intervals([2.0] * 20), 60))

    assert min(waits) >= 0.25
    assert sum(waits) > 120
    age = 0.0
    for wait in waits:
        age += wait
        assert wait <= max(5.2, age / 13)


def test_a_task_that_is_taken_up_again_is_not_treated_as_new() -> None:
    assert next(intervals(ALIKE[:20], 8.0)) < 1.0


def test_how_long_it_takes_is_said_only_when_a_few_were_seen() -> None:
    assert expected([3.0, 4.0]) is None
    assert expected([3.0, 9.0, 4.0]) == 4.0


@pytest.mark.parametrize("known", [(), tuple(ALIKE[:20])], ids=["nothing known", "20 known"])
def test_where_many_are_waited_for_each_is_looked_at_less_often(known: tuple[float, ...]) -> None:
    """A look takes time from the others; for few it makes no difference."""

    def looks(waiting: int) -> int:
        ages = accumulate(intervals(known, 0.0, lambda: waiting))
        return sum(1 for _ in takewhile(lambda age: age < 12, ages))

    assert looks(1) == looks(50) >= looks(200) > looks(1000) >= 3
