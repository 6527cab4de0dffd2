"""The gallery as an MCP App, as its host and its page see the server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp.client.client import ConnectMode
from mcp_types import CallToolResult, TextResourceContents

from flux2_mcp.desktop import Shown
from flux2_mcp.history import utcnow
from flux2_mcp.server.app import build_server
from flux2_mcp.simulator import Fault, Script
from tests.databases import history_in
from tests.images.examples import PNG
from tests.world import APPS, OWNER, World, text_of, world

URI = "ui://flux2/gallery.html"


@pytest.fixture
def here(tmp_path: Path, era: ConnectMode) -> World:
    """A world whose clients render apps."""
    return world(tmp_path, mode=era, extensions=(APPS,))


def facts(result: CallToolResult) -> dict[str, Any]:
    """What a tool of the page answered."""
    assert not result.is_error, text_of(result)
    assert result.structured_content is not None
    return result.structured_content


async def card(client: Client, task_id: str, **more: object) -> dict[str, Any]:
    """The one card of this task."""
    [found] = facts(await client.call_tool("gallery_task", {"task_id": task_id, **more}))["cards"]
    return found


async def test_a_client_without_apps_is_told_of_none_of_it(tmp_path: Path, era: ConnectMode) -> None:
    async with world(tmp_path, mode=era).client() as client:
        tools = (await client.list_tools()).tools
        result = await client.call_tool("generate", {"prompt": "a fox"})

    assert [tool.name for tool in tools if tool.name.startswith("gallery_")] == []
    assert "flux2-mcp/task_ids" not in (result.meta or {})


async def test_a_client_with_apps_gets_the_page_for_the_tools_that_show_pictures(here: World) -> None:
    async with here.client() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        [page] = (await client.read_resource(URI)).contents
        [listed] = [each for each in (await client.list_resources()).resources if str(each.uri) == URI]

    shown = {name for name, tool in tools.items() if tool.meta == {"ui": {"resourceUri": URI}, "ui/resourceUri": URI}}
    assert shown == {"generate", "remix", "task_status", "recent_tasks"}
    of_page = {name for name, tool in tools.items() if (tool.meta or {}).get("ui", {}).get("visibility") == ["app"]}
    assert of_page == {"gallery_search", "gallery_task", "gallery_account"}
    assert isinstance(page, TextResourceContents)
    assert page.mime_type == listed.mime_type == "text/html;profile=mcp-app"
    assert page.text.startswith("<!doctype html>")


async def test_a_result_names_its_tasks_to_the_page_alone(here: World) -> None:
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox", "count": 2})

    assert (result.meta or {})["flux2-mcp/task_ids"] == [task.id for task in here.paid]


async def test_a_card_says_what_was_made_and_how_to_ask_for_it_again(here: World) -> None:
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox", "aspect_ratio": "16:9", "output_resolution": "2k"})
        [task] = here.paid
        found = await card(client, task.id)
        [listed] = facts(await client.call_tool("gallery_search", {}))["cards"]

    [image] = found.pop("images")
    assert image["uri"] == f"flux2://tasks/{task.id}/images/0"
    assert await anyio.Path(image["path"]).is_file()
    assert (image["width"], image["height"]) > (0, 0)
    assert found["status"] == "completed"
    assert found["tool"] == "generate"
    assert found["title"] == "Flux 2 Pro"
    assert found["cost_usd"] == 0.07
    assert found["again"] == {
        "tool": "generate",
        "arguments": {"prompt": "a fox", "model": "flux-2-pro", "aspect_ratio": "16:9", "output_resolution": "2k"},
    }
    assert {**found, "images": [image["uri"]]} == {**listed, "images": [each["uri"] for each in listed["images"]]}


async def test_again_orders_the_same_once_more(here: World) -> None:
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        again = (await card(client, here.paid[0].id))["again"]
        result = await client.call_tool(again["tool"], {**again["arguments"], "repeat": True})

    assert not result.is_error
    assert [task.prompt for task in here.paid] == ["a fox", "a fox"]


async def test_a_look_from_the_page_is_no_delivery_to_the_model(here: World) -> None:
    """A model that repeats its call has the picture that it paid for, though the page has shown it meanwhile."""
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox", "wait_seconds": 0})
        [task] = here.paid
        await card(client, task.id, wait_seconds=5)
        repeated = await client.call_tool("generate", {"prompt": "a fox"})

    assert task.id in text_of(repeated)
    assert len(here.paid) == 1


async def test_what_is_being_made_says_how_far_it_is(tmp_path: Path, era: ConnectMode) -> None:
    here = world(tmp_path, Script(looks_until_done=1000, plain_pictures=True), mode=era, extensions=(APPS,))
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox", "wait_seconds": 0})
        found = await card(client, here.paid[0].id)

    assert found["status"] == "running"
    assert found["doing"].startswith("Flux 2 Pro ")
    assert found["running_seconds"] >= 0
    assert found["estimated_cost_usd"] == 0.05
    assert "images" not in found or found["images"] == []


async def test_a_failed_picture_says_why(tmp_path: Path, era: ConnectMode) -> None:
    here = world(tmp_path, Script(looks_until_done=1, failure_rate=1), mode=era, extensions=(APPS,))
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        [listed] = facts(await client.call_tool("gallery_search", {"status": "failed"}))["cards"]
        found = await card(client, listed["task_id"])

    assert listed["status"] == found["status"] == "failed"
    assert listed["error"]
    assert "does not charge" in found["error"]


async def test_the_history_is_searched_page_by_page(here: World) -> None:
    async with here.client() as client:
        for prompt in ("a red fox", "a blue fox", "a red hen"):
            await client.call_tool("generate", {"prompt": prompt})
        first = facts(await client.call_tool("gallery_search", {"text": "red", "limit": 1}))
        second = facts(await client.call_tool("gallery_search", {"text": "red", "cursor": first["next_cursor"]}))
        refused = await client.call_tool("gallery_search", {"status": "lost"})

    assert [found["prompt"] for found in first["cards"] + second["cards"]] == ["a red hen", "a red fox"]
    assert "next_cursor" not in second
    assert refused.is_error


async def test_the_account_knows_models_and_what_was_spent(here: World) -> None:
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        account = facts(await client.call_tool("gallery_account", {}))

    assert account["spent_today_usd"] == 0.05
    assert account["can"] == []
    [pro] = [model for model in account["models"] if model["name"] == "flux-2-pro"]
    assert pro["resolutions"] == ["1k", "2k"]
    assert "auto" in pro["remix_aspect_ratios"]
    assert "auto" not in pro["aspect_ratios"]


async def test_a_remix_can_be_asked_for_again_while_runapi_has_its_sources(here: World) -> None:
    source = here.home / "source.png"
    source.write_bytes(PNG)
    async with here.client() as client:
        await client.call_tool("remix", {"prompt": "in winter", "source_image_urls": [str(source)]})
        fresh = await card(client, here.paid[0].id)
    history = history_in(here.home / "data", now=lambda: utcnow() + timedelta(hours=1))
    async with here.client(server=build_server(replace(here.environment(), history=history))) as client:
        [old] = facts(await client.call_tool("gallery_search", {}))["cards"]

    assert fresh["again"]["tool"] == "remix"
    assert len(fresh["again"]["arguments"]["source_image_urls"]) == 1
    assert "again" not in old


async def test_a_private_history_keeps_nothing_to_ask_for_again(tmp_path: Path) -> None:
    here = world(tmp_path, environ={"FLUX2_HISTORY": "private"}, extensions=(APPS,))
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a secret"})
        found = await card(client, here.paid[0].id)

    assert found["prompt"] == ""
    assert "again" not in found


async def test_pictures_are_looked_at_without_a_key(here: World) -> None:
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
    [task] = here.paid
    here.environ = {"RUNAPI_API_KEY": ""}
    async with here.client() as client:
        found = await card(client, task.id)
        seen = await client.call_tool("view_image", {"task_id": task.id, "max_edge": 320})

    assert found["status"] == "completed"
    assert not seen.is_error


@pytest.fixture
async def opened(here: World) -> AsyncGenerator[tuple[Client, list[tuple[Path, Shown]]]]:
    """A gallery with one picture, for the person's own browser; and what their desktop was told to open."""
    seen: list[tuple[Path, Shown]] = []

    def open_file(file: Path, shown: Shown) -> bool:
        seen.append((file, shown))
        return len(seen) < 3

    environment = replace(here.environment(), open_file=open_file)
    async with here.client(server=build_server(environment, for_gallery=True)) as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        yield client, seen


