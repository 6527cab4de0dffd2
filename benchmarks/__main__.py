"""Run all benchmarks, one after the other, and hold what they found against the goals."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

from benchmarks.report import Goal, Report, goals_table, machine, printer, show

ALL = ("startup", "overshoot", "concurrency", "throttled", "images", "looks", "cost", "footprint", "throughput", "load")


def run() -> None:
    """Each in a process of its own, so that none finds what another has left in memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object per benchmark instead of tables")
    options = parser.parse_args()
    goals: list[Goal] = []
    if not options.json:
        print(machine())
    for name in ALL:
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json"]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        if options.json:
            print(found, end="", flush=True)
            continue
        data: dict[str, Any] = json.loads(found)
        print(f"\npython -m benchmarks.{name}")
        show(Report(data["title"], data["rows"]))
        goals += [Goal(**goal) for goal in data["goals"]]
    if goals:
        printer().print(goals_table(goals))


if __name__ == "__main__":
    run()
