"""Where every host keeps its config, and what its own published schema says of an entry."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from flux2_mcp.cli.hosts import HOSTS, Entry, Machine
from flux2_mcp.cli.launch import Start
from tests.install.computer import Computer

MAC = "Library/Application Support"
ROAMING = "AppData/Roaming"

PLACES = {
    ("claude-desktop", "linux"): ".config/Claude/claude_desktop_config.json",
    ("claude-desktop", "darwin"): f"{MAC}/Claude/claude_desktop_config.json",
    ("claude-desktop", "win32"): f"{ROAMING}/Claude/claude_desktop_config.json",
    ("vscode", "linux"): ".config/Code/User/mcp.json",
    ("vscode", "darwin"): f"{MAC}/Code/User/mcp.json",
    ("vscode", "win32"): f"{ROAMING}/Code/User/mcp.json",
    ("zed", "linux"): ".config/zed/settings.json",
    ("zed", "darwin"): ".config/zed/settings.json",
    ("zed", "win32"): f"{ROAMING}/Zed/settings.json",
    ("goose", "linux"): ".config/goose/config.yaml",
    ("goose", "darwin"): ".config/goose/config.yaml",
    ("goose", "win32"): f"{ROAMING}/Block/goose/config/config.yaml",
    **{
        (host, platform): place
        for platform in ("linux", "darwin", "win32")
        for host, place in {
            "claude-code": ".claude.json",
            "cursor": ".cursor/mcp.json",
            "windsurf": ".codeium/windsurf/mcp_config.json",
            "codex": ".codex/config.toml",
            "gemini-cli": ".gemini/settings.json",
            "openclaw": ".openclaw/openclaw.json",
        }.items()
    },
}


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
@pytest.mark.parametrize("host", HOSTS)
def test_where_each_host_keeps_its_config(host: str, platform: str) -> None:
    places = HOSTS[host].config_paths(Machine(Path("/home/ada"), {}, platform))

    assert [place.as_posix() for place in places] == [f"/home/ada/{PLACES[host, platform]}"]


@pytest.mark.parametrize(
    ("host", "platform", "variable", "place"),
    [
        ("claude-code", "linux", "CLAUDE_CONFIG_DIR", ".claude.json"),
        ("codex", "darwin", "CODEX_HOME", "config.toml"),
        ("gemini-cli", "linux", "GEMINI_CLI_HOME", ".gemini/settings.json"),
        ("openclaw", "linux", "OPENCLAW_STATE_DIR", "openclaw.json"),
        ("goose", "win32", "GOOSE_PATH_ROOT", "config/config.yaml"),
        ("goose", "linux", "XDG_CONFIG_HOME", "goose/config.yaml"),
        ("zed", "linux", "XDG_CONFIG_HOME", "zed/settings.json"),
        ("vscode", "linux", "XDG_CONFIG_HOME", "Code/User/mcp.json"),
        ("vscode", "win32", "APPDATA", "Code/User/mcp.json"),
        ("zed", "win32", "APPDATA", "Zed/settings.json"),
    ],
)
def test_a_variable_moves_it(host: str, platform: str, variable: str, place: str) -> None:
    [path] = HOSTS[host].config_paths(Machine(Path("/home/ada"), {variable: "/elsewhere"}, platform))

    assert path.as_posix() == f"/elsewhere/{place}"


def test_openclaws_config_may_be_any_file() -> None:
    machine = Machine(Path("/home/ada"), {"OPENCLAW_CONFIG_PATH": "/etc/claw.json"}, "linux")
    paths = HOSTS["openclaw"].config_paths(machine)

    assert paths == [Path("/etc/claw.json")]


def test_the_packaged_claude_desktop_reads_its_own_folder(tmp_path: Path) -> None:
    """On Windows it does not see what lies in %APPDATA% (claude-code#26073)."""
    package = tmp_path / "AppData/Local/Packages/Claude_pzs8sxrjxfjjc/LocalCache/Roaming/Claude"
    package.mkdir(parents=True)
    computer = Computer(tmp_path, platform="win32")

    computer.install("claude-desktop")

    assert HOSTS["claude-desktop"].entry((package / "claude_desktop_config.json").read_text(encoding="utf-8"))
    assert not (tmp_path / ROAMING).exists()


@pytest.mark.parametrize(
    ("command", "args"),
    [
        ("flux2-mcp", ()),
        ("C:\\Users\\ada\\Scripts\\flux2-mcp.exe", ()),
        ("/usr/bin/uvx", ("flux2-mcp",)),
        ("uvx", ("--from", "flux2-mcp==0.2", "flux2-mcp")),
        ("uvx", ("flux2-mcp@latest",)),
        ("python", ("-m", "flux2_mcp")),
    ],
)
def test_an_entry_of_ours_is_known_under_any_name(command: str, args: tuple[str, ...]) -> None:
    """`doctor` starts what a person pasted, too."""
    text = HOSTS["cursor"].format.put("", ("mcpServers", "mine"), {"command": command, "args": list(args)})

    assert HOSTS["cursor"].entry(text) == Entry(command, args)


def test_an_entry_of_somebody_elses_is_not_ours() -> None:
    text = '{"mcpServers": {"other": {"command": "npx", "args": ["flux2-mcp-tools", 3]}, "odd": 1}}'

    assert HOSTS["cursor"].entry(text) is None


VSCODE_STDIO = {"type", "command", "cwd", "args", "envFile", "env", "dev"}
"""What mcpConfiguration.ts of microsoft/vscode (0b37532c) allows in a server that is started, and nothing else."""


def test_vs_code_allows_every_member_that_is_written(tmp_path: Path) -> None:
    computer = Computer(tmp_path)

    computer.install("vscode", "--key-from-env", "--env", "FLUX2_SAVE=on")

    config = HOSTS["vscode"].format.read(computer.path("vscode").read_text(encoding="utf-8"))
    assert set(config) <= {"servers", "inputs"}
    assert set(computer.entry("vscode")) <= VSCODE_STDIO
    assert computer.entry("vscode")["type"] == "stdio"


def test_zed_gets_the_members_that_it_requires(tmp_path: Path) -> None:
    """ContextServerCommand in settings_content/src/project.rs of zed-industries/zed (006ce515): args has no default."""
    computer = Computer(tmp_path, program=Start("flux2-mcp"))

    computer.install("zed")

    assert set(computer.entry("zed")) == {"command", "args"}


def test_projects_keep_theirs_where_each_host_looks() -> None:
    projects = {host.name: PurePosixPath(*host.project).as_posix() for host in HOSTS.values() if host.project}

    assert projects == {
        "claude-code": ".mcp.json",
        "cursor": ".cursor/mcp.json",
        "vscode": ".vscode/mcp.json",
        "zed": ".zed/settings.json",
        "codex": ".codex/config.toml",
        "gemini-cli": ".gemini/settings.json",
    }
