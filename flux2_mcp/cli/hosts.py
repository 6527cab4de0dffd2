"""The hosts we know: where each keeps its config, in which format, and what an entry looks like there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import cast

from flux2_mcp.cli.config_editors import Format, Setting
from flux2_mcp.cli.config_editors.json_text import Json
from flux2_mcp.cli.config_editors.toml_text import Toml
from flux2_mcp.cli.config_editors.yaml_text import Yaml
from flux2_mcp.errors import UnreadableConfig

NAME = "flux2"
"""What our entry is called in every host."""

KEY = "RUNAPI_API_KEY"


@dataclass(frozen=True)
class Machine:
    """What decides where a program keeps its files."""

    home: Path
    environ: Mapping[str, str]
    platform: str
    """As sys.platform has it: darwin, win32 or linux."""

    def folder(self, variable: str, *otherwise: str) -> Path:
        """The folder that an environment variable names, or else this one in the home folder."""
        given = self.environ.get(variable, "")
        return Path(given) if given else self.home.joinpath(*otherwise)

    @property
    def app_data(self) -> Path:
        """Where desktop programs keep their settings."""
        if self.platform == "darwin":
            return self.home / "Library" / "Application Support"
        if self.platform == "win32":
            return self.folder("APPDATA", "AppData", "Roaming")
        return self.dot_config

    @property
    def dot_config(self) -> Path:
        """~/.config, which programs from the Unix world use on macOS too."""
        return self.folder("XDG_CONFIG_HOME", ".config") if self.platform == "linux" else self.home / ".config"


@dataclass(frozen=True)
class Entry:
    """How a host starts a server."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Keys:
    """What a format calls the parts of an entry."""

    command: str = "command"
    args: str = "args"
    env: str = "env"


@dataclass(frozen=True)
class Host:
    """A program that people talk to a model in, and that can start MCP servers."""

    name: str
    title: str
    format: Format
    section: tuple[str, ...]
    """The path to the object that holds one entry per server."""
    config_paths: Callable[[Machine], Sequence[Path]]
    """Where a person's config may lie, whether or not it is there; the last is the usual one."""
    project: tuple[str, ...] | None = None
    """The config file of a project, below its folder."""
    keys: Keys = Keys()
    extras: Mapping[str, Setting] = field(default_factory=dict[str, Setting])
    """What else an entry needs in this host, unless it already says something there."""
    key_reference: str | None = None
    """How an entry refers to the variable RUNAPI_API_KEY of the host's environment, as a value in its `env`."""
    key_list: str | None = None
    """The member that lists the names of variables to hand on, in hosts that have one instead."""
    restart: str = "Restart it"
    """What makes the host notice."""

    def fills_in(self, placeholder: str) -> bool:
        """Whether this host puts something in the place of such a placeholder."""
        if self.key_reference is None:
            return False
        # Of those that write ${env:NAME}, some know other kinds too, such as ${input:name}.
        form = r"\$\{\w+:.+\}" if ":" in self.key_reference else r"\$\{.+\}|\$\w+"
        return re.fullmatch(form, placeholder) is not None

    def entry(self, text: str) -> Entry | None:
        """How this config starts us: the entry of our name, or else any that runs flux2-mcp.

        Raises:
            UnreadableConfig: The host could not read this text either.
        """
        entries = self.entries(text)
        ours = {NAME: entries.pop(NAME), **entries} if NAME in entries else entries
        for name, given in ours.items():
            entry = self._entry(given)
            if entry and (name == NAME or runs_us(entry)):
                return entry
        return None

    def names_of_ours(self, text: str) -> list[str]:
        """The names of all entries that run flux2-mcp, ours first."""
        entries = {name: self._entry(given) for name, given in self.entries(text).items()}
        found = [name for name, entry in entries.items() if entry and (name == NAME or runs_us(entry))]
        return sorted(found, key=lambda name: name != NAME)

    def entries(self, text: str) -> dict[str, object]:
        """Every server's entry, as the config has it."""
        section = self.format.read(text)
        for key in self.section:
            inner = section.get(key, {})
            if not isinstance(inner, Mapping):
                msg = f'"{key}" does not hold one entry per server in it.'
                raise UnreadableConfig(msg)
            section = cast("Mapping[str, object]", inner)
        return dict(section)

    def _entry(self, given: object) -> Entry | None:
        if not isinstance(given, Mapping):
            return None
        members = cast("Mapping[str, object]", given)
        command, args, env = (members.get(key) for key in (self.keys.command, self.keys.args, self.keys.env))
        if not isinstance(command, str):
            return None
        return Entry(
            command=command,
            args=tuple(str(each) for each in cast("list[object]", args)) if isinstance(args, list) else (),
            env={str(name): str(value) for name, value in cast("Mapping[object, object]", env).items()}
            if isinstance(env, Mapping)
            else {},
        )


def runs_us(entry: Entry) -> bool:
    """Whether this starts flux2-mcp, and not another server under our name."""
    words = (re.split(r"[\\/]", entry.command)[-1], *entry.args)
    return any(re.fullmatch(r"flux2[-_]mcp(\.exe|[@=\[].*)?", PurePath(word).name) for word in words)


