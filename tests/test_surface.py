from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from mcp.client.client import ConnectMode
from mcp_types import TextResourceContents, ToolAnnotations

from tests.transports import NoNetwork
from tests.world import KEY, World, world

Json = dict[str, object]


async def test_both_eras_are_spoken(tmp_path: Path, era: ConnectMode) -> None:
    async with world(tmp_path, mode=era).client() as client:
        assert client.protocol_version == {"legacy": "2025-11-25", "auto": "2026-07-28"}[era]


async def test_the_tools_and_their_promises(tmp_path: Path, era: ConnectMode) -> None:
    """A host asks its person before a tool that is not read-only; making pictures spends money."""
    async with world(tmp_path, mode=era).client() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}

    assert list(tools)[:3] == ["generate", "remix", "task_status"]
    for name in ("generate", "remix"):
        promises = tools[name].annotations or ToolAnnotations()
        assert promises.read_only_hint is False
        assert not promises.idempotent_hint
        assert promises.open_world_hint is not False
        assert "cost" in (tools[name].description or "").lower()
    assert (tools["task_status"].annotations or ToolAnnotations()).read_only_hint is True
    for tool in tools.values():
        assert tool.title
        assert tool.description
        assert "\n" not in tool.description
        # Structured content beside a picture makes hosts drop the picture (notes on hosts in server/hosts.py).
        assert tool.output_schema is None or tool.name not in {"generate", "remix", "task_status"}


async def test_the_schemas_say_what_a_model_needs_and_no_more(tmp_path: Path, era: ConnectMode) -> None:
    async with world(tmp_path, mode=era).client() as client:
        tools = (await client.list_tools()).tools

    for tool in tools:
        schema: Json = tool.input_schema
        properties = cast("dict[str, Json]", schema["properties"])
        assert schema["additionalProperties"] is False
        assert not {"ctx", "studio"} & set(properties)
        assert all("type" in value_of(each) for each in properties.values())
        assert "title" not in set(keywords(schema))
        # Only what has no other word for "left out" takes null.
        assert {name for name, each in properties.items() if "anyOf" in each} <= {
            "enable_safety_checker",
            "max_cost_usd",
        }
    explained = {"limit"}
    for tool in tools:
        # What a tool further up explains need not be said again; a limit explains itself.
        named = cast("dict[str, Json]", tool.input_schema["properties"])
        explained |= {name for name, each in named.items() if value_of(each).get("description")}
        assert set(named) <= explained
    assert [tool.input_schema.get("required") for tool in tools[:3]] == [
        ["prompt"],
        ["prompt", "source_image_urls"],
        ["task_id"],
    ]


def value_of(schema: Json) -> Json:
    """The schema of a value that is there; null may stand beside it, but nothing else (Gemini refuses it)."""
    if "anyOf" not in schema:
        return schema
    assert set(schema) == {"anyOf"}
    value, null = cast("list[Json]", schema["anyOf"])
    assert null == {"type": "null"}
    return value


def keywords(schema: object) -> Iterator[str]:
    """Every word of JSON Schema that is used; the names of properties are not."""
    if isinstance(schema, dict):
        for name, value in cast("Json", schema).items():
            yield name
            inside = cast("Json", value).values() if name == "properties" else [value]
            for each in inside:
                yield from keywords(each)


async def test_the_instructions_are_short_and_say_how_not_to_pay_twice(tmp_path: Path, era: ConnectMode) -> None:
    async with world(tmp_path, mode=era).client() as client:
        instructions = client.instructions or ""

    assert 0 < len(instructions.strip().splitlines()) <= 10
    assert "task_status" in instructions
    assert "do not generate again" in instructions


async def test_a_person_without_key_and_network_can_look_around(tmp_path: Path, era: ConnectMode) -> None:
    """A host starts the server before anybody has a key; nothing of this may fail."""
    here = world(tmp_path, mode=era, environ={"RUNAPI_API_KEY": ""}, transport=NoNetwork())
    async with here.client() as client:
        tools = await client.list_tools()
        resources = await client.list_resources()
        pricing = await read(here, "flux2://pricing")
        models = await read(here, "flux2://models")

    assert tools.tools
    assert {"flux2://pricing", "flux2://models"} <= {str(each.uri) for each in resources.resources}
    assert pricing["currency"] == "USD"
    assert cast("Json", pricing["models"])["flux-2-pro-text-to-image"]
    assert set(models) == {"flux-2-pro", "flux-2-flex", "flux-2-max"}


async def test_prices_are_runapis_own_when_it_answers(tmp_path: Path) -> None:
    here = world(tmp_path)
    pricing = await read(here, "flux2://pricing")

    assert pricing["source"] == "RunAPI's price list"
    assert cast("dict[str, Json]", pricing["models"])["flux-2-pro-text-to-image"]["1k"] == 0.05
    assert "authorization" not in here.simulator.requests[0].headers


async def read(here: World, uri: str) -> Json:
    async with here.client() as client:
        [content] = (await client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    assert content.mime_type == "application/json"
    return cast("Json", json.loads(content.text))


@pytest.mark.parametrize("uri", ["flux2://nothing", "flux2://pricing/more", "file:///etc/passwd"])
async def test_a_resource_that_is_not_there_is_an_error(tmp_path: Path, era: ConnectMode, uri: str) -> None:
    async with world(tmp_path, mode=era).client() as client:
        with pytest.raises(Exception, match=r"(?i)unknown|not found|no such"):
            await client.read_resource(uri)


async def test_no_listing_holds_the_key(tmp_path: Path, era: ConnectMode) -> None:
    async with world(tmp_path, mode=era).client() as client:
        listed = [
            await client.list_tools(),
            await client.list_resources(),
            await client.list_resource_templates(),
            client.server_info,
            client.server_capabilities,
        ]

    assert KEY not in repr(listed)
