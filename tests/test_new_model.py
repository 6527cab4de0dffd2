"""A seventh model is an entry in two data files, and then known everywhere."""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp_types import PromptReference, TextResourceContents

from flux2_mcp.catalogue import Catalogue
from flux2_mcp.cli import demo, estimate, generate, remix
from flux2_mcp.server.app import build_server
from flux2_mcp.simulator import Script, models_of
from tests.world import World, text_of, world

SOURCE = "https://img.example/a.png"
ULTRA: dict[str, object] = {
    "name": "flux-2-ultra",
    "aliases": ["ultra"],
    "title": "Flux 2 Ultra",
    "about": "the largest pictures; 4k only, one source image",
    "in_short": "4k only",
    "service": "flux_2",
    "slugs": {"text_to_image": "flux-2-ultra-text-to-image", "remix_image": "flux-2-ultra-remix-image"},
    "prompt_characters": [3, 5000],
    "aspect_ratios": ["1:1", "21:9"],
    "auto_ratio": False,
    "ratio_required": False,
    "resolutions": ["4k"],
    "most_sources": 1,
    "enable_safety_checker": False,
    "price": {"as_of": "2026-12-01", "cents": {"4k": 31}},
}
SIMULATED: dict[str, dict[str, object]] = {
    "flux-2-ultra-text-to-image": {
        "action": "text_to_image",
        "aspect_ratio": ["1:1", "21:9"],
        "output_resolution": ["4k"],
        "cents": {"4k": 31},
    },
    "flux-2-ultra-remix-image": {
        "action": "remix_image",
        "aspect_ratio": ["1:1", "21:9"],
        "output_resolution": ["4k"],
        "most_sources": 1,
        "cents": {"4k": 31},
    },
}


def data(name: str) -> dict[str, Any]:
    return json.loads(files("flux2_mcp").joinpath(name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def known() -> Catalogue:
    today = data("catalogue.json")
    return Catalogue(json.dumps({**today, "models": [*today["models"], ULTRA]}))


@pytest.fixture
def here(tmp_path: Path) -> World:
    models = models_of(json.dumps({**data("simulator/models.json"), **SIMULATED}))
    return world(tmp_path, Script(looks_until_done=1, plain_pictures=True, models=models))


@asynccontextmanager
async def client_of(here: World, known: Catalogue) -> AsyncGenerator[Client, None]:
    with anyio.fail_after(30):
        async with Client(build_server(replace(here.environment(), catalogue=known))) as client:
            yield client


async def read(client: Client, uri: str) -> str:
    [content] = (await client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    return content.text


@pytest.mark.parametrize("name", ["flux-2-ultra", "ultra", "flux-2-ultra-text-to-image"])
async def test_it_makes_pictures(here: World, known: Catalogue, name: str) -> None:
    async with client_of(here, known) as client:
        result = await client.call_tool("generate", {"prompt": "a fox", "model": name, "aspect_ratio": "21:9"})

    assert not result.is_error, text_of(result)
    assert "Flux 2 Ultra made the picture" in text_of(result)
    assert "cost: $0.31" in text_of(result)
    [task] = here.paid
    # It cannot make RunAPI's usual 1k, so it is told what it can.
    assert task.params["output_resolution"] == "4k"


async def test_it_remixes(here: World, known: Catalogue) -> None:
    asked = {"prompt": "as a watercolour", "model": "flux-2-ultra", "source_image_urls": [SOURCE]}
    async with client_of(here, known) as client:
        result = await client.call_tool("remix", asked)

    assert not result.is_error, text_of(result)
    assert [task.model for task in here.paid] == ["flux-2-ultra-remix-image"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"output_resolution": "1k"}, "flux-2-ultra cannot make 1k. It can make 4k."),
        ({"aspect_ratio": "4:3"}, "flux-2-ultra cannot make '4:3' with remix. It can make 1:1 and 21:9."),
        ({"source_image_urls": [SOURCE] * 2}, "flux-2-ultra remixes exactly 1 source image, not 2."),
        ({"enable_safety_checker": False}, "flux-2-ultra has no enable_safety_checker"),
        ({"model": "flux-2-ulta"}, "Did you mean flux-2-ultra?"),
    ],
)
async def test_its_own_rules_hold(here: World, known: Catalogue, more: dict[str, object], said: str) -> None:
    asked = {"prompt": "a fox", "model": "flux-2-ultra", "source_image_urls": [SOURCE]}
    async with client_of(here, known) as client:
        result = await client.call_tool("remix", {**asked, **more})

    assert result.is_error
    assert said in text_of(result)
    assert not here.creates


async def test_its_price_is_known_and_counts(here: World, known: Catalogue) -> None:
    async with client_of(here, known) as client:
        pricing = json.loads(await read(client, "flux2://pricing"))
        estimated = await client.call_tool("estimate_cost", {"model": "ultra", "count": 2})
        refused = await client.call_tool("generate", {"prompt": "a fox", "model": "ultra", "count": 4})

    assert pricing["models"]["flux-2-ultra-text-to-image"] == {"4k": 0.31}
    assert (estimated.structured_content or {})["cost_usd"] == 0.62
    assert "more than the $1.00 of FLUX2_MAX_COST_PER_CALL" in text_of(refused)


