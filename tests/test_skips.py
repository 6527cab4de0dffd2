from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.platforms import is_for_others
from tests.skips import in_one_line

SUITE = """
import pytest
from tests.platforms import HERE, not_on
pytest_plugins = ["tests.skips"]
@not_on(HERE, "it says so")
def test_elsewhere(): ...
@pytest.mark.skipif(True, reason="there is no browser: apt-get install one")
def test_browser(): ...
"""
ROOT = Path(__file__).resolve().parents[1]


def run(folder: Path, *options: str) -> str:
    (folder / "test_it.py").write_text(SUITE, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder)]
    ended = subprocess.run(  # noqa: S603 our own pytest
        [*command, *options, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return ended.stdout


def test_what_was_not_run_is_said_in_one_line(tmp_path: Path) -> None:
    assert "Not run: 1, as there is no browser: apt-get install one\n" in run(tmp_path)


def test_in_ci_only_what_is_for_another_system_may_be_skipped(tmp_path: Path) -> None:
    said = run(tmp_path, "-p", "tests.no_skips")

    assert "1 skipped, 1 error" in said
    assert "CI skips nothing: " in said


def test_when_all_were_run_nothing_is_said() -> None:
    assert in_one_line([]) == ""


@pytest.mark.parametrize(
    ("reason", "here", "elsewhere"),
    [
        ("only on Linux: it has /proc", "Windows", True),
        ("only on Linux: it has /proc", "Linux", False),
        ("not on Windows: it has no such modes", "Windows", True),
        ("not on Windows: it has no such modes", "Linux", False),
        ("there is no browser on Linux", "Windows", False),
    ],
)
def test_a_platform_excuses_itself_only(reason: str, here: str, *, elsewhere: bool) -> None:
    assert is_for_others(reason, here) is elsewhere
