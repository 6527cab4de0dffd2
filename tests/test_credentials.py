"""Section 7 of the fact sheet: where a key is found, and which one wins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from flux2_mcp.credentials import Credentials, base_url, credentials
from flux2_mcp.errors import NoApiKey, UnusableApiKey
from flux2_mcp.settings import Settings

KEY = "runapi_testkey0123456789"
SAVED = "runapi_savedkey987654321"


def save(home: Path, content: object, *, folder: str = ".config/runapi") -> None:
    """Write a config file as one of RunAPI's own tools would."""
    path = home / folder / "config.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def found(home: Path, **environ: str) -> Credentials:
    return credentials(Settings.from_environ(environ), home=home)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    save(tmp_path, {"api_key": SAVED, "base_url": "https://saved.test"})

    assert found(tmp_path).key == SAVED
    assert found(tmp_path).base_url == "https://saved.test"
    assert found(tmp_path, RUNAPI_API_KEY=KEY).key == KEY
    assert found(tmp_path, RUNAPI_BASE_URL="https://set.test").base_url == "https://set.test"


def test_runapi_itself_is_the_default(tmp_path: Path) -> None:
    assert found(tmp_path, RUNAPI_API_KEY=KEY).base_url == "https://runapi.ai"
    assert base_url(Settings.from_environ({}), home=tmp_path) == "https://runapi.ai"


def test_a_key_from_the_environment_never_goes_to_the_saved_address(tmp_path: Path) -> None:
    """A login at a simulator leaves its address in the file, and that is nobody to show a real key to."""
    save(tmp_path, {"api_key": SAVED, "base_url": "http://127.0.0.1:8787"})

    assert found(tmp_path, RUNAPI_API_KEY=KEY).base_url == "https://runapi.ai"
    assert found(tmp_path, RUNAPI_API_KEY=KEY, RUNAPI_BASE_URL="https://set.test").base_url == "https://set.test"
    assert base_url(Settings.from_environ({"RUNAPI_API_KEY": KEY}), home=tmp_path) == "https://runapi.ai"


def test_the_saved_address_is_for_the_saved_key(tmp_path: Path) -> None:
    save(tmp_path, {"apiKey": SAVED, "baseUrl": "https://saved.test"})
    assert base_url(Settings.from_environ({}), home=tmp_path) == "https://saved.test"
    assert base_url(Settings.from_environ({"RUNAPI_BASE_URL": "https://set.test"}), home=tmp_path) == "https://set.test"

    save(tmp_path, {"baseUrl": "https://saved.test"})
    assert base_url(Settings.from_environ({}), home=tmp_path) == "https://runapi.ai"


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({}, ".config/runapi"),
        ({"XDG_CONFIG_HOME": "{home}/xdg"}, "xdg/runapi"),
        ({"RUNAPI_CONFIG_DIR": "{home}/mine"}, "mine"),
        ({"RUNAPI_CONFIG_DIR": "{home}/mine", "XDG_CONFIG_HOME": "{home}/xdg"}, "mine"),
        ({"RUNAPI_CONFIG_DIR": "~/mine"}, "mine"),
        ({"XDG_CONFIG_HOME": "~"}, "runapi"),
    ],
    ids=str,
)
def test_the_file_is_where_runapis_command_line_puts_it(tmp_path: Path, environ: Mapping[str, str], place: str) -> None:
    save(tmp_path, {"api_key": SAVED}, folder=place)

    assert found(tmp_path, **{name: value.format(home=tmp_path) for name, value in environ.items()}).key == SAVED


@pytest.mark.parametrize("folder", ["~no-such-user/runapi", "~~", ".", "nowhere", "/dev/null", "a\x00b"], ids=ascii)
def test_an_odd_folder_is_only_a_folder_without_a_file(tmp_path: Path, folder: str) -> None:
    """Python's own way to expand "~no-such-user" raises."""
    with pytest.raises(NoApiKey):
        found(tmp_path, RUNAPI_CONFIG_DIR=folder)


@pytest.mark.parametrize(
    ("content", "key", "address"),
    [
        ({"api_key": SAVED, "base_url": "https://a.test"}, SAVED, "https://a.test"),
        ({"apiKey": SAVED, "baseUrl": "https://b.test"}, SAVED, "https://b.test"),
        (
            {"api_key": SAVED, "apiKey": "other", "base_url": "https://a.test", "baseUrl": "https://b.test"},
            SAVED,
            "https://a.test",
        ),
        ({"api_key": "  ", "apiKey": f" {SAVED}\n", "base_url": ""}, SAVED, "https://runapi.ai"),
        ({"api_key": SAVED, "base_url": 5, "created_at": "2026-01-01", "more": {}}, SAVED, "https://runapi.ai"),
    ],
    ids=str,
)
def test_snake_case_wins_over_camel_case(tmp_path: Path, content: object, key: str, address: str) -> None:
    save(tmp_path, content)

    assert (found(tmp_path).key, found(tmp_path).base_url) == (key, address)


