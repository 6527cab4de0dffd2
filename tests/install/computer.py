"""A person's machine, on which install and uninstall are tried."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flux2_mcp.cli import install, uninstall
from flux2_mcp.cli.hosts import HOSTS, Host, Machine
from flux2_mcp.cli.launch import Start

PROGRAM = Start("/opt/flux2/bin/flux2-mcp", ("--from-here",))

JSON_WITH_OTHERS = """{
  "theme": "dark",
  "SECTION": {
    "weather": {
      "command": "npx",
      "args": ["weather-mcp", "--metric"]
    }
  },
  "last": [1, 2.5, null, true]
}
"""
JSONC_WITH_OTHERS = """// my settings
{
    /* looks */
    "theme": "dark", // at night
    "SECTION": {
        // for the balcony
        "weather": { "command": "npx", "args": ["weather-mcp",] }, // keep
    },
    "last": [1, 2.5, null, true],
}
"""
JSON5_WITH_OTHERS = """{
  // unquoted, single quotes, hexadecimal
  theme: 'it\\'s dark',
  mcp: {
    servers: {
      weather: {command: 'npx', args: ['weather-mcp']},
    },
    limit: 0xFF,
  },
}
"""
TOML_WITH_OTHERS = """# my settings
model = "gpt" # the small one

[mcp_servers.weather]
command = "npx" # from the balcony
args = ["weather-mcp"]

[profiles.fast]
model_reasoning_effort = "low"
"""
YAML_WITH_OTHERS = """# my settings
GOOSE_MODEL: gpt # the small one
extensions:
  weather: # from the balcony
    enabled: true
    type: stdio
    name: "weather"
    cmd: npx
    args:
    - weather-mcp
    envs: {}
last: a long line that must not be folded, whatever a library thinks of lines that are longer than eighty characters
"""


def with_others(host: Host) -> str:
    """A config as its person wrote it, with another server and with comments where the host allows any."""
    if host.name == "codex":
        return TOML_WITH_OTHERS
    if host.name == "goose":
        return YAML_WITH_OTHERS
    if host.name == "openclaw":
        return JSON5_WITH_OTHERS
    allows_comments = host.name in {"vscode", "zed", "cursor", "gemini-cli"}
    return (JSONC_WITH_OTHERS if allows_comments else JSON_WITH_OTHERS).replace("SECTION", host.section[0])


@dataclass
class Computer:
    """A home folder on a machine of some kind."""

    home: Path
    platform: str = "linux"
    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    program: Start = PROGRAM

    @property
    def machine(self) -> Machine:
        return Machine(self.home, self.environ, self.platform)

    def path(self, host: str) -> Path:
        """Where this host's config lies when it is alone."""
        return HOSTS[host].config_paths(self.machine)[-1]

    def has(self, host: str, text: str) -> Path:
        """Write a config as if its person had."""
        path = self.path(host)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return path

    def install(self, *words: str) -> int:
        return install.install(_options(install.add_arguments, words), self.machine, self.program)

    def uninstall(self, *words: str) -> int:
        return uninstall.uninstall(_options(uninstall.add_arguments, words), self.machine)

    def files(self) -> dict[str, str]:
        """Everything in the home folder."""
        found = (path for path in self.home.rglob("*") if path.is_file())
        return {path.relative_to(self.home).as_posix(): path.read_bytes().decode() for path in found}

    def entry(self, host: str) -> dict[str, object]:
        """Our entry, as the config has it."""
        entry = HOSTS[host].entries(self.path(host).read_bytes().decode())["flux2"]
        return json.loads(json.dumps(entry))


def _options(declare: Callable[[argparse.ArgumentParser], None], words: tuple[str, ...]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    declare(parser)
    return parser.parse_args(words)
