"""flux2-mcp login and logout as people type them."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from flux2_mcp.cli import main
from tests.login.people import Computer
from tests.world import KEY


def exit_code_of(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


@pytest.fixture
def here(tmp_path: Path) -> Computer:
    return Computer(tmp_path / "home")


def test_a_key_on_the_command_line_is_refused_without_being_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of("login", "--token", KEY) == 2
    told = capsys.readouterr()
    assert "--token -" in told.err
    assert KEY not in told.out + told.err


def test_a_set_variable_wins_over_a_login(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)

    assert exit_code_of("login") == 1
    told = capsys.readouterr().err
    assert "RUNAPI_API_KEY is set, and it wins" in told
    assert KEY not in told


def test_a_key_from_stdin_that_cannot_be_checked_is_not_saved(
    here: Computer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing listens on port 9 of this machine."""
    monkeypatch.setenv("RUNAPI_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"  {KEY}\n"))

    assert exit_code_of("login", "--token", "-") == 1
    told = capsys.readouterr().err
    assert "could not be checked" in told
    assert KEY not in told
    assert not here.file.exists()


def test_a_logout_says_where_the_key_was(
    here: Computer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here.has({"api_key": KEY})

    assert exit_code_of("logout") == 0
    assert str(here.file) in capsys.readouterr().out
    assert exit_code_of("logout") == 0
    assert "There was no saved key" in capsys.readouterr().out

    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    assert exit_code_of("logout") == 0
    assert "RUNAPI_API_KEY is still set" in capsys.readouterr().out
