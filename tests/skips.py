"""A pytest plugin that says at the end what was not run, and what would have it run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from tests.platforms import is_for_others, reason


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped: list[pytest.TestReport | pytest.CollectReport] = terminalreporter.stats.get("skipped", [])
    if line := in_one_line(map(reason, skipped)):
        terminalreporter.write_line(line, yellow=True)


def in_one_line(reasons: Iterable[str]) -> str:
    """How many were not run, by reason; empty when all were that can be on this system."""
    counted = Counter(each for each in reasons if not is_for_others(each))
    return "Not run: " + "; ".join(f"{count}, as {why}" for why, count in counted.most_common()) if counted else ""
