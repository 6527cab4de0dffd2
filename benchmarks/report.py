"""What a benchmark found, as a table for people or as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles

import anyio
from rich.console import Console
from rich.table import Table

Cell = str | float | int | None
Row = Mapping[str, Cell]
WIDTH = 200
"""Columns of a table that is printed into a file."""


@dataclass(frozen=True)
class Goal:
    """A figure that must not pass its limit, or with `at_least` must reach it."""

    name: str
    measured: float
    limit: float
    unit: str = ""
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


@dataclass(frozen=True)
class Report:
    """Rows that were measured side by side, and the goals they are held against."""

    title: str
    rows: Sequence[Row] = ()
    goals: Sequence[Goal] = ()


def main(measure: Callable[[], Awaitable[Report]]) -> None:
    """Run one benchmark as a command."""
    parser = argparse.ArgumentParser(description=measure.__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    report = anyio.run(measure)
    if options.json:
        print(json.dumps({"machine": machine(), **asdict(report)}))
    else:
        show(report)


def show(report: Report) -> None:
    """Print the tables."""
    console = printer()
    console.print(_table(report.title, report.rows))
    if report.goals:
        console.print(goals_table(report.goals))


def printer() -> Console:
    """A terminal as wide as it is, and a file in which no figure is cut off."""
    return Console(width=None if sys.stdout.isatty() else WIDTH)


def goals_table(goals: Sequence[Goal]) -> Table:
    """Each goal beside what was measured."""
    rows: list[Row] = [
        {
            "goal": goal.name,
            "limit": f"{'≥' if goal.at_least else '≤'} {_shown(goal.limit)} {goal.unit}".rstrip(),
            "measured": f"{_shown(goal.measured)} {goal.unit}".rstrip(),
            "": "met" if goal.is_met else "missed",
        }
        for goal in goals
    ]
    return _table("Goals", rows)


def machine() -> str:
    """Where this was measured."""
    return (
        f"{os.cpu_count()} CPUs, Python {platform.python_version()}, {platform.system()}, load {os.getloadavg()[0]:.1f}"
    )


def p99(values: Sequence[float]) -> float:
    """The 99th percentile; of a few values, nearly the largest."""
    return quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]


def middle(values: Sequence[float]) -> float:
    """The median, rounded to what can be believed."""
    return round(median(values), 3)


def _table(title: str, rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in rows[0] if rows else ():
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*map(_shown, row.values()))
    return table


def _shown(cell: Cell) -> str:
    if cell is None:
        return "–"
    return (
        f"{cell:,.3g}"
        if isinstance(cell, float) and cell < 1000
        else f"{cell:,.0f}"
        if isinstance(cell, float | int)
        else cell
    )
