"""Put together what goes into the Claude Desktop bundle, from the package itself: python bundle/build.py FOLDER.

Nothing is written down twice: the version is the package's, the tools are those that the server lists, and the
libraries are those that the tests ran with.
"""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import anyio
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.stdio import stdio_client

from flux2_mcp import __version__

ROOT = Path(__file__).resolve().parent.parent
HOMEPAGE = "https://github.com/flux2-mcp/flux2-mcp"

USER_CONFIG: dict[str, dict[str, object]] = {
    "api_key": {
        "type": "string",
        "title": "RunAPI key",
        "description": "From https://runapi.ai/api_keys. Without one the login tool gets it with your browser.",
        "sensitive": True,
        "required": False,
        "default": "",
    },
    "output_dir": {
        "type": "directory",
        "title": "Folder for pictures",
        "description": "Where finished pictures are saved.",
        "required": False,
        "default": "${HOME}/Pictures/Flux 2",
    },
    "max_cost_per_call": {
        "type": "number",
        "title": "At most for one call (US dollars)",
        "description": "A call that would cost more is refused before anything is spent.",
        "required": False,
        "default": 1,
        "min": 0,
        "max": 1000,
    },
    "daily_budget": {
        "type": "number",
        "title": "At most in one day (US dollars)",
        "description": "Calls that would pass it are refused until the next day.",
        "required": False,
        "default": 10,
        "min": 0,
        "max": 10000,
    },
}
ENVIRONMENT = {
    "RUNAPI_API_KEY": "api_key",
    "FLUX2_OUTPUT_DIR": "output_dir",
    "FLUX2_MAX_COST_PER_CALL": "max_cost_per_call",
    "FLUX2_DAILY_BUDGET": "daily_budget",
}


async def manifest() -> dict[str, object]:
    """The manifest of the bundle, version 0.4: the first that lets uv install the libraries on each machine."""
    project = _project()
    parameters = StdioServerParameters(command=sys.executable, args=["-m", "flux2_mcp"], env={"FLUX2_HISTORY": "off"})
    async with Client(stdio_client(parameters)) as client:
        tools = (await client.list_tools()).tools
    return {
        "manifest_version": "0.4",
        "name": project["name"],
        "display_name": "Flux 2 pictures",
        "version": __version__,
        "description": project["description"],
        "author": {"name": project["authors"][0]["name"], "url": HOMEPAGE},
        "repository": {"type": "git", "url": HOMEPAGE},
        "homepage": HOMEPAGE,
        "documentation": project["urls"]["Documentation"],
        "support": project["urls"]["Issues"],
        "icon": "icon.png",
        "server": {
            "type": "uv",
            "entry_point": "main.py",
            "mcp_config": {
                "command": "uv",
                "args": ["run", "--directory", "${__dirname}", "main.py"],
                "env": {name: f"${{user_config.{setting}}}" for name, setting in ENVIRONMENT.items()},
            },
        },
        "tools": [{"name": tool.name, "description": tool.description or ""} for tool in tools],
        "tools_generated": False,
        "prompts_generated": True,
        "keywords": project["keywords"],
        "license": project["license"],
        "compatibility": {
            "platforms": ["darwin", "win32", "linux"],
            "runtimes": {"python": project["requires-python"]},
        },
        "user_config": USER_CONFIG,
    }


def pyproject() -> str:
    """What uv installs before it runs main.py: our libraries, in the versions that the tests ran with."""
    project = _project()
    pins = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line]
    return "\n".join(
        (
            "[project]",
            f'name = "{project["name"]}-bundle"',
            f'version = "{__version__}"',
            f'requires-python = "{project["requires-python"]}"',
            f"dependencies = {json.dumps(project['dependencies'], indent=2)}",
            "",
            "[tool.uv]",
            "package = false",
            f"constraint-dependencies = {json.dumps(pins, indent=2)}",
            "",
        )
    )


def build(folder: Path) -> None:
    """Fill this folder, anew."""
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(ROOT / "flux2_mcp", folder / "flux2_mcp", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("icon.png", "main.py"):
        shutil.copy(ROOT / "bundle" / name, folder / name)
    shutil.copy(ROOT / "LICENSE", folder / "LICENSE")
    (folder / "pyproject.toml").write_text(pyproject(), encoding="utf-8")
    text = json.dumps(anyio.run(manifest), indent=2, ensure_ascii=False)
    (folder / "manifest.json").write_text(f"{text}\n", encoding="utf-8")


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


if __name__ == "__main__":
    build(Path(sys.argv[1]))
