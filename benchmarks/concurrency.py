"""Many calls that wait at once on one stdio server, previews and saving off."""

from __future__ import annotations

import math
import random

from benchmarks.report import Goal, Report, Row, main, middle, p99
from benchmarks.servers import OURS, THIN
from benchmarks.waiting import Waits, waits

CROWDS = (50, 200, 1000)
SETTLED = 10.0
"""Seconds."""
_RANDOM = random.Random(11)  # noqa: S311 a simulation


async def measure() -> Report:
    """One crowd after another, each on a server of its own that has seen 20 such tasks; the last on both."""
    found = {crowd: await waits(OURS, _alike(crowd), known=_alike(20), settles=SETTLED) for crowd in CROWDS}
    thin = await waits(THIN, _alike(max(CROWDS)), known=_alike(20), settles=SETTLED)
    return Report(
        "Waiting calls on one stdio server; tasks around 8 s, 20 known",
        [*(_row("flux2-mcp", crowd, each) for crowd, each in found.items()), _row("thin proxy", max(CROWDS), thin)],
        [
            Goal("200 calls: p99 overshoot", p99(found[200].late), 1.0, "s"),
            Goal("1,000 calls: errors", len(found[1000].errors), 0),
            Goal("1,000 calls: p99 overshoot", p99(found[1000].late), 2.0, "s"),
            Goal("1,000 calls: peak memory", found[1000].peak_mib, 250, "MiB"),
            Goal(
                f"1,000 calls: memory {SETTLED:g} s later, above before",
                found[1000].settled_mib - found[1000].idle_mib,
                30,
                "MiB",
            ),
        ],
    )


def _row(server: str, crowd: int, found: Waits) -> Row:
    return {
        "server": server,
        "calls": crowd,
        "median, s": middle(found.late),
        "p99, s": round(p99(found.late), 3),
        "requests per task": round(found.requests / crowd, 2),
        "errors": len(found.errors),
        "CPU per call, ms": round(found.cpu_seconds / crowd * 1000, 1),
        "memory before, MiB": round(found.idle_mib),
        "peak": round(found.peak_mib),
        f"{SETTLED:g} s later": round(found.settled_mib),
        "all done after, s": round(found.seconds, 1),
    }


def _alike(count: int) -> list[float]:
    return [8 * math.exp(_RANDOM.gauss(0, 0.25)) for _ in range(count)]


if __name__ == "__main__":
    main(measure)