def test_a_file_saved_by_a_windows_editor_is_read(tmp_path: Path) -> None:
    """They begin it with a byte order mark."""
    save(tmp_path, "\ufeff" + json.dumps({"api_key": SAVED}))

    assert found(tmp_path).key == SAVED


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "{}",
        "[]",
        '"runapi_x"',
        "null",
        '{"api_key": null}',
        '{"api_key": 5}',
        '{"api_key": []}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:20],
)
def test_a_file_without_a_usable_key_is_like_none(tmp_path: Path, content: str) -> None:
    save(tmp_path, content)

    with pytest.raises(NoApiKey, match="no RunAPI key"):
        found(tmp_path)
    assert found(tmp_path, RUNAPI_API_KEY=KEY).key == KEY


def test_an_unreadable_file_is_like_none(tmp_path: Path) -> None:
    path = tmp_path / ".config/runapi/config.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(NoApiKey):
        found(tmp_path)

    path.unlink()
    path.mkdir()
    with pytest.raises(NoApiKey):
        found(tmp_path)


@pytest.mark.parametrize(
    "key", ["${RUNAPI_API_KEY}", "${env:RUNAPI_API_KEY}", "${input:key}", "$RUNAPI_API_KEY", "%KEY%"]
)
def test_a_placeholder_is_explained(tmp_path: Path, key: str) -> None:
    with pytest.raises(NoApiKey) as caught:
        found(tmp_path, RUNAPI_API_KEY=key)

    assert "RUNAPI_API_KEY is an unexpanded placeholder" in str(caught.value)
    assert "https://runapi.ai/api_keys" in str(caught.value)
    assert "Set the variable where the host is started" in str(caught.value)
    assert "Run `flux2-mcp login`" not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        "runapi_abc\ndef",
        "runapi_abc\r\nX-Evil: 1",
        "runapi_abc\x00def",
        "runapi_abc\x7fdef",
        "runapi_abc\tdef",
        "runapi abc def",
        "runapi_äbcdef",
        "sk-…secret",
        "runapi_abc\u200bdef",
        "runapi_abc\u00a0def",
        "runapi_" + "x" * 600,
    ],
    ids=ascii,
)
@pytest.mark.parametrize("source", ["RUNAPI_API_KEY", "The saved RunAPI key"])
def test_what_cannot_be_a_key_is_refused_and_never_quoted(tmp_path: Path, key: str, source: str) -> None:
    """The official server put such a key into an HTTP header, and the exception that this raised into its answer."""
    save(tmp_path, {"api_key": key})
    with pytest.raises(UnusableApiKey) as caught:
        found(tmp_path, **({"RUNAPI_API_KEY": key} if source == "RUNAPI_API_KEY" else {}))

    said = f"{caught.value} {caught.value!r} {vars(caught.value)}"
    assert source in said
    assert not any(part in said for part in ("abc", "def", "Evil", "secret", "xxx"))


@pytest.mark.parametrize("key", [f"  {KEY}  ", f"{KEY}\n", f"\t{KEY}\r\n"])
def test_blanks_around_a_key_are_the_clipboards(tmp_path: Path, key: str) -> None:
    assert found(tmp_path, RUNAPI_API_KEY=key).key == KEY


def test_a_key_saved_meanwhile_is_used(tmp_path: Path) -> None:
    """A login takes effect without a restart, as in RunAPI's own server."""
    settings = Settings.from_environ({})
    with pytest.raises(NoApiKey):
        credentials(settings, home=tmp_path)
    save(tmp_path, {"api_key": SAVED})
    assert credentials(settings, home=tmp_path).key == SAVED
    save(tmp_path, {"api_key": KEY})

    assert credentials(settings, home=tmp_path).key == KEY


def test_credentials_and_settings_do_not_show_the_key(tmp_path: Path) -> None:
    settings = Settings.from_environ({"RUNAPI_API_KEY": KEY})

    assert KEY not in f"{settings!r} {settings} {settings.model_dump_json()} {credentials(settings, home=tmp_path)!r}"
