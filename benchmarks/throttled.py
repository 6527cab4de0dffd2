"""A burst of calls for an API that admits ten requests a second."""

from __future__ import annotations

import anyio

from benchmarks.report import Goal, Report, Row, main, middle
from benchmarks.servers import OURS, polling_every
from benchmarks.waiting import Waits, waits

BURST = 50
PACE = 10.0
SECONDS = 4.0
"""What each task takes."""
ALL_KNOWING = 2 * BURST
"""Requests that nobody can do without: one that makes each task, and one that sees it finished."""


async def measure() -> Report:
    """The burst for our server, and for ours polling every 2 s, each with a key of its own."""
    found: dict[str, Waits] = {}

    async def one(name: str, command: tuple[str, ...]) -> None:
        found[name] = await waits(command, [SECONDS] * BURST, known=[SECONDS] * 3, pace=PACE)

    async with anyio.create_task_group() as group:
        group.start_soon(one, "flux2-mcp", OURS)
        group.start_soon(one, "every 2 s", polling_every(2))
    ours = found["flux2-mcp"]
    return Report(
        f"A burst of {BURST} at {PACE:.0f} requests a second; an all-knowing client needs {ALL_KNOWING}",
        [_row(name, each) for name, each in sorted(found.items(), reverse=True)],
        [
            Goal("successes", len(ours.late), BURST, at_least=True),
            Goal("requests, beside an all-knowing client", ours.requests / ALL_KNOWING, 1.2, "×"),
        ],
    )


def _row(name: str, found: Waits) -> Row:
    return {
        "looks": name,
        "successes": len(found.late),
        "requests": found.requests,
        "of these refused": found.refused,
        "median overshoot, s": middle(found.late) if found.late else None,
        "all done after, s": round(found.seconds, 1),
    }


if __name__ == "__main__":
    main(measure)