async def test_files_are_opened_where_the_person_sits(
    here: World, opened: tuple[Client, list[tuple[Path, Shown]]]
) -> None:
    client, seen = opened
    task_id = here.paid[0].id
    for in_folder in (False, True):
        facts(await client.call_tool("gallery_open", {"task_id": task_id, "in_folder": in_folder}))
    no_desktop = await client.call_tool("gallery_open", {"task_id": task_id})
    other = await client.call_tool("gallery_open", {"task_id": task_id, "index": 7})
    file, _ = seen[0]
    file.write_text("#!/bin/sh")
    replaced = await client.call_tool("gallery_open", {"task_id": task_id})
    file.unlink()
    gone = await client.call_tool("gallery_open", {"task_id": task_id})

    assert [shown for _, shown in seen] == ["file", "folder", "file"]
    assert str(file) in text_of(no_desktop)
    assert "no file" in text_of(other)
    assert "not there any more" in text_of(replaced)
    assert "not there any more" in text_of(gone)


async def test_a_picture_can_be_forgotten_and_its_file_stays(
    here: World, opened: tuple[Client, list[tuple[Path, Shown]]]
) -> None:
    client, _ = opened
    [order] = await here.orders()
    assert facts(await client.call_tool("gallery_forget", {"task_id": here.paid[0].id})) == {"forgotten": 1}
    again = await client.call_tool("gallery_forget", {"task_id": here.paid[0].id})
    left = facts(await client.call_tool("gallery_search", {}))

    assert again.is_error
    assert left["cards"] == []
    assert await anyio.Path(order.paths[0]).is_file()


