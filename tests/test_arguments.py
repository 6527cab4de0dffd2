from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from jsonschema import validate
from mcp.client.client import ConnectMode

from flux2_mcp.simulator import Script
from tests.world import World, text_of, world

SOURCE = "https://pictures.example/cat.png"
FOX: dict[str, object] = {"prompt": "a fox"}
REMIX: dict[str, object] = {"prompt": "a fox", "source_image_urls": [SOURCE]}


def small_world(home: Path, mode: ConnectMode = "auto") -> World:
    return world(home, Script(looks_until_done=1, plain_pictures=True), mode=mode)


REFUSED: dict[str, list[tuple[dict[str, object], str]]] = {
    "generate": [
        ({**FOX, "negative_prompt": "cats"}, "no argument 'negative_prompt'"),
        ({**FOX, "aspectRatio": "1:1"}, "Did you mean aspect_ratio?"),
        ({**FOX, "wait": 3}, "no argument 'wait'"),
        ({**FOX, "studio": {}}, "no argument 'studio'"),
        ({**FOX, "ctx": 1}, "no argument 'ctx'"),
        ({"promt": "a fox"}, "Did you mean prompt?"),
        ({}, "prompt: it is required"),
        ({"prompt": None}, "prompt: it is required"),
        ({"prompt": "  a "}, "too short"),
        ({"prompt": "x" * 5001}, "5001 characters"),
        ({"prompt": 7}, "prompt: it takes text."),
        ({"prompt": ["a fox"]}, "prompt: it takes text."),
        ({**FOX, "count": 0}, "count: it takes a whole number from 1 to 8."),
        ({**FOX, "count": 9}, "count: it takes a whole number from 1 to 8."),
        ({**FOX, "count": 1.5}, "count: it takes a whole number from 1 to 8."),
        ({**FOX, "count": "many"}, "count: it takes a whole number from 1 to 8."),
        ({**FOX, "wait_seconds": -1}, "wait_seconds: it takes a number from 0 to 600."),
        ({**FOX, "wait_seconds": 601}, "wait_seconds: "),
        ({**FOX, "wait_seconds": "soon"}, "wait_seconds: "),
        ({**FOX, "wait_seconds": "nan"}, "wait_seconds: "),
        ({**FOX, "repeat": "perhaps"}, "repeat: it takes true or false."),
        ({**FOX, "enable_safety_checker": "perhaps"}, "enable_safety_checker: it takes true or false."),
        ({**FOX, "model": "flux-3-pro"}, "There is no model"),
        ({**FOX, "model": "flux-2-pro-remix-image"}, "belongs to remix"),
        ({**FOX, "aspect_ratio": "21:9"}, "cannot make '21:9'"),
        ({**FOX, "aspect_ratio": "auto"}, "cannot make 'auto'"),
        ({**FOX, "output_resolution": "4k"}, "cannot make 4k"),
        ({**FOX, "model": "flux-2-max", "output_resolution": "2k"}, "cannot make 2k"),
        ({**FOX, "model": "flux-2-max", "enable_safety_checker": True}, "no enable_safety_checker"),
        ({**FOX, "callback_url": "javascript:alert(1)"}, "callback_url"),
    ],
    "remix": [
        (FOX, "source_image_urls: it is required"),
        ({**REMIX, "source_image_urls": []}, "1 to 8 source images"),
        ({**REMIX, "source_image_urls": [SOURCE] * 9}, "1 to 8 source images"),
        ({**REMIX, "source_image_urls": [7]}, "source_image_urls: it takes a list of texts."),
        ({**REMIX, "source_image_urls": {"url": SOURCE}}, "source_image_urls"),
        ({**REMIX, "image": SOURCE}, "no argument 'image'"),
        ({**REMIX, "model": "flux-2-max"}, "needs an aspect_ratio"),
    ],
    "view_image": [
        ({"task_id": "x", "index": -1}, "index: it takes a whole number from 0 on."),
    ],
    "task_status": [
        ({}, "task_id: it is required"),
        ({"id": "1"}, "It takes task_id"),
    ],
}


@pytest.mark.parametrize("tool", REFUSED)
async def test_a_bad_argument_is_refused_in_words_and_costs_nothing(tmp_path: Path, tool: str) -> None:
    """The model reads what is wrong and what would be right; RunAPI hears nothing."""
    here = small_world(tmp_path)
    async with here.client() as client:
        for arguments, words in REFUSED[tool]:
            result = await client.call_tool(tool, arguments)
            said = text_of(result)
            assert result.is_error, arguments
            assert words in said
            assert "pydantic" not in said
            assert "Input" not in said
            assert len(said) < 600

    assert not here.creates


async def test_a_bad_argument_is_refused_in_both_eras(tmp_path: Path, era: ConnectMode) -> None:
    here = small_world(tmp_path, era)
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox", "seed": 7})

    assert result.is_error
    assert "Nothing was charged" in text_of(result)
    assert not here.simulator.requests


