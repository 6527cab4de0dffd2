"""server.json against the rules of the MCP registry's schema of 2025-12-11, restated here: nothing is fetched."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flux2_mcp.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
NAME = re.compile(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+")
VARIABLE = {"name", "description", "isRequired", "isSecret", "format", "default", "placeholder", "choices", "value"}
Server = dict[str, Any]


def complaints(server: Server) -> Iterator[str]:
    """What the registry would refuse."""
    if server.get("$schema") != SCHEMA:
        yield "another schema"
    if not NAME.fullmatch(server.get("name", "")) or not 3 <= len(server["name"]) <= 200:
        yield "name"
    for field in ("description", "title"):
        if not 1 <= len(server.get(field, "")) <= 100:
            yield f"{field} has 1 to 100 characters"
    if not re.fullmatch(r"\d+\.\d+\.\d+\S*", server.get("version", "")):
        yield "version is exact"
    if not {"url", "source"} <= server.get("repository", {}).keys():
        yield "repository"
    for package in server["packages"]:
        yield from _about_package(package)


def _about_package(package: dict[str, Any]) -> Iterator[str]:
    if not {"registryType", "identifier", "version", "transport"} <= package.keys():
        yield "package"
    if package.get("transport") != {"type": "stdio"}:
        yield "transport"
    if package.get("version") == "latest":
        yield "package version"
    for variable in package.get("environmentVariables", []):
        if not set(variable) <= VARIABLE or not variable.get("name"):
            yield "variable"
        if variable.get("format") not in {"string", "number", "boolean", "filepath"}:
            yield "format"
        if "choices" in variable and variable.get("default") not in variable["choices"]:
            yield "default"


@pytest.fixture
def server() -> Server:
    return json.loads((ROOT / "server.json").read_text(encoding="utf-8"))


def test_the_registry_would_take_it(server: Server) -> None:
    assert list(complaints(server)) == []


SPOILERS: dict[str, Callable[[Server], object]] = {
    "schema": lambda server: server.update({"$schema": "draft"}),
    "name": lambda server: server.update(name="flux2-mcp"),
    "description": lambda server: server.update(description="x" * 101),
    "version": lambda server: server.update(version="^1.0"),
    "repository": lambda server: server.update(repository={}),
    "transport": lambda server: server["packages"][0].update(transport={"type": "http"}),
    "package version": lambda server: server["packages"][0].update(version="latest"),
    "variable": lambda server: server["packages"][0]["environmentVariables"][0].update(is_secret=True),
    "format": lambda server: server["packages"][0]["environmentVariables"][0].update(format="path"),
}


@pytest.mark.parametrize("spoiler", SPOILERS)
def test_the_rules_would_notice(server: Server, spoiler: str) -> None:
    spoilt = copy.deepcopy(server)
    SPOILERS[spoiler](spoilt)

    assert list(complaints(spoilt))


def test_its_variables_are_settings_with_these_defaults(server: Server) -> None:
    variables = server["packages"][0]["environmentVariables"]
    names = {str(field.alias) for field in Settings.model_fields.values()}

    assert {each["name"] for each in variables} <= names
    assert Settings.from_environ({each["name"]: each.get("default", "") for each in variables}) == Settings()
    assert [each["name"] for each in variables if each.get("isSecret")] == ["RUNAPI_API_KEY"]


def test_the_readme_says_whose_package_it_is(server: Server) -> None:
    """The registry looks for this line on PyPI before it believes that the package is ours."""
    assert f"mcp-name: {server['name']}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_image_says_whose_it_is(server: Server) -> None:
    assert f'io.modelcontextprotocol.server.name="{server["name"]}"' in (ROOT / "Dockerfile").read_text(
        encoding="utf-8"
    )