async def test_a_model_without_a_price_sends_to_it_too(here: World, known: Catalogue) -> None:
    async with client_of(here, known) as client:
        refused = await client.call_tool("generate", {"prompt": "a fox", "model": "max"})

    assert "Use flux-2-pro, flux-2-flex or flux-2-ultra, or let the person set" in text_of(refused)


async def test_without_runapi_its_built_in_price_is_told(here: World, known: Catalogue) -> None:
    prices = known.built_in_prices()

    assert prices.cents["flux-2-ultra-remix-image"] == {"4k": 31}
    assert prices.as_of == "2026-11-22"


async def test_what_can_be_read_names_it(here: World, known: Catalogue) -> None:
    async with client_of(here, known) as client:
        models = json.loads(await read(client, "flux2://models"))
        guide = await read(client, "flux2://guide")

    assert models["flux-2-ultra"]["output_resolution"] == ["4k"]
    assert "| `flux-2-ultra` | the largest pictures; 4k only, one source image |" in guide
    assert "1 with `flux-2-max` and `flux-2-ultra`" in guide
    assert "1k, 2k or 4k" in guide


async def test_the_tools_arguments_tell_of_it(here: World, known: Catalogue) -> None:
    async with client_of(here, known) as client:
        tools = {tool.name: tool.input_schema["properties"] for tool in (await client.list_tools()).tools}

    make, edit = tools["generate"], tools["remix"]
    assert make["model"]["description"].endswith("flux-2-max: best, 1k only; flux-2-ultra: 4k only.")
    assert make["model"]["default"] == "flux-2-pro"
    assert "21:9" in make["aspect_ratio"]["description"]
    assert make["output_resolution"]["description"] == "1k (default), 2k or 4k, which cost more."
    assert "not for flux-2-max or flux-2-ultra." in json.dumps(make["enable_safety_checker"])
    assert edit["source_image_urls"]["description"].startswith("1 to 8 (flux-2-max: 1, flux-2-ultra: 1): ")


async def test_a_prompt_offers_and_takes_it(here: World, known: Catalogue) -> None:
    prompt = PromptReference(name="portrait")
    async with client_of(here, known) as client:
        models = await client.complete(prompt, {"name": "model", "value": "ult"})
        ratios = await client.complete(prompt, {"name": "aspect_ratio", "value": "21"})
        asked = {"person": "a violin maker", "model": "flux-2-ultra", "aspect_ratio": "21:9"}
        written = (await client.get_prompt("portrait", asked)).messages[0].content
        portrait = next(each for each in (await client.list_prompts()).prompts if each.name == "portrait")

    assert models.completion.values == ["flux-2-ultra"]
    assert ratios.completion.values == ["21:9"]
    assert '"model": "flux-2-ultra"' in str(written)
    about = {argument.name: argument.description for argument in portrait.arguments or []}
    assert about["model"] == "flux-2-pro, flux-2-flex, flux-2-max or flux-2-ultra."


@pytest.mark.parametrize("command", [generate, remix, estimate, demo], ids=lambda command: command.__name__)
def test_the_commands_help_names_it(known: Catalogue, command: Any) -> None:  # noqa: ANN401 a module
    parser = argparse.ArgumentParser()
    command.add_arguments(parser, known)
    help_ = " ".join(parser.format_help().split())

    assert "flux-2-pro (default), flux-2-flex, flux-2-max or flux-2-ultra" in help_
    assert "2:3 or 21:9; to remix also auto" in help_
    assert "1k (default), 2k or 4k, which cost more" in help_


async def test_the_simulator_needs_its_own_entry(tmp_path: Path, known: Catalogue) -> None:
    """If it shared ours, a wrong name would be wrong on both sides."""
    here = world(tmp_path, environ={"FLUX2_ALLOW_UNKNOWN_PRICE": "true"})
    async with client_of(here, known) as client:
        result = await client.call_tool("generate", {"prompt": "a fox", "model": "ultra"})

    assert result.is_error
    assert "must be one of: flux-2-pro-text-to-image" in text_of(result)


def test_todays_models_are_the_same_on_both_sides() -> None:
    """One entry in each file: who adds a model to one is told of the other."""
    ours = [slug for model in data("catalogue.json")["models"] for slug in model["slugs"].values()]

    assert sorted(ours) == sorted(data("simulator/models.json"))


@pytest.mark.parametrize(("service", "pictures"), [("flux_2", 1), ("flux_3", 2)])
async def test_the_same_words_to_another_service_are_another_order(
    tmp_path: Path, known: Catalogue, service: str, pictures: int
) -> None:
    here = world(tmp_path, Script(looks_until_done=10**9))
    moved = data("catalogue.json")
    moved["models"][0]["service"] = service
    for catalogue in (known, Catalogue(json.dumps(moved))):
        async with client_of(here, catalogue) as client:
            await client.call_tool("generate", {"prompt": "a fox", "wait_seconds": 0})

    assert len(here.paid) == pictures
    assert {order.service for order in await here.orders()} == {"flux_2", service}
