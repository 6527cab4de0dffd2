from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from flux2_mcp.cli.config_files import ConfigFile
from flux2_mcp.cli.hosts import HOSTS, Entry
from flux2_mcp.cli.launch import Start
from flux2_mcp.errors import BadSetting, UnreadableConfig
from tests.install.computer import PROGRAM, Computer, with_others
from tests.platforms import not_on

BROKEN = {"codex": "[mcp_servers\n", "goose": "extensions: {weather: [\n"}
ENTRY = Entry(PROGRAM.command, PROGRAM.args)

each_host = pytest.mark.parametrize("host", HOSTS)


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    home = tmp_path / "home"
    home.mkdir()
    return Computer(home)


@each_host
def test_a_host_without_a_config_gets_one(computer: Computer, host: str) -> None:
    computer.install(host)

    path = computer.path(host)
    assert list(computer.files()) == [path.relative_to(computer.home).as_posix()]
    assert HOSTS[host].entry(path.read_text(encoding="utf-8")) == ENTRY


@each_host
def test_an_empty_config_is_like_none(computer: Computer, host: str) -> None:
    path = computer.has(host, "\n")

    computer.install(host)

    assert HOSTS[host].entry(path.read_text(encoding="utf-8")) == ENTRY


@each_host
def test_what_else_is_in_a_config_stays(computer: Computer, host: str) -> None:
    """Not one line of the person's goes, comments and trailing commas included; a comma may have to be added."""
    before = with_others(HOSTS[host])
    path = computer.has(host, before)

    computer.install(host)

    after = path.read_text(encoding="utf-8")
    assert HOSTS[host].entry(after) == ENTRY
    assert {line.rstrip(",") for line in before.splitlines()} <= {line.rstrip(",") for line in after.splitlines()}
    assert HOSTS[host].entries(after)["weather"] == HOSTS[host].entries(before)["weather"]


@each_host
def test_a_config_may_begin_with_a_byte_order_mark(computer: Computer, host: str) -> None:
    """Programs of Windows write one before UTF-8."""
    path = computer.has(host, "\ufeff" + with_others(HOSTS[host]))

    computer.install(host)

    after = path.read_text(encoding="utf-8")
    assert HOSTS[host].entry(after) == ENTRY
    assert HOSTS[host].entries(after)["weather"] == HOSTS[host].entries(with_others(HOSTS[host]))["weather"]


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("codex", "a = " + "9" * 5000),
        ("codex", "a = " + "[" * 5000),
        ("goose", "a: " + "9" * 5000),
        ("goose", "a: !!int x"),
        ("goose", "[" * 1000),
        ("vscode", '{"a": ' + "9" * 5000 + "}"),
        ("claude-desktop", '{"a":' * 5000),
    ],
    ids=lambda text: text[:6],
)
def test_a_config_that_no_parser_gets_through_is_left_alone(computer: Computer, host: str, text: str) -> None:
    path = computer.has(host, text)

    with pytest.raises(UnreadableConfig, match="add it by hand"):
        computer.install(host)

    assert path.read_text(encoding="utf-8") == text


def test_a_config_that_uses_a_name_twice_is_edited_without_a_warning(computer: Computer) -> None:
    """YAML lets a later anchor replace an earlier one."""
    path = computer.has("goose", "a: &x 1\nb: &x 2\nc: *x\n")

    computer.install("goose")

    assert HOSTS["goose"].format.read(path.read_text(encoding="utf-8"))["c"] == 2


