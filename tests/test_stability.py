"""Every name that docs/stability.md promises, as version 1.0 had it: more may come, and nothing may go."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from flux2_mcp.cli import COMMANDS, main
from flux2_mcp.settings import Settings
from flux2_mcp.simulator import Script
from tests.world import World, world

PROMISED: Mapping[str, Any] = json.loads(Path(__file__).with_name("stability.json").read_text(encoding="utf-8"))
CALLS: Mapping[str, Mapping[str, object]] = {
    "generate": {"prompt": "a fox"},
    "remix": {"prompt": "a fox", "source_image_urls": ["https://files.example/a.png"]},
    "estimate_cost": {"prompt": "a fox"},
}


def here(home: Path) -> World:
    return world(home, Script(looks_until_done=1, plain_pictures=True), environ={"FLUX2_RESULT": "structured"})


async def test_tools_take_what_they_took_and_demand_no_more(tmp_path: Path) -> None:
    async with here(tmp_path).client() as client:
        schemas = {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}

    for name, promised in PROMISED["tools"].items():
        properties = schemas[name]["properties"]
        assert {each: properties[each].get("default") for each in promised["defaults"]} == promised["defaults"], name
        assert schemas[name].get("required", []) == promised["required"], name


@pytest.mark.parametrize("tool", PROMISED["structured content"])
async def test_structured_content_has_every_field_that_it_had(tmp_path: Path, tool: str) -> None:
    async with here(tmp_path).client() as client:
        made = await client.call_tool("generate", {"prompt": "a hare"})
        assert made.structured_content
        task_id: object = made.structured_content["pictures"][0]["task_id"]
        arguments = {"task_id": task_id} if tool == "task_status" else dict(CALLS.get(tool, {}))
        result = await client.call_tool(tool, arguments)

    assert set(fields(result.structured_content)) >= set(PROMISED["structured content"][tool])


def fields(value: object, path: str = "") -> Iterator[str]:
    """Where there is a value, such as images[].url."""
    if isinstance(value, dict):
        for name, each in cast("dict[str, object]", value).items():
            yield from fields(each, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for each in cast("list[object]", value):
            yield from fields(each, f"{path}[]")
    else:
        yield path


async def test_resources_and_prompts_are_where_they_were(tmp_path: Path) -> None:
    async with here(tmp_path).client() as client:
        resources = {str(each.uri) for each in (await client.list_resources()).resources}
        templates = {each.uri_template for each in (await client.list_resource_templates()).resource_templates}
        prompts = {each.name: each.arguments or () for each in (await client.list_prompts()).prompts}

    assert resources >= set(PROMISED["resources"])
    assert templates >= set(PROMISED["resource templates"])
    for name, promised in PROMISED["prompts"].items():
        assert {argument.name for argument in prompts[name]} >= set(promised), name


def test_settings_have_the_names_that_they_had() -> None:
    assert {field.alias for field in Settings.model_fields.values()} >= set(PROMISED["settings"])


@pytest.mark.parametrize("command", PROMISED["commands"])
def test_a_command_has_every_option_that_it_had(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])

    assert command in COMMANDS
    assert set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out)) >= set(PROMISED["commands"][command])


def test_the_simulator_can_do_what_it_could() -> None:
    assert set(Script.__dataclass_fields__) >= set(PROMISED["script of the simulator"])
