from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
from jsonschema import validate
from mcp.client import Client
from mcp.client.client import ConnectMode
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, PromptReference, TextContent

from flux2_mcp.catalogue import Request, catalogue
from tests.world import text_of, world

PHOTO = "https://example.com/photo.png"
GIVEN: dict[str, dict[str, str]] = {
    "product_shot": {"product": "matte black espresso cup", "colors": "#1A1A1A, #C8553D"},
    "poster": {"subject": "a lighthouse", "headline": "OPEN LATE", "small_text": "Fridays, pier 4"},
    "portrait": {"person": "a violin maker of seventy"},
    "restyle_photo": {"photo": PHOTO, "style": "watercolour on rough paper"},
    "combine_references": {
        "idea": "The woman of image 1 wears the coat of image 2.",
        "image_1": PHOTO,
        "image_2": PHOTO,
    },
    "consistent_character": {"character": "Mira, a mechanic in red", "scenes": "in a café; on the moon"},
}
EACH = pytest.mark.parametrize("name", GIVEN)

Call = tuple[str, dict[str, Any]]


async def words(client: Client, name: str, **more: str) -> str:
    [message] = (await client.get_prompt(name, {**GIVEN[name], **more})).messages
    assert message.role == "user"
    assert isinstance(message.content, TextContent)
    return message.content.text


def calls_in(text: str) -> list[Call]:
    """The calls that a prompt asks for, in their order."""
    found = re.findall(r"call (\w+):\n\n```json\n(.*?)\n```", text, re.DOTALL | re.IGNORECASE)
    return [(tool, json.loads(arguments)) for tool, arguments in found]


async def test_the_prompts_say_what_they_are_for(tmp_path: Path, era: ConnectMode) -> None:
    async with world(tmp_path, mode=era).client() as client:
        prompts = (await client.list_prompts()).prompts

    assert [prompt.name for prompt in prompts] == list(GIVEN)
    for prompt in prompts:
        assert prompt.title
        assert prompt.description
        assert prompt.arguments
        assert all(argument.description for argument in prompt.arguments)
        required = {argument.name for argument in prompt.arguments if argument.required}
        assert required <= set(GIVEN[prompt.name])


@EACH
async def test_a_prompt_ends_in_calls_that_our_tools_accept(tmp_path: Path, name: str) -> None:
    async with world(tmp_path).client() as client:
        schemas = {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}
        text = await words(client, name)

    calls = calls_in(text)
    assert calls
    assert text.endswith("```")
    assert calls[-1][0] in {"generate", "remix"}
    for tool, arguments in calls:
        validate(arguments, schemas[tool])


@EACH
async def test_the_calls_are_ones_that_runapi_would_accept(tmp_path: Path, name: str) -> None:
    async with world(tmp_path).client() as client:
        calls = calls_in(await words(client, name))

    for tool, arguments in calls:
        if tool != "estimate_cost":
            given: dict[str, Any] = {**arguments, "source_image_urls": tuple(arguments.get("source_image_urls", ()))}
            catalogue().check(Request(action="remix_image" if tool == "remix" else "text_to_image", **given))


@pytest.mark.parametrize("name", ["product_shot", "poster", "portrait"])
async def test_a_prompt_can_be_followed_to_a_picture(tmp_path: Path, name: str) -> None:
    async with world(tmp_path).client() as client:
        [(tool, arguments)] = calls_in(await words(client, name))
        result = await client.call_tool(tool, arguments)

    assert not result.is_error, text_of(result)
    assert "File: " in text_of(result)


async def test_a_character_goes_from_its_first_picture_into_every_scene(tmp_path: Path) -> None:
    here = world(tmp_path)
    async with here.client() as client:
        text = await words(client, "consistent_character")
        (_, estimate), (_, first), *scenes = calls_in(text)
        cost = await client.call_tool("estimate_cost", estimate)
        await client.call_tool("generate", first)
        [task] = here.paid
        for tool, arguments in json.loads(json.dumps(scenes).replace("TASK_ID", task.id)):
            result = await client.call_tool(tool, arguments)
            assert not result.is_error, text_of(result)

    assert "TASK_ID in flux2://tasks/TASK_ID/images/0 stands for the task_id of the first picture." in text
    assert (cost.structured_content or {})["cost_usd"] == 0.15
    assert len(here.paid) == 3


async def test_a_character_that_has_a_picture_needs_no_first_one(tmp_path: Path) -> None:
    async with world(tmp_path).client() as client:
        calls = calls_in(await words(client, "consistent_character", reference=PHOTO))

    assert [tool for tool, _ in calls] == ["estimate_cost", "remix", "remix"]
    assert all(arguments["source_image_urls"] == [PHOTO] for _, arguments in calls)


async def test_one_picture_is_made_at_once_and_several_are_priced_first(tmp_path: Path) -> None:
    async with world(tmp_path).client() as client:
        one = calls_in(await words(client, "portrait"))
        several = calls_in(await words(client, "portrait", count="3"))

    assert [tool for tool, _ in one] == ["generate"]
    assert [tool for tool, _ in several] == ["estimate_cost", "generate"]
    assert [arguments["count"] for _, arguments in several] == [3, 3]


