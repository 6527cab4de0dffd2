"""A pytest plugin for CI, where a test that did not run has not passed: python -m pytest -p tests.no_skips.

Only one that is for another system may be skipped: tests/platforms.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.platforms import is_for_others, reason

if TYPE_CHECKING:
    from collections.abc import Generator

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _a_skip_is_a_failure((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _a_skip_is_a_failure((yield))


def _a_skip_is_a_failure(report: Report) -> Report:
    # An expected failure is reported as skipped too, but it ran.
    if report.skipped and not hasattr(report, "wasxfail") and not is_for_others(reason(report)):
        report.outcome = "failed"
        report.longrepr = f"Not run, and CI skips nothing: {report.longreprtext or report.longrepr}"
    return report
