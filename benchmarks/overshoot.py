"""How long a finished picture waits to be noticed, and how many requests that takes, beside fixed intervals."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from statistics import median

import anyio

from benchmarks.report import Goal, Report, Row, main, middle, p99
from benchmarks.servers import KNOWING_NOTHING, OURS, polling_every
from benchmarks.waiting import Waits, waits

TASKS = 90
APART = 0.2
"""Seconds between two calls; `concurrency` measures what a crowd adds."""
Commands = dict[str, tuple[str, ...]]
FIXED: Commands = {"every 2 s": polling_every(2), "every 5 s": polling_every(5)}

_RANDOM = random.Random(7)  # noqa: S311 a simulation
MAGNITUDES = [0.5 * 40 ** _RANDOM.random() for _ in range(TASKS)]
"""Seconds, 0.5 to 20, log-uniform: nothing is known but the magnitude."""
ALIKE = [8 * math.exp(_RANDOM.gauss(0, 0.25)) for _ in range(TASKS)]
"""Seconds; the tasks of one model at one resolution."""
KNOWN = [8 * math.exp(_RANDOM.gauss(0, 0.25)) for _ in range(20)]


async def measure() -> Report:
    """The same tasks for three servers at once: ours, and ours polling at the vendor's intervals."""
    unknown = await _side_by_side({"flux2-mcp": KNOWING_NOTHING, **FIXED}, MAGNITUDES, (1.0,))
    alike = await _side_by_side({"flux2-mcp": OURS, **FIXED}, ALIKE, KNOWN)
    return Report(
        f"Overshoot, {TASKS} tasks for each server, one every {APART} s",
        [*_rows("0.5–20 s, unknown", unknown), *_rows("around 8 s, 20 known", alike)],
        [*_goals("unknown", unknown, most=0.5, more=1.4), *_goals("known", alike, most=0.4, more=1.25)],
    )


def _rows(tasks: str, found: Mapping[str, Waits]) -> list[Row]:
    return [
        {
            "tasks": tasks,
            "looks": name,
            "median, s": middle(each.late),
            "p99, s": round(p99(each.late), 3),
            "requests per task": round(each.requests / TASKS, 2),
            "errors": len(each.errors),
        }
        for name, each in found.items()
    ]


def _goals(tasks: str, found: Mapping[str, Waits], *, most: float, more: float) -> list[Goal]:
    ours, fixed = found["flux2-mcp"], found["every 2 s"]
    return [
        Goal(f"{tasks}: median", median(ours.late), most, "s"),
        Goal(f"{tasks}: p99", p99(ours.late), 1.5, "s"),
        Goal(f"{tasks}: requests, beside every 2 s", ours.requests / fixed.requests, more, "×"),
    ]


async def _side_by_side(servers: Commands, durations: Sequence[float], known: Sequence[float]) -> dict[str, Waits]:
    found: dict[str, Waits] = {}

    async def one(name: str) -> None:
        found[name] = await waits(servers[name], durations, known=known, apart=APART)

    async with anyio.create_task_group() as group:
        for name in servers:
            group.start_soon(one, name)
    return {name: found[name] for name in servers}


if __name__ == "__main__":
    main(measure)
