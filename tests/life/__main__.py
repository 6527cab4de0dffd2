"""Live through a day over stdio and one over HTTP, and print what was seen: python -m tests.life [CALLS]."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import anyio
from rich.console import Console
from rich.table import Table

from tests.life.day import CALLS, LOOKS, Day, a_day
from tests.processes import forking


def table(days: Sequence[Day]) -> Table:
    """What was seen, for people."""
    shown = Table(title="A simulated day", title_justify="left")
    columns = ("server", "calls", "tasks made", "memory, MiB", "descriptors", "threads", "asyncio tasks", "WAL, MiB")
    for column in columns:
        shown.add_column(column, justify="left" if column == "server" else "right")
    for day in days:
        for each in day.footprints[:: LOOKS // 4] + day.footprints[-1:]:
            figures = (f"{each.mib:.0f}", each.files, each.threads, each.tasks, f"{each.wal_mib:.1f}")
            made = day.tasks if each is day.footprints[-1] else ""
            shown.add_row(day.name, f"{each.calls:,}", f"{made}", *map(str, figures))
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.life", description=__doc__)
    parser.add_argument("calls", nargs="?", type=int, default=CALLS, help="how many calls each server gets")
    with forking():
        days = anyio.run(a_day, parser.parse_args().calls)
    Console(width=120).print(table(days))
    problems = [f"{day.name}: {problem}" for day in days for problem in day.problems]
    print("\n".join(problems) or "Nothing has grown, and every picture was paid once.")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