async def test_forgetting_gives_no_budget_back(tmp_path: Path) -> None:
    here = world(tmp_path, environ={"FLUX2_DAILY_BUDGET": "0.05"}, extensions=(APPS,))
    async with here.client(server=build_server(here.environment(), for_gallery=True)) as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        refused = await client.call_tool("gallery_forget", {"task_id": here.paid[0].id})
        again = await client.call_tool("generate", {"prompt": "a hare"})

    assert "counts in today's budget" in text_of(refused)
    assert again.is_error
    assert len(here.paid) == 1


async def test_an_order_in_doubt_is_not_offered_again(tmp_path: Path) -> None:
    """Only the very same call finds out what became of it; another would order a second picture."""
    here = world(tmp_path, extensions=(APPS,))
    here.simulator.faults.append(Fault(on="create", lose=True, after=True, times=9))
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        [found] = facts(await client.call_tool("gallery_search", {}))["cards"]

    assert found["status"] == "unknown"
    assert "again" not in found


async def test_what_is_still_made_cannot_be_forgotten(tmp_path: Path) -> None:
    here = world(tmp_path, Script(looks_until_done=1000, plain_pictures=True), extensions=(APPS,))
    async with here.client(server=build_server(here.environment(), for_gallery=True)) as client:
        await client.call_tool("generate", {"prompt": "a fox", "wait_seconds": 0})
        refused = await client.call_tool("gallery_forget", {"task_id": here.paid[0].id})

    assert "Nothing was forgotten" in text_of(refused)
    assert [order.owner for order in await here.orders()] == [OWNER]


async def test_files_and_history_are_no_business_of_callers_elsewhere(here: World) -> None:
    """Only the person's own servers offer to open files, and only their browser's to forget."""
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        for tool in ("gallery_open", "gallery_forget"):
            refused = await client.call_tool(tool, {"task_id": here.paid[0].id})
            assert "Unknown tool" in text_of(refused)
    async with here.client(server=build_server(here.environment(), over_stdio=True)) as client:
        assert facts(await client.call_tool("gallery_account", {}))["can"] == ["open"]
