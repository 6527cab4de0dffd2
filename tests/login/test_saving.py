"""The file that RunAPI's own tools share (fact sheet, section 7): what a login and a logout leave in it."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flux2_mcp.credentials import credentials, forget_key, masked, save_key
from flux2_mcp.errors import BadSetting
from flux2_mcp.settings import Settings
from tests.login.fake_browser import Computer
from tests.platforms import not_on
from tests.world import KEY

NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)


def save(here: Computer, *, base_url: str = "https://runapi.ai") -> None:
    save_key(KEY, here.keyring.settings, home=here.home, base_url=base_url, now=NOW)


@not_on("Windows", "it has no such modes")
def test_the_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    here = Computer(tmp_path)
    save(here)

    assert here.saved == {"api_key": KEY, "created_at": "2026-11-22T10:30:00Z"}
    assert stat.S_IMODE(here.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(here.file.parent.stat().st_mode) == 0o700
    assert os.listdir(here.file.parent) == ["config.json"]  # noqa: PTH208 the names alone


@not_on("Windows", "it has no such modes")
def test_a_file_that_others_could_read_becomes_private(tmp_path: Path) -> None:
    here = Computer(tmp_path)
    here.has({"api_key": "runapi_old"})
    here.file.chmod(0o644)
    save(here)

    assert stat.S_IMODE(here.file.stat().st_mode) == 0o600


def test_what_others_wrote_stays_and_old_spellings_go(tmp_path: Path) -> None:
    """RunAPI's command line reads `api_key` alone, so an `apiKey` beside it would be another key."""
    here = Computer(tmp_path)
    here.has(
        {"theirs": {"deep": [1, "é"]}, "apiKey": "runapi_old", "api_key": "runapi_older", "created_at": "long ago"}
    )
    save(here)

    assert here.saved == {"theirs": {"deep": [1, "é"]}, "api_key": KEY, "created_at": "2026-11-22T10:30:00Z"}


@pytest.mark.parametrize(
    ("before", "logged_in_at", "after"),
    [
        ({}, "https://runapi.ai", None),
        ({}, "https://other.test", "https://other.test"),
        ({"base_url": "https://runapi.ai"}, "https://runapi.ai", "https://runapi.ai"),
        ({"baseUrl": "https://old.test"}, "https://old.test", "https://old.test"),
        ({"base_url": "https://old.test"}, "https://runapi.ai", "https://runapi.ai"),
        ({"base_url": "https://a.test", "baseUrl": "https://b.test"}, "https://c.test", "https://c.test"),
    ],
)
def test_a_key_goes_only_where_it_was_got(
    tmp_path: Path, before: dict[str, object], logged_in_at: str, after: str | None
) -> None:
    """Not to an address that an earlier login left in the file, whichever spelling a tool prefers."""
    here = Computer(tmp_path)
    here.has(before)
    save(here, base_url=logged_in_at)

    assert here.saved.get("base_url") == after
    assert "baseUrl" not in here.saved
    assert credentials(Settings(), home=tmp_path).base_url == logged_in_at


def test_a_config_that_is_a_link_stays_one(tmp_path: Path) -> None:
    """Some people keep their settings in a repository, and link to them."""
    here = Computer(tmp_path)
    elsewhere = tmp_path / "dotfiles" / "runapi.json"
    elsewhere.parent.mkdir()
    elsewhere.write_text('{"theirs": 1}', encoding="utf-8")
    here.file.parent.mkdir(parents=True)
    here.file.symlink_to(elsewhere)
    save(here)

    assert here.file.is_symlink()
    assert json.loads(elsewhere.read_text(encoding="utf-8"))["api_key"] == KEY
    assert here.saved["theirs"] == 1


@pytest.mark.parametrize("content", ["[1]", "{", "\xff"])
def test_what_is_no_config_is_not_written_over(tmp_path: Path, content: str) -> None:
    here = Computer(tmp_path)
    here.file.parent.mkdir(parents=True)
    here.file.write_text(content, encoding="latin-1")
    with pytest.raises(BadSetting, match="left as it is"):
        save(here)

    assert here.file.read_text(encoding="latin-1") == content


def test_an_empty_file_is_as_good_as_none(tmp_path: Path) -> None:
    here = Computer(tmp_path)
    here.file.parent.mkdir(parents=True)
    here.file.touch()
    save(here)

    assert here.saved["api_key"] == KEY


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / ".config").touch()
    with pytest.raises(BadSetting, match="cannot be"):
        save(Computer(tmp_path))


def test_a_logout_takes_the_key_with_its_address_and_nothing_else(tmp_path: Path) -> None:
    here = Computer(tmp_path)
    here.has({"api_key": KEY, "apiKey": KEY, "created_at": "now", "base_url": "http://127.0.0.1:8787", "theirs": 1})

    assert forget_key(here.keyring.settings, home=tmp_path) == here.file
    assert here.saved == {"theirs": 1}
    assert forget_key(here.keyring.settings, home=tmp_path) is None


def test_a_logout_without_a_file_makes_none(tmp_path: Path) -> None:
    here = Computer(tmp_path)

    assert forget_key(here.keyring.settings, home=tmp_path) is None
    assert not here.file.exists()


@pytest.mark.parametrize(
    ("key", "look"),
    [
        ("runapi_abcdefghijkl1234", "runapi_abcd••••••••1234"),
        ("sk-abcdefghijkl1234", "sk-abcd••••••••1234"),
        ("abcdefghijkl1234", "abcd••••••••1234"),
        ("runapi_short", "runapi_••••••••"),
        ("short", "••••••••"),
    ],
)
def test_a_key_as_people_may_see_it(key: str, look: str) -> None:
    """The look of the vendor's own tools; of a short key nothing is shown."""
    assert masked(key) == look
