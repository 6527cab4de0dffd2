"""flux2-mcp login and logout as people type them."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import anyio
import httpx
import pytest

from flux2_mcp.cli import main
from flux2_mcp.login import login_with, open_browser
from tests.login.fake_browser import Computer, served
from tests.platforms import not_on
from tests.processes import MODULE, ended, started
from tests.world import BASE_URL, KEY, NO_CERTIFICATES


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


async def test_the_command_prints_where_to_go_and_takes_what_comes_back(here: Computer) -> None:
    async with served(here.simulator) as base_url, httpx.AsyncClient(verify=NO_CERTIFICATES) as client:
        environ = {**os.environ, "RUNAPI_BASE_URL": base_url}
        with anyio.fail_after(60):
            async with started(*MODULE, "login", "--no-browser", environ=environ) as process:
                assert process.stdout
                told = b""
                while b"Waiting" not in told:
                    told += await process.stdout.receive()
                [url] = [word for word in told.decode().split() if word.startswith("http")]
                asked = dict(parse_qsl(urlsplit(url).query))
                await client.get(url)
                form = {"state": asked["state"], "answer": "allow"}
                await client.post(f"{base_url}/cli/authorize", data=form, follow_redirects=True)
                done = b"".join([part async for part in process.stdout]).decode().strip()
                code = await process.wait()

    assert code == 0
    assert asked["display_code"] in told.decode().partition("http")[0]
    assert done.startswith(f"Logged in at {base_url}: runapi_")
    assert str(here.saved["api_key"]) not in told.decode() + done


async def test_a_key_is_piped_in(here: Computer) -> None:
    async with served(here.simulator) as base_url:
        words, key = (*MODULE, "login", "--token", "-"), f"{KEY}\n".encode()
        done = await ended(*words, environ={**os.environ, "RUNAPI_BASE_URL": base_url}, given=key)

    assert here.saved["api_key"] == KEY
    assert KEY not in done.stdout.decode() + done.stderr.decode()
    assert "The balance is $10.00" in done.stdout.decode()


class Terminal(io.StringIO):
    """A person at a keyboard."""

    def isatty(self) -> bool:
        return True


def test_without_a_key_on_stdin_none_was_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))

    assert exit_code_of("login", "--token", "-") == 1
    assert "No key was given" in capsys.readouterr().err


def test_a_person_is_asked_before_a_key_for_elsewhere_is_replaced(
    here: Computer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here.has({"api_key": KEY})
    monkeypatch.setenv("RUNAPI_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))

    assert exit_code_of("login") == 1
    told = capsys.readouterr()
    assert "the saved key stays" in told.err
    assert "runapi_test••••••••6789, for https://runapi.ai" in told.out + told.err
    assert here.saved == {"api_key": KEY}


async def test_a_login_says_which_key_it_replaces(here: Computer) -> None:
    here.has({"api_key": "runapi_abcdefghijkl1234"})

    assert "It replaces the key runapi_abcd••••••••1234." in str(await login_with(KEY, here.keyring))
    assert "replaces" not in str(await login_with(KEY, here.keyring))


@pytest.mark.parametrize(
    ("saved", "key_to_replace"),
    [
        ({"api_key": KEY, "base_url": BASE_URL}, "runapi_test••••••••6789"),
        ({"api_key": KEY}, "runapi_test••••••••6789, for https://runapi.ai"),
        ({"api_key": "runapi_wrong0123456789", "base_url": BASE_URL}, ""),
        ({"base_url": BASE_URL}, ""),
    ],
    ids=["works", "for elsewhere", "is revoked", "no key"],
)
async def test_only_a_key_that_is_worth_something_is_asked_about(
    here: Computer, saved: dict[str, object], key_to_replace: str
) -> None:
    here.has(saved)

    assert await here.keyring.key_to_replace() == key_to_replace


@not_on("Windows", "there is always a screen")
@not_on("macOS", "there is always a screen")
def test_without_a_screen_no_browser_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser that runs in the terminal would take it over."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)

    assert not open_browser("https://runapi.test")
