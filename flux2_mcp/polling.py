"""poll(): a task as a stream of snapshots; intervals(): when to ask."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median, pvariance
from typing import TYPE_CHECKING

import anyio

from flux2_mcp.errors import KeyRejected, OutOfCredits, RunApiError, TaskOutOfSight
from flux2_mcp.runapi.models import Task

if TYPE_CHECKING:
    from flux2_mcp.runapi.client import RunAPI

Sleep = Callable[[float], Awaitable[None]]
Intervals = Callable[[Sequence[float], float, Callable[[], int]], Iterator[float]]
"""From the durations of similar tasks and the age of this one, in seconds, and how many tasks are waited for at any
moment, to the intervals between looks."""

FEWEST_SAMPLES = 3
STEP = 0.05
"""Seconds: how finely time is looked at, at first."""
WORTH_A_LOOK = 0.07
"""Seconds of expected lateness that one more request is worth."""
USUAL_SPREAD = 0.27
"""Standard deviation of the logarithms of durations, as assumed before any were seen."""
BELIEF = 16
"""How many samples this assumption weighs as much as: a few look more alike than tasks are."""
SEEN_LATE = 0.05
"""The share of a duration by which its end was noticed too late, on average."""
FEW = 50
"""So many tasks can be looked at without one being in the way of another."""
MANY = 200
"""From so many on, the longest pauses grow too."""
SHORTEST_PAUSE = 0.25
LONG_PAUSE = 0.95
LONG_PAUSE_WHEN_KNOWN = 0.75
LONGEST_PAUSE = 5.0
WORTH_CHECKING = 0.04
"""The chance of having ended unseen that makes a long pause too long."""
WORTH_SHOWING = 10.0
"""Seconds for which a completed task is looked at again while it shows no images."""

LASTING = (KeyRejected, OutOfCredits)
"""What RunAPI answers until somebody does something about it. Any other bad answer may be gone at the next look: it may
come from a gateway, and a task that was accepted a moment ago may not be shown everywhere yet."""


@dataclass(frozen=True)
class Snapshot:
    """The task as it was last seen, and what went wrong when it could not be seen this time."""

    task: Task
    error: RunApiError | None = None


class Timing:
    """How long tasks of one kind take, as far as that is known.

    Durations that were seen are taken for a sample of a log-normal distribution. A share as large as one more sample is
    kept for surprises, spread evenly over the magnitudes from half a second to half a minute; without samples, that is
    all there is.
    """

    def __init__(self, durations: Sequence[float]) -> None:
        logs = [math.log(max(seconds, 0.05)) for seconds in durations]
        self.is_known = len(logs) >= FEWEST_SAMPLES
        self._weight = len(logs) / (len(logs) + 1) if self.is_known else 0.0
        self._mean = fmean(logs) - SEEN_LATE if self.is_known else 0.0
        self._spread = _spread(logs) if self.is_known else 1.0

    def still_runs(self, seconds: float) -> float:
        """The chance that a task takes longer than this."""
        log = math.log(max(seconds, 1e-9))
        surprise = 1 - min(max((log - math.log(0.5)) / math.log(28 / 0.5), 0.0), 1.0)
        usual = math.erfc((log - self._mean) / self._spread / math.sqrt(2)) / 2
        return max(self._weight * usual + (1 - self._weight) * surprise, 1e-9)


def _spread(logs: Sequence[float]) -> float:
    """The standard deviation to expect of the next, after these and `BELIEF` in the usual one."""
    count = len(logs)
    variance = (count * pvariance(logs) + BELIEF * USUAL_SPREAD**2) / (count + BELIEF)
    return math.sqrt(variance) * (1 + 1 / count)


def alone() -> int:
    """For a task that is waited for alone."""
    return 1


def intervals(
    durations: Sequence[float] = (), elapsed: float = 0.0, waited_for: Callable[[], int] = alone
) -> Iterator[float]:
    """Yield the seconds to wait before each look at a task that has been running for `elapsed` seconds.

    One formula: looks are as dense as sqrt(hazard / 2c) per second, where the hazard is the chance that a running task
    ends in the next second, from the `durations` of others like it, and c is the lateness in seconds that one more
    request is worth. A pause p costs a request, and p * hazard * p / 2 seconds of lateness; that sum is least at
    p = sqrt(2c / hazard). No pause is shorter than 0.25 s. It is cut to 0.95 s, or 0.75 s when enough durations are
    known, once the task may well have ended in it, and to 5 s otherwise; for old tasks, to a fourteenth of their age
    where that is longer.

    A look takes time from the other tasks that this process waits for. Where `waited_for` says that they are many, c
    grows with their number, and so do the longest pauses.
    """
    timing = Timing(durations)
    long = LONG_PAUSE_WHEN_KNOWN if timing.is_known else LONG_PAUSE
    age = last = elapsed
    running = seen_running = timing.still_runs(age)
    looks = 0.0
    while True:
        step = max(STEP, age / 200)
        age += step
        before, running = running, timing.still_runs(age)
        hazard = 2 * (before - running) / (before + running) / step
        many = waited_for()
        looks += math.sqrt(hazard / (2 * WORTH_A_LOOK * max(1.0, many / FEW))) * step
        pause, longest = age - last, max(long * math.sqrt(max(1.0, many / MANY)), age / 14)
        due = looks >= 1 and pause >= SHORTEST_PAUSE
        overdue = pause >= longest and 1 - running / seen_running >= WORTH_CHECKING
        if due or overdue or pause >= max(LONGEST_PAUSE, longest):
            yield pause
            last, seen_running, looks = age, running, 0.0


def expected(durations: Sequence[float]) -> float | None:
    """Seconds that a task usually takes; None when too few like it were seen."""
    return median(durations) if len(durations) >= FEWEST_SAMPLES else None


async def poll(
    runapi: RunAPI, task: Task, *, waits: Iterator[float], sleep: Sleep = anyio.sleep
) -> AsyncGenerator[Snapshot, None]:
    """Yield the task after every look, until it is over. The caller decides how long to wait.

    A task that is over already is not looked at again, unless it is said to be completed and shows no images: they may
    arrive a moment later, and the answer to a repeated create request may leave them out. Such a task is looked at once
    more at least, and for `WORTH_SHOWING` seconds of waits at most.

    Raises:
        TaskOutOfSight: RunAPI refuses the key or the account, and will go on refusing.
    """
    if _is_shown_whole(task):
        return
    unshown = 0.0
    last_error: RunApiError | None = None
    while True:
        asked = (last_error.retry_after if last_error else task.retry_after) or 0.0
        wait = max(next(waits), asked)
        await sleep(wait)
        unshown += max(wait, SHORTEST_PAUSE) if task.is_over else 0.0
        last_error = None
        try:
            task = await runapi.look(task)
        except LASTING as error:
            raise TaskOutOfSight(error.message, task_id=task.id) from error
        except RunApiError as error:
            last_error = error
        yield Snapshot(task, last_error)
        if last_error is None and (_is_shown_whole(task) or (task.is_over and unshown >= WORTH_SHOWING)):
            return


def _is_shown_whole(task: Task) -> bool:
    """Whether nothing more is to be seen of it. Images alone prove nothing: their addresses may be given beforehand."""
    return task.status == "failed" or (task.is_over and bool(task.images))
