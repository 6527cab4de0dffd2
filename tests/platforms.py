"""Tests that mean nothing on some systems, and say so when they are skipped there."""

from __future__ import annotations

import re
import sys
from typing import Literal

import pytest

System = Literal["Linux", "macOS", "Windows"]

HERE = {"linux": "Linux", "darwin": "macOS", "win32": "Windows"}.get(sys.platform, sys.platform)

_PLATFORM = re.compile(r"(?P<how>only|not) on (?P<system>Linux|macOS|Windows): ")


def only_on(system: System, why: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(system != HERE, reason=f"only on {system}: {why}")


def not_on(system: System, why: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(system == HERE, reason=f"not on {system}: {why}")


def is_for_others(reason: str, here: str = HERE) -> bool:
    """Whether a test that was skipped for this reason could not have run on this system, whatever is installed."""
    found = _PLATFORM.search(reason)
    return bool(found) and (found["how"] == "only") == (found["system"] != here)


def reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why it was skipped, in the words of the mark or the call."""
    words = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    return words.removeprefix("Skipped: ")
