"""What a finished picture costs the machine: CPU beside a thin proxy, and memory while pictures come and go."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import repeat

import anyio

from benchmarks.images import ONE_MEGAPIXEL, photograph
from benchmarks.report import Goal, Report, Row, main, middle, p99
from benchmarks.runapi import PlainRunAPI
from benchmarks.servers import OURS, PLAIN, THIN, THIN_WITH_PICTURES, running, served
from benchmarks.waiting import Waits, waits

CALLS = 200
TASK = 2.0
"""Seconds."""
ROUNDS = 3

SAVING = {"FLUX2_PREVIEW": "off"}
COMPETITORS: Mapping[str, tuple[tuple[str, ...], Mapping[str, str]]] = {
    "thin proxy": (THIN, {}),
    "flux2-mcp, nothing shown or saved": (OURS, PLAIN),
    "flux2-mcp, and no history": (OURS, {**PLAIN, "FLUX2_HISTORY": "off"}),
    "thin proxy that downloads": (THIN_WITH_PICTURES, {}),
    "flux2-mcp, saved": (OURS, SAVING),
    "flux2-mcp, saved and shown": (OURS, {}),
}

AT_ONCE = 10
MEGABYTES_OF_ONE_MEGAPIXEL = 1.51
"""Of `photograph`."""
SHOWN_AFTER = (30, 40, 120, 240)
CROWDS_OF_PICTURES = ((240, 1.2, 30.0), (40, 6.0, 60.0))
"""How many, of how many megabytes each, and how many MiB the server may grow after the first ten."""


async def measure() -> Report:
    """Calls that arrive together, each server in turn; then pictures ten at a time."""
    found: dict[str, list[Waits]] = {name: [] for name in COMPETITORS}
    for _ in range(ROUNDS):
        for name, (command, environ) in COMPETITORS.items():
            found[name].append(await waits(command, [TASK] * CALLS, known=[0.0] * 3, environ=environ))
    costs = {name: middle([each.cpu_seconds / CALLS * 1000 for each in rounds]) for name, rounds in found.items()}
    memory = [await _memory(*crowd) for crowd in CROWDS_OF_PICTURES]
    plain, saved = "flux2-mcp, nothing shown or saved", "flux2-mcp, saved"
    late = max(p99(each.late) for each in found[plain])
    return Report(
        f"{CALLS} generates at once, tasks of {TASK:g} s, median of {ROUNDS} rounds; pictures, {AT_ONCE} at a time",
        [
            *({"what": f"CPU per call, {name}", "": cost, "unit": "ms"} for name, cost in costs.items()),
            *(row for rows, _ in memory for row in rows),
        ],
        [
            Goal("CPU beside a thin proxy", costs[plain] / costs["thin proxy"], 2.5, "×"),
            Goal("CPU, saved, beside one that downloads", costs[saved] / costs["thin proxy that downloads"], 1.6, "×"),
            Goal(f"{CALLS} at once, never seen before: p99 overshoot", late, 1.0, "s"),
            *(goal for _, goal in memory),
        ],
    )


async def _memory(count: int, megabytes: float, most: float) -> tuple[list[Row], Goal]:
    """What the process holds while so many pictures come and go, saved and shown."""
    name = f"pictures of {megabytes:g} MB"
    runapi = PlainRunAPI(
        repeat(0.0), photograph(round(ONE_MEGAPIXEL * (megabytes / MEGABYTES_OF_ONE_MEGAPIXEL) ** 0.5))
    )
    rows: list[Row] = []
    async with served(runapi) as base_url, running(OURS, base_url) as server:
        first = 0.0
        for begun in range(0, count, AT_ONCE):
            async with anyio.create_task_group() as group:
                for n in range(begun, begun + AT_ONCE):
                    group.start_soon(server.call, "generate", {"prompt": f"fox {n}", "wait_seconds": 120})
            if begun == 0:
                server.forget_peak()
                first = server.memory("VmRSS")
                rows.append({"what": f"after the first {AT_ONCE} {name}", "": round(first), "unit": "MiB"})
            elif begun + AT_ONCE in SHOWN_AFTER:
                rows.append({"what": f"after {begun + AT_ONCE}", "": round(server.memory("VmRSS")), "unit": "MiB"})
        peak = server.memory()
    rows.append({"what": f"at most, from then to the last of {count}", "": round(peak), "unit": "MiB"})
    return rows, Goal(f"{count} {name}: memory above that after {AT_ONCE}", peak - first, most, "MiB")


if __name__ == "__main__":
    main(measure)