async def test_null_means_that_an_argument_was_left_out(tmp_path: Path) -> None:
    """Some hosts send null for everything that their model did not fill in."""
    here = small_world(tmp_path)
    async with here.client() as client:
        [generate, *_] = (await client.list_tools()).tools
        optional = set(generate.input_schema["properties"]) - {"prompt"}
        result = await client.call_tool("generate", {**FOX, **dict.fromkeys(optional)})

    assert not result.is_error, text_of(result)
    assert json.loads(here.creates[0].body) == {"model": "flux-2-pro-text-to-image", "prompt": "a fox"}


LEFT_OUT = {"enable_safety_checker", "max_cost_usd"}


@pytest.mark.parametrize(("tool", "given"), [("generate", FOX), ("remix", REMIX), ("estimate_cost", FOX)])
async def test_a_host_that_requires_every_argument_can_leave_out_a_limit_all_the_same(
    tmp_path: Path, tool: str, given: dict[str, object]
) -> None:
    """Its model must fill in everything, as in OpenAI's strict mode, and a limit that it makes up refuses calls."""
    here = small_world(tmp_path)
    async with here.client() as client:
        [schema] = [each.input_schema for each in (await client.list_tools()).tools if each.name == tool]
        nothing = {name: nothing_for(each) for name, each in schema["properties"].items()}
        arguments = {**nothing, **given, **dict.fromkeys(LEFT_OUT)}
        validate(arguments, {**schema, "required": list(schema["properties"])})
        result = await client.call_tool(tool, arguments)

    assert not result.is_error, text_of(result)
    assert len(here.paid) == (tool != "estimate_cost")
    assert not any(LEFT_OUT & set(json.loads(seen.body)) for seen in here.creates)


def nothing_for(schema: Mapping[str, object]) -> object:
    """What a model fills in that must fill in something: the default, or the emptiest value of the type."""
    empty: dict[str, object] = {"string": "", "boolean": False, "array": [], "integer": 0, "number": 0}
    return schema.get("default", empty.get(str(schema.get("type"))))


@pytest.mark.parametrize(
    "prompt",
    [
        '{"scene": "a fox", "style": ["ink", 2]}',
        '["a fox", "in snow"]',
        "null",
        "12345",
        "true",
        '"a fox"',
        "ein Füchschen 🦊 im Schnee – 雪の中の狐",
        "two\nlines\tand a tab",
        "x" * 5000,
    ],
    ids=["object", "list", "null", "number", "bool", "quoted", "unicode", "lines", "long"],
)
async def test_a_prompt_reaches_runapi_as_it_was_written(tmp_path: Path, prompt: str) -> None:
    """Flux 2 takes prompts that are JSON; the SDK would read them as data."""
    here = small_world(tmp_path)
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": prompt, "wait_seconds": 0})

    assert not result.is_error, text_of(result)
    assert json.loads(here.creates[0].body)["prompt"] == prompt


async def test_every_argument_reaches_runapi(tmp_path: Path) -> None:
    here = small_world(tmp_path)
    async with here.client() as client:
        result = await client.call_tool(
            "remix",
            {
                "prompt": "a fox",
                "source_image_urls": [SOURCE],
                "model": "flux-2-flex-remix-image",
                "aspect_ratio": "auto",
                "output_resolution": "2K",
                "enable_safety_checker": False,
                "callback_url": "https://me.example/done",
            },
        )

    assert not result.is_error, text_of(result)
    sent = json.loads(here.creates[0].body)
    assert sent["model"] == "flux-2-flex-remix-image"
    assert sent["aspect_ratio"] == "auto"
    assert sent["output_resolution"] == "2k"
    assert sent["enable_safety_checker"] is False
    assert sent["callback_url"] == "https://me.example/done"


async def test_max_gets_the_ratio_that_it_requires(tmp_path: Path) -> None:
    here = world(
        tmp_path,
        Script(looks_until_done=1, plain_pictures=True),
        environ={"FLUX2_ALLOW_UNKNOWN_PRICE": "true"},
    )
    async with here.client() as client:
        result = await client.call_tool("generate", {**FOX, "model": "max"})

    assert not result.is_error, text_of(result)
    assert json.loads(here.creates[0].body)["aspect_ratio"] == "1:1"


@pytest.mark.parametrize("argument", ["prompt", "save_to"])
async def test_half_an_emoji_orders_a_picture_all_the_same(tmp_path: Path, argument: str) -> None:
    """Hosts that count in UTF-16 cut texts in the middle of one; nothing of it can be sent to RunAPI."""
    here = small_world(tmp_path)
    async with here.client() as client:
        result = await client.call_tool("generate", {**FOX, argument: "a fox \ud83e and more"})

    assert not result.is_error
    assert len(here.paid) == 1
