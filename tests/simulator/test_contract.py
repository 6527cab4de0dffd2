"""The parameter contract (fact sheet 5): what is refused, and in which words."""

from __future__ import annotations

import pytest

from tests.simulator.api_client import BLEND, FOX, REMIX, TEXT, api_client

RATIOS = "1:1, 4:3, 3:4, 16:9, 9:16, 3:2, 2:3"
MAX_TEXT = {"model": "flux-2-max-text-to-image", "prompt": "a fox", "aspect_ratio": "1:1"}
MAX_BLEND = {**BLEND, "model": "flux-2-max-remix-image", "aspect_ratio": "1:1"}
TEXT_MODELS = "flux-2-pro-text-to-image, flux-2-flex-text-to-image, flux-2-max-text-to-image"
REMIX_MODELS = "flux-2-pro-remix-image, flux-2-flex-remix-image, flux-2-max-remix-image"
URL = "https://img.example/a.png"


def text(**fields: object) -> tuple[str, dict[str, object]]:
    return TEXT, {**FOX, **fields}


def remix(**fields: object) -> tuple[str, dict[str, object]]:
    return REMIX, {**BLEND, **fields}


def max_text(**fields: object) -> tuple[str, dict[str, object]]:
    return TEXT, {**MAX_TEXT, **fields}


def max_remix(**fields: object) -> tuple[str, dict[str, object]]:
    return REMIX, {**MAX_BLEND, **fields}


ACCEPTED = {
    "two letters are too few, three are enough": text(prompt="abc"),
    "5000 characters": text(prompt="é" * 5000),
    "every text ratio": text(aspect_ratio="2:3"),
    "2k": text(output_resolution="2k"),
    "a safety switch that is off": text(enable_safety_checker=False),
    "blank counts as absent": text(aspect_ratio=" ", output_resolution=None, callback_url=""),
    "fields nobody knows": text(seed=7, source_image_urls="whatever"),
    "eight sources": remix(source_image_urls=[URL] * 8),
    "auto": remix(aspect_ratio="auto"),
    "max with everything": max_text(output_count=1, output_resolution="1k"),
    "max from one source": max_remix(output_count=1),
}

REFUSED = {
    "no model": (text(model=None), "model", "is required"),
    "a model of nobody's": (text(model="flux-1"), "model", f"must be one of: {TEXT_MODELS}"),
    "a model that is a list": (text(model=["flux-1"]), "model", f"must be one of: {TEXT_MODELS}"),
    "a remix model for text": (text(model=BLEND["model"]), "model", f"must be one of: {TEXT_MODELS}"),
    "a text model for a remix": (remix(model=FOX["model"]), "model", f"must be one of: {REMIX_MODELS}"),
    "no prompt": (text(prompt=None), "prompt", "is required"),
    "a blank prompt": (text(prompt="   "), "prompt", "is required"),
    "a prompt that is a number": (text(prompt=3), "prompt", "must be a string"),
    "a short prompt": (text(prompt="ab"), "prompt", "must be between 3 and 5000 characters"),
    "a long prompt": (text(prompt="é" * 5001), "prompt", "must be between 3 and 5000 characters"),
    "an odd ratio": (text(aspect_ratio="21:9"), "aspect_ratio", f"must be one of: {RATIOS}"),
    "auto for text": (text(aspect_ratio="auto"), "aspect_ratio", f"must be one of: {RATIOS}"),
    "auto for max": (max_remix(aspect_ratio="auto"), "aspect_ratio", f"must be one of: {RATIOS}"),
    "an odd ratio for a remix": (remix(aspect_ratio="5:4"), "aspect_ratio", f"must be one of: {RATIOS}, auto"),
    "max without a ratio": (max_text(aspect_ratio=None), "aspect_ratio", "is required"),
    "max remix without a ratio": (max_remix(aspect_ratio=""), "aspect_ratio", "is required"),
    "4k": (text(output_resolution="4k"), "output_resolution", "must be one of: 1k, 2k"),
    "2K in capitals": (text(output_resolution="2K"), "output_resolution", "must be one of: 1k, 2k"),
    "max in 2k": (max_text(output_resolution="2k"), "output_resolution", "must be one of: 1k"),
    "a count for pro": (text(output_count=1), "output_count", f"is not allowed when model is {FOX['model']}"),
    "two from max": (max_text(output_count=2), "output_count", "must be one of: 1"),
    "a count that is text": (max_text(output_count="1"), "output_count", "must be an integer"),
    "a count that is true": (max_text(output_count=True), "output_count", "must be an integer"),
    "a switch that is text": (text(enable_safety_checker="no"), "enable_safety_checker", "must be a boolean"),
    "a safety switch on max, even off": (
        max_text(enable_safety_checker=False),
        "enable_safety_checker",
        "is not allowed when model is flux-2-max-text-to-image",
    ),
    "a callback that is a number": (text(callback_url=1), "callback_url", "must be a string"),
    "a callback to nowhere": (text(callback_url="ftp://x/y"), "callback_url", "must be an HTTP(S) URL"),
    "no sources": (remix(source_image_urls=[]), "source_image_urls", "is required"),
    "blank sources": (remix(source_image_urls=["", None]), "source_image_urls", "is required"),
    "nine sources": (remix(source_image_urls=[URL] * 9), "source_image_urls", "must contain between 1 and 8 items"),
    "two sources for max": (
        max_remix(source_image_urls=[URL] * 2),
        "source_image_urls",
        "must contain between 1 and 1 items",
    ),
    "one address, not in a list": (remix(source_image_urls=URL), "source_image_urls", "must be an array"),
    "a path": (remix(source_image_urls=["/tmp/a.png"]), "source_image_urls", "must contain only HTTP(S) URLs"),  # noqa: S108
    "half a host": (remix(source_image_urls=["http://["]), "source_image_urls", "must contain only HTTP(S) URLs"),
    "a number": (remix(source_image_urls=[URL, 1]), "source_image_urls", "must contain only HTTP(S) URLs"),
}


@pytest.mark.parametrize(("path", "body"), ACCEPTED.values(), ids=ACCEPTED)
async def test_accepted(path: str, body: dict[str, object]) -> None:
    async with api_client() as here:
        response = await here.create(body, path)

    assert response.status_code == 200, response.text


@pytest.mark.parametrize(("request_", "field", "complaint"), REFUSED.values(), ids=REFUSED)
async def test_refused(request_: tuple[str, dict[str, object]], field: str, complaint: str) -> None:
    async with api_client() as here:
        response = await here.create(request_[1], request_[0])

        assert response.status_code == 422
        assert response.json() == {"error": "Validation failed", "errors": {field: [complaint]}}
        assert here.simulator.ledger.tasks() == []


async def test_all_that_is_wrong_is_said_at_once() -> None:
    async with api_client() as here:
        response = await here.create({**FOX, "prompt": "a", "aspect_ratio": "9:1", "output_count": 3})

    assert set(response.json()["errors"]) == {"prompt", "aspect_ratio", "output_count"}
