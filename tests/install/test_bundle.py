from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.stdio import stdio_client
from PIL import Image

from flux2_mcp import __version__
from flux2_mcp.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
VARIABLES = {str(field.alias) for field in Settings.model_fields.values()}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the official tool packs."""
    folder = tmp_path_factory.mktemp("bundle") / "mcpb"
    subprocess.run([sys.executable, str(ROOT / "bundle" / "build.py"), str(folder)], check=True, cwd=ROOT)  # noqa: S603
    return folder


def manifest(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))


async def test_the_bundle_starts_and_has_the_tools_that_it_names(bundle: Path, tmp_path: Path) -> None:
    """Started as its manifest says, but for uv, from somewhere else, and without this source tree."""
    command = manifest(bundle)["server"]["mcp_config"]
    assert command["args"][:3] == ["run", "--directory", "${__dirname}"]

    parameters = StdioServerParameters(
        command=sys.executable, args=["-S", "-c", STARTER, str(bundle / command["args"][3])], cwd=tmp_path
    )
    async with Client(stdio_client(parameters)) as client:
        listed = [tool.name for tool in (await client.list_tools()).tools]
        about = client.server_info

    assert [tool["name"] for tool in manifest(bundle)["tools"]] == listed
    assert all(tool["description"] for tool in manifest(bundle)["tools"])
    assert about
    assert manifest(bundle)["version"] == about.version == __version__


STARTER = f"""
import runpy, sys
sys.argv = sys.argv[1:]
sys.path[:0] = [sys.argv[0].rpartition("/")[0]]
sys.path += {[path for path in sys.path if path.endswith("site-packages")]!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Without site (-S) no editable installation is seen: libraries come from here, the server from the bundle."""


def test_every_setting_of_the_bundle_is_one_of_ours(bundle: Path) -> None:
    """What a person leaves empty reaches us as an empty word or as the reference itself; both count as not set."""
    environment: dict[str, str] = manifest(bundle)["server"]["mcp_config"]["env"]
    asked: dict[str, Any] = manifest(bundle)["user_config"]

    references = [re.fullmatch(r"\$\{user_config\.(\w+)\}", value) for value in environment.values()]
    assert {match[1] for match in references if match} == set(asked)
    assert set(environment) <= VARIABLES
    assert asked["api_key"]["sensitive"] is True
    assert all({"title", "description", "type"} <= set(each) for each in asked.values())
    defaults = {name: str(asked[value[14:-1]]["default"]) for name, value in environment.items()}
    assert Settings.from_environ(defaults).api_key is None
    assert Settings.from_environ({**environment, "RUNAPI_API_KEY": ""}) == Settings()


def test_the_bundle_brings_the_libraries_that_were_tested(bundle: Path) -> None:
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    theirs = tomllib.loads((bundle / "pyproject.toml").read_text(encoding="utf-8"))

    assert theirs["project"]["dependencies"] == ours["dependencies"]
    assert theirs["project"]["requires-python"] == ours["requires-python"]
    names = {re.split(r"[<>=\[]", each)[0].lower() for each in ours["dependencies"]}
    assert names <= {pin.split("==")[0].lower() for pin in theirs["tool"]["uv"]["constraint-dependencies"]}


def test_the_icon_is_what_stores_ask_for(bundle: Path) -> None:
    with Image.open(bundle / "icon.png") as icon:
        assert (icon.format, icon.size) == ("PNG", (512, 512))


def test_every_manifest_tells_the_version_of_the_package() -> None:
    server = json.loads((ROOT / "server.json").read_text(encoding="utf-8"))
    plugin = json.loads((ROOT / ".claude-plugin" / "plugin.json").read_text(encoding="utf-8"))

    assert {server["version"], plugin["version"], *(each["version"] for each in server["packages"])} == {__version__}


def test_the_generic_config_and_the_plugin_start_the_published_command() -> None:
    generic = json.loads((ROOT / "mcp.json").read_text(encoding="utf-8"))["mcpServers"]["flux2"]
    plugin = json.loads((ROOT / ".claude-plugin" / "plugin.json").read_text(encoding="utf-8"))["mcpServers"]["flux2"]

    assert (generic["command"], generic["args"]) == (plugin["command"], plugin["args"]) == ("uvx", ["flux2-mcp"])
