"""Try every cell, or those whose name matches, and write docs/reliability.md: python -m tests.reliability [PATTERN]."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio

from tests.processes import forking
from tests.reliability.cells import Cell, cells, tried
from tests.reliability.judge import broken_promises, mark_of
from tests.reliability.table import Result, document

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
AT_ONCE = 16
SLOW_AT_ONCE = 80
"""Cells that wait for our own limits do nothing meanwhile."""
TOLD_EACH = 100


async def results_of(chosen: Sequence[Cell], *, told: bool = False) -> Sequence[Result]:
    """What comes of these cells, which are tried side by side."""
    found: dict[Cell, Result] = {}
    limiters = {True: anyio.CapacityLimiter(AT_ONCE), False: anyio.CapacityLimiter(SLOW_AT_ONCE)}

    async def judged(cell: Cell) -> None:
        async with limiters[cell.is_quick]:
            record = await tried(cell)
        broken = broken_promises(record)
        found[cell] = Result(cell, mark_of(record) if record.said else None, broken)
        if told:
            _tell(found[cell], len(found), len(chosen))

    async with anyio.create_task_group() as group:
        for cell in sorted(chosen, key=lambda each: each.is_quick):
            group.start_soon(judged, cell)
    return [found[cell] for cell in chosen]


def _tell(result: Result, nth: int, of: int) -> None:
    if not result.is_green:
        print(f"not green: {result.cell}")
        for promise, what in result.broken.items():
            print(f"  {promise}: {what}")
    if nth % TOLD_EACH == 0:
        print(f"{nth} of {of}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("pattern", nargs="?", help="what the names of the cells to try match; no file is written then")
    pattern: str | None = parser.parse_args().pattern
    chosen = [cell for cell in cells() if pattern is None or re.search(pattern, str(cell), re.IGNORECASE)]
    if pattern:
        print("\n".join(map(str, chosen)))
    with forking():
        results = anyio.run(lambda: results_of(chosen, told=True))
    if pattern is None:
        DOCUMENT.write_text(document(results), encoding="utf-8")
    red = sum(not result.is_green for result in results)
    print(f"{len(results)} cells, {red} not green.")
    sys.exit(1 if red else 0)


if __name__ == "__main__":
    main()