def _claude_desktop(machine: Machine) -> list[Path]:
    """Since 2026 the Windows program is a package, and sees only what lies in its own folder (claude-code#26073)."""
    packages: list[Path] = []
    if machine.platform == "win32":
        packages = sorted(machine.folder("LOCALAPPDATA", "AppData", "Local").glob("Packages/Claude_*"))
    folders = [package / "LocalCache" / "Roaming" for package in packages]
    return [folder / "Claude" / "claude_desktop_config.json" for folder in (*folders, machine.app_data)]


def _zed(machine: Machine) -> list[Path]:
    folder = machine.app_data / "Zed" if machine.platform == "win32" else machine.dot_config / "zed"
    return [folder / "settings.json"]


def _openclaw(machine: Machine) -> list[Path]:
    if given := machine.environ.get("OPENCLAW_CONFIG_PATH"):
        return [Path(given)]
    return [machine.folder("OPENCLAW_STATE_DIR", ".openclaw") / "openclaw.json"]


def _goose(machine: Machine) -> list[Path]:
    if given := machine.environ.get("GOOSE_PATH_ROOT"):
        return [Path(given) / "config" / "config.yaml"]
    if machine.platform == "win32":
        return [machine.app_data / "Block" / "goose" / "config" / "config.yaml"]
    return [machine.dot_config / "goose" / "config.yaml"]


def _claude_code(machine: Machine) -> list[Path]:
    return [machine.folder("CLAUDE_CONFIG_DIR") / ".claude.json"]


STRICT = Json()
WITH_COMMENTS = Json(strict=False)


HOSTS: Mapping[str, Host] = {
    host.name: host
    for host in (
        Host(
            name="claude-desktop",
            title="Claude Desktop",
            format=STRICT,
            section=("mcpServers",),
            config_paths=_claude_desktop,
            restart="Quit Claude Desktop completely and start it again",
        ),
        Host(
            name="claude-code",
            title="Claude Code",
            format=STRICT,
            section=("mcpServers",),
            config_paths=_claude_code,
            project=(".mcp.json",),
            extras={"type": "stdio"},
            key_reference="${RUNAPI_API_KEY}",
            restart="Start a new session of Claude Code",
        ),
        Host(
            name="cursor",
            title="Cursor",
            format=WITH_COMMENTS,
            section=("mcpServers",),
            config_paths=lambda machine: [machine.home / ".cursor" / "mcp.json"],
            project=(".cursor", "mcp.json"),
            key_reference="${env:RUNAPI_API_KEY}",
            restart="Look under MCP in Cursor's settings: flux2 is there, and on",
        ),
        Host(
            name="vscode",
            title="Visual Studio Code",
            format=WITH_COMMENTS,
            section=("servers",),
            config_paths=lambda machine: [machine.app_data / "Code" / "User" / "mcp.json"],
            project=(".vscode", "mcp.json"),
            extras={"type": "stdio"},
            key_reference="${env:RUNAPI_API_KEY}",
            restart="Run the command “MCP: List Servers”, choose flux2 and start it",
        ),
        Host(
            name="windsurf",
            title="Windsurf",
            format=STRICT,
            section=("mcpServers",),
            config_paths=lambda machine: [machine.home / ".codeium" / "windsurf" / "mcp_config.json"],
            key_reference="${env:RUNAPI_API_KEY}",
            restart="Press refresh in Cascade's list of MCP servers",
        ),
        Host(
            name="zed",
            title="Zed",
            format=WITH_COMMENTS,
            section=("context_servers",),
            config_paths=_zed,
            project=(".zed", "settings.json"),
            restart="Zed notices by itself; its agent panel's settings show a green dot",
        ),
        Host(
            name="codex",
            title="Codex",
            format=Toml(),
            section=("mcp_servers",),
            config_paths=lambda machine: [machine.folder("CODEX_HOME", ".codex") / "config.toml"],
            project=(".codex", "config.toml"),
            # Codex gives up on a tool after 60 seconds; a large batch may take longer.
            extras={"tool_timeout_sec": 300, "startup_timeout_sec": 60},
            key_list="env_vars",
            restart="Start a new session of Codex",
        ),
        Host(
            name="gemini-cli",
            title="Gemini CLI",
            format=WITH_COMMENTS,
            section=("mcpServers",),
            config_paths=lambda machine: [machine.folder("GEMINI_CLI_HOME") / ".gemini" / "settings.json"],
            project=(".gemini", "settings.json"),
            key_reference="${RUNAPI_API_KEY}",
            restart="Start a new session of Gemini CLI",
        ),
        Host(
            name="openclaw",
            title="OpenClaw",
            format=WITH_COMMENTS,
            section=("mcp", "servers"),
            config_paths=_openclaw,
            key_reference="${RUNAPI_API_KEY}",
            restart="Run openclaw mcp reload, or restart the gateway",
        ),
        Host(
            name="goose",
            title="goose",
            format=Yaml(),
            section=("extensions",),
            config_paths=_goose,
            keys=Keys(command="cmd", env="envs"),
            extras={
                "enabled": True,
                "type": "stdio",
                "name": NAME,
                "description": "Pictures by RunAPI's Flux 2 models",
                "timeout": 300,
            },
            key_list="env_keys",
            restart="Start a new session of goose",
        ),
    )
}