@each_host
def test_the_old_file_is_kept_beside_the_new_one(
    computer: Computer, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = with_others(HOSTS[host])
    path = computer.has(host, before)

    computer.install(host)

    kept = path.with_name(f"{path.name}.before-flux2")
    assert kept.read_text(encoding="utf-8") == before
    assert str(kept) in capsys.readouterr().out


@each_host
def test_a_second_time_changes_nothing(computer: Computer, host: str, capsys: pytest.CaptureFixture[str]) -> None:
    computer.has(host, with_others(HOSTS[host]))
    computer.install(host)
    once = computer.files()

    computer.install(host)

    assert computer.files() == once
    assert "Nothing was changed." in capsys.readouterr().out


@each_host
def test_what_an_entry_keeps_from_before_is_said(
    computer: Computer, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever tried a simulator must not find out from a picture that was never real."""
    computer.install(host, "--env", "RUNAPI_BASE_URL=http://127.0.0.1:8787", "--env", "FLUX2_HISTORY=off")
    capsys.readouterr()
    computer.install(host, "--env", "FLUX2_HISTORY=on")

    kept = "It still has RUNAPI_BASE_URL=http://127.0.0.1:8787, from before."
    assert f"{kept} `flux2-mcp uninstall {host}` takes that out, too." in capsys.readouterr().out


def test_a_host_that_is_not_there_yet_is_pointed_out(computer: Computer, capsys: pytest.CaptureFixture[str]) -> None:
    computer.install("zed")
    absent = capsys.readouterr().out
    computer.install("zed")

    words = "if Zed is not on this computer yet, install it."
    assert words in absent
    assert words not in capsys.readouterr().out


@each_host
def test_uninstall_gives_the_file_back_as_it_was(computer: Computer, host: str) -> None:
    before = with_others(HOSTS[host])
    path = computer.has(host, before)
    computer.install(host)

    computer.uninstall(host)

    assert path.read_text(encoding="utf-8") == before


def test_uninstall_has_a_next_step_of_its_own(computer: Computer, capsys: pytest.CaptureFixture[str]) -> None:
    computer.install("cursor")
    capsys.readouterr()

    computer.uninstall("cursor")

    assert "Next: restart Cursor" in capsys.readouterr().out


@each_host
def test_uninstall_without_an_entry_says_so(computer: Computer, host: str, capsys: pytest.CaptureFixture[str]) -> None:
    computer.has(host, with_others(HOSTS[host]))
    before = computer.files()

    computer.uninstall(host)

    assert computer.files() == before
    assert f"There is no entry flux2 in {HOSTS[host].title}'s config" in capsys.readouterr().out


@each_host
def test_a_broken_config_is_left_alone_and_the_entry_shown(computer: Computer, host: str) -> None:
    path = computer.has(host, BROKEN.get(host, '{"a": \n'))
    before = computer.files()

    with pytest.raises(UnreadableConfig) as refused:
        computer.install(host)

    assert computer.files() == before
    assert f"{path} was left as it is." in str(refused.value)
    snippet = str(refused.value).split("by hand:\n\n")[1]
    assert HOSTS[host].entry(snippet) == ENTRY


@each_host
def test_uninstall_leaves_a_broken_config_alone_too(computer: Computer, host: str) -> None:
    computer.has(host, BROKEN.get(host, '{"a": \n'))
    before = computer.files()

    with pytest.raises(UnreadableConfig, match="by hand"):
        computer.uninstall(host)

    assert computer.files() == before


@each_host
def test_a_section_of_another_kind_is_not_overwritten(computer: Computer, host: str) -> None:
    """`"mcpServers": []` is somebody's mistake, and theirs to fix."""
    section = HOSTS[host].section
    wrong = f'{section[0]} = "none"\n' if host == "codex" else json.dumps({section[0]: "none"})
    path = computer.has(host, wrong)

    with pytest.raises(UnreadableConfig):
        computer.install(host)

    assert path.read_text(encoding="utf-8") == wrong


@each_host
def test_print_shows_the_entry_and_touches_nothing(
    computer: Computer, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    computer.install(host, "--print")

    said = capsys.readouterr()
    assert computer.files() == {}
    assert HOSTS[host].entry(said.out) == ENTRY
    assert str(computer.path(host)) in said.err


@each_host
def test_an_older_entry_is_brought_up_to_date(computer: Computer, host: str) -> None:
    """The command changes with the installation; settings that the person added are theirs."""
    Computer(computer.home, program=Start("/old/flux2-mcp")).install(host, "--env", "FLUX2_PREVIEW=off")

    computer.install(host, "--env", "FLUX2_SAVE=on")

    entry = HOSTS[host].entry(computer.path(host).read_text(encoding="utf-8"))
    assert entry == Entry(PROGRAM.command, PROGRAM.args, {"FLUX2_PREVIEW": "off", "FLUX2_SAVE": "on"})


@each_host
def test_a_project_has_a_config_of_its_own_where_the_host_knows_such(computer: Computer, host: str) -> None:
    known = HOSTS[host].project
    if known is None:
        with pytest.raises(BadSetting, match="no config for a project"):
            computer.install(host, "--project", str(computer.home / "work"))
        return

    computer.install(host, "--project", str(computer.home / "work"))
    there = computer.files()
    computer.uninstall(host, "--project", str(computer.home / "work"))

    assert list(there) == ["/".join(("work", *known))]
    assert HOSTS[host].entry((computer.home / "work").joinpath(*known).read_text(encoding="utf-8")) is None


REFERENCES = {
    "claude-code": {"env": {"RUNAPI_API_KEY": "${RUNAPI_API_KEY}"}},
    "cursor": {"env": {"RUNAPI_API_KEY": "${env:RUNAPI_API_KEY}"}},
    "vscode": {"env": {"RUNAPI_API_KEY": "${env:RUNAPI_API_KEY}"}},
    "windsurf": {"env": {"RUNAPI_API_KEY": "${env:RUNAPI_API_KEY}"}},
    "codex": {"env_vars": ["RUNAPI_API_KEY"]},
    "gemini-cli": {"env": {"RUNAPI_API_KEY": "${RUNAPI_API_KEY}"}},
    "openclaw": {"env": {"RUNAPI_API_KEY": "${RUNAPI_API_KEY}"}},
    "goose": {"env_keys": ["RUNAPI_API_KEY"]},
}


@each_host
def test_the_key_comes_from_the_hosts_environment_when_asked(computer: Computer, host: str) -> None:
    if host not in REFERENCES:
        with pytest.raises(BadSetting, match="cannot refer to a variable"):
            computer.install(host, "--key-from-env")
        assert computer.files() == {}
        return

    computer.install(host)
    computer.install(host, "--key-from-env")

    assert REFERENCES[host].items() <= computer.entry(host).items()


@each_host
def test_a_key_is_never_written(computer: Computer, host: str) -> None:
    with pytest.raises(BadSetting) as refused:
        computer.install(host, "--env", "RUNAPI_API_KEY=runapi_secret")

    assert "flux2-mcp login" in str(refused.value)
    assert "runapi_secret" not in str(refused.value)
    assert computer.files() == {}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("FLUX2_OUTPUT=x", "There is no setting FLUX2_OUTPUT. There are FLUX2_ALLOW"),
        ("FLUX2_SAVE=perhaps", "FLUX2_SAVE: it may be 'on' or 'off'"),
        ("FLUX2_SAVE", "--env takes NAME=VALUE"),
        ("=x", "--env takes NAME=VALUE"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(computer: Computer, given: str, complaint: str) -> None:
    with pytest.raises(BadSetting) as refused:
        computer.install("zed", "--env", given)

    assert complaint in str(refused.value)
    assert computer.files() == {}


def test_a_folder_is_absolute_in_the_entry(computer: Computer) -> None:
    """A host's working directory may be anything, and hosts do not expand a tilde."""
    computer.install("zed", "--env", "FLUX2_OUTPUT_DIR=~/Art", "--env", "FLUX2_DATA_DIR=data", "--env", "A=~/x")

    env = {"FLUX2_OUTPUT_DIR": str(computer.home / "Art"), "FLUX2_DATA_DIR": str(Path("data").absolute()), "A": "~/x"}
    assert computer.entry("zed")["env"] == env


def test_what_a_person_added_to_our_entry_stays(computer: Computer) -> None:
    path = computer.has(
        "zed",
        """{
  "context_servers": {
    "flux2": {
      "enabled": false, // until Friday
      "command": "old",
      "env": { "FLUX2_PREVIEW": "512" },
    },
  },
}
""",
    )

    computer.install("zed")

    assert "// until Friday" in path.read_text(encoding="utf-8")
    assert computer.entry("zed") == {
        "enabled": False,
        "command": PROGRAM.command,
        "args": list(PROGRAM.args),
        "env": {"FLUX2_PREVIEW": "512"},
    }


def test_an_entry_of_another_kind_is_replaced(computer: Computer) -> None:
    """A URL beside a command would leave the host to guess."""
    computer.has("cursor", '{"mcpServers": {"flux2": {"url": "http://127.0.0.1:8765/mcp"}}}')

    computer.install("cursor")

    assert computer.entry("cursor") == {"command": PROGRAM.command, "args": list(PROGRAM.args)}


def test_a_second_entry_that_starts_us_is_pointed_out(computer: Computer, capsys: pytest.CaptureFixture[str]) -> None:
    computer.has("cursor", '{"mcpServers": {"pictures": {"command": "uvx", "args": ["flux2-mcp@0.1.0"]}}}')

    computer.install("cursor")
    computer.uninstall("cursor")

    said = capsys.readouterr().out
    assert "pictures starts flux2-mcp too: remove one" in said
    assert "It is not ours, so it stays." in said


def test_every_copy_is_kept(computer: Computer) -> None:
    path = computer.has("cursor", "{}\n")
    for name in ("one", "two", "three"):
        Computer(computer.home, program=Start(f"/{name}/flux2-mcp")).install("cursor")

    copies = sorted(each.name for each in path.parent.iterdir())
    assert copies == ["mcp.json", "mcp.json.before-flux2", "mcp.json.before-flux2.2", "mcp.json.before-flux2.3"]
    assert (path.parent / "mcp.json.before-flux2").read_text(encoding="utf-8") == "{}\n"


def test_a_link_stays_a_link(computer: Computer) -> None:
    """People keep such files in a repository of their own, and link to them."""
    real = computer.home / "dotfiles" / "mcp.json"
    real.parent.mkdir()
    real.write_text("{}\n", encoding="utf-8")
    path = computer.path("cursor")
    path.parent.mkdir()
    path.symlink_to(real)

    computer.install("cursor")

    assert path.is_symlink()
    assert HOSTS["cursor"].entry(real.read_text(encoding="utf-8")) == ENTRY


@not_on("Windows", "it has no such modes")
def test_what_was_private_stays_private(computer: Computer) -> None:
    path = computer.has("claude-code", "{}\n")
    path.chmod(0o600)

    computer.install("claude-code")

    for each in path.parent.glob(".claude.json*"):
        assert stat.S_IMODE(each.stat().st_mode) == 0o600


def test_windows_line_ends_and_a_byte_order_mark_survive(computer: Computer) -> None:
    path = computer.has("claude-desktop", '\ufeff{\r\n\t"theme": "dark"\r\n}\r\n')

    computer.install("claude-desktop")

    text = path.read_bytes().decode()
    assert text.startswith('\ufeff{\r\n\t"theme": "dark",\r\n\t"mcpServers": {\r\n\t\t"flux2": {\r\n')
    assert "\n" not in text.replace("\r\n", "")


@pytest.mark.parametrize(
    ("host", "old"),
    [("codex", 'model = "o5"\r\n\r\n[profiles.a]\r\nx = 1\r\n'), ("goose", "# mine\r\nGOOSE_MODEL: o5\r\n")],
)
def test_windows_line_ends_survive_in_toml_and_yaml(computer: Computer, host: str, old: str) -> None:
    path = computer.has(host, old)

    computer.install(host)
    installed = path.read_bytes().decode()
    computer.uninstall(host)
    removed = path.read_bytes().decode()

    assert "flux2" in installed
    assert "\n" not in installed.replace("\r\n", "")
    assert "\r\r" not in installed
    assert "\n" not in removed.replace("\r\n", "")


def test_a_file_that_cannot_be_read_is_left_alone(computer: Computer) -> None:
    path = computer.path("cursor")
    path.parent.mkdir()
    path.write_bytes(b'{"a": "\xff"}')

    with pytest.raises(UnreadableConfig, match="cannot be read: it is not UTF-8"):
        computer.install("cursor")

    assert path.read_bytes() == b'{"a": "\xff"}'


def test_what_a_host_wrote_meanwhile_is_not_lost(tmp_path: Path) -> None:
    """Claude Code writes to its config all the time."""
    path = tmp_path / ".claude.json"
    path.write_text("{}", encoding="utf-8")
    file = ConfigFile.read(path)
    path.write_text('{"count": 2}', encoding="utf-8")

    with pytest.raises(UnreadableConfig, match="changed just now"):
        file.replace('{"mcpServers": {}}')

    assert path.read_text(encoding="utf-8") == '{"count": 2}'


def test_a_path_that_cannot_be_written_is_named(computer: Computer) -> None:
    (computer.home / ".cursor").write_text("not a folder", encoding="utf-8")

    with pytest.raises(UnreadableConfig, match=r"mcp\.json cannot be"):
        computer.install("cursor")


def test_the_command_line_has_both(tmp_path: Path) -> None:
    """As a person runs it, with no more than a home folder."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    environ = {**kept, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    flux2 = [sys.executable, "-m", "flux2_mcp"]

    installed = subprocess.run([*flux2, "install", "cursor"], env=environ, capture_output=True, text=True, check=True)  # noqa: S603
    entry = HOSTS["cursor"].entry((tmp_path / ".cursor" / "mcp.json").read_text(encoding="utf-8"))
    refused = subprocess.run([*flux2, "install", "vim"], env=environ, capture_output=True, text=True, check=False)  # noqa: S603

    assert entry
    assert Path(entry.command).is_absolute()
    assert "Next: Look under MCP" in installed.stdout
    assert refused.returncode == 2
    assert "claude-desktop" in refused.stderr