async def test_a_product_is_described_as_json(tmp_path: Path) -> None:
    async with world(tmp_path).client() as client:
        [(_, arguments)] = calls_in(await words(client, "product_shot"))

    scene = cast("dict[str, Any]", json.loads(arguments["prompt"]))
    assert scene["color_palette"] == ["#1A1A1A", "#C8553D"]
    assert scene["subjects"][0]["description"] == "matte black espresso cup"


async def test_lettering_stands_in_one_pair_of_quotation_marks(tmp_path: Path) -> None:
    """Flux 2 letters what is quoted; a mark inside would end it early."""
    letters = {"OPEN LATE": '"OPEN LATE"', '"OPEN LATE"': '"OPEN LATE"', 'The "Blue" Bar': '"The ’Blue’ Bar"'}
    async with world(tmp_path).client() as client:
        for headline, lettered in letters.items():
            [(_, arguments)] = calls_in(await words(client, "poster", headline=headline))
            assert f"says {lettered}." in arguments["prompt"]


async def test_sources_keep_their_order(tmp_path: Path) -> None:
    """The prompt calls them image 1, image 2."""
    async with world(tmp_path).client() as client:
        [(_, arguments)] = calls_in(await words(client, "combine_references", image_2="/home/me/b.png", image_4=PHOTO))

    assert arguments["source_image_urls"] == [PHOTO, "/home/me/b.png", PHOTO]


async def test_an_argument_left_blank_counts_as_not_given(tmp_path: Path) -> None:
    """Hosts show a form and send all of its fields."""
    async with world(tmp_path).client() as client:
        assert await words(client, "portrait", style="", lens=" ") == await words(client, "portrait")


BAD_ARGUMENTS: list[tuple[str, dict[str, str], str]] = [
    (
        "poster",
        {"subject": "a fox", "headline": " "},
        "poster needs headline: The words of the headline, exactly as they should appear.",
    ),
    (
        "portrait",
        {"person": "x", "colour": "red"},
        (
            "portrait has no argument 'colour'. It takes person, mood, environment, style, lighting, lens, "
            "aspect_ratio, model, count."
        ),
    ),
    ("portrait", {"person": "x", "count": "nine"}, "count is a number from 1 to 8."),
    (
        "portrait",
        {"person": "x", "aspect_ratio": "21:9"},
        "flux-2-pro cannot make '21:9' with generate. It can make 1:1, 4:3, 3:4, 16:9, 9:16, 3:2 and 2:3.",
    ),
    (
        "consistent_character",
        {"character": "Mira", "scenes": "a;" * 9},
        "scenes has 9 scenes; 1 to 7 can be made, with semicolons between.",
    ),
    (
        "landscape",
        {},
        (
            "There is no prompt 'landscape'. There are product_shot, poster, portrait, restyle_photo, "
            "combine_references, consistent_character."
        ),
    ),
]


async def test_a_bad_argument_is_named(tmp_path: Path, era: ConnectMode) -> None:
    async with world(tmp_path, mode=era).client() as client:
        for name, arguments, complaint in BAD_ARGUMENTS:
            with pytest.raises(MCPError) as refusal:
                await client.get_prompt(name, arguments)
            assert (refusal.value.code, refusal.value.message) == (INVALID_PARAMS, complaint)


COMPLETED: list[tuple[str, str, str, list[str]]] = [
    ("product_shot", "aspect_ratio", "", ["1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3"]),
    ("restyle_photo", "aspect_ratio", "a", ["auto"]),
    ("poster", "model", "flux-2-f", ["flux-2-flex"]),
    ("portrait", "lighting", "Neon", ["neon light at night, wet reflections"]),
    ("poster", "lettering", "capitals", ["bold condensed sans serif capitals", "art deco capitals"]),
    ("portrait", "count", "", ["1", "2", "3", "4", "5", "6", "7", "8"]),
    ("portrait", "person", "a", []),
    ("portrait", "nothing", "", []),
    ("nothing", "style", "", []),
]


async def test_arguments_are_completed(tmp_path: Path, era: ConnectMode) -> None:
    async with world(tmp_path, mode=era).client() as client:
        for prompt, argument, typed, offered in COMPLETED:
            result = await client.complete(PromptReference(name=prompt), {"name": argument, "value": typed})
            assert result.completion.values == offered, (prompt, argument, typed)


async def test_what_begins_with_the_letters_comes_before_what_contains_them(tmp_path: Path) -> None:
    async with world(tmp_path).client() as client:
        result = await client.complete(PromptReference(name="portrait"), {"name": "style", "value": "c"})

    first, *_, last = result.completion.values
    assert first == "clean commercial photograph"
    assert not last.startswith("c")


async def test_pictures_that_were_made_are_offered_as_sources(tmp_path: Path) -> None:
    here = world(tmp_path)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        result = await client.complete(PromptReference(name="restyle_photo"), {"name": "photo", "value": ""})

    [task] = here.paid
    assert result.completion.values == [f"flux2://tasks/{task.id}/images/0"]
