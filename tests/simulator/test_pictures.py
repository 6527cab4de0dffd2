"""The pictures: real PNG files in the right size, different for every prompt, honest about what they are."""

from __future__ import annotations

import io
from typing import cast

import httpx
import pytest
from PIL import Image

from flux2_mcp.simulator import Script
from flux2_mcp.simulator.sizes import size_for, size_like
from tests.simulator.api_client import BLEND, FOX, REMIX, ApiClient, api_client

AT_ONCE = Script(looks_until_done=1)
RATIOS = ["1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3"]


async def picture(here: ApiClient, body: dict[str, object], path: str = "/api/v1/flux_2/text_to_image") -> bytes:
    task_id = await here.created(body, path)
    images = (await here.http.get(f"{path}/{task_id}")).json()["images"]
    response: httpx.Response = await here.http.get(images[0]["url"], headers={"Authorization": ""})
    assert response.headers["content-type"] == "image/png"
    return response.content


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    assert image.format == "PNG"
    return image.convert("RGB")


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize(("resolution", "megapixels"), [("1k", 1.05), ("2k", 4.2)])
def test_sizes_have_exactly_the_ratio_asked_for(ratio: str, resolution: str, megapixels: float) -> None:
    width, height = size_for(ratio, resolution)
    across, down = (int(part) for part in ratio.split(":"))

    assert width * down == height * across
    assert width % 16 == height % 16 == 0
    assert 0.85 < width * height / 1e6 / megapixels < 1.15


def test_auto_keeps_a_sources_ratio_within_reason() -> None:
    assert size_like(300, 200, "1k") == (1248, 832)
    assert size_like(10_000, 10, "1k") == (2048, 512)


@pytest.mark.parametrize("plain", [False, True])
async def test_a_picture_is_a_png_in_the_right_size(*, plain: bool) -> None:
    async with api_client(Script(looks_until_done=1, plain_pictures=plain)) as here:
        image = opened(await picture(here, {**FOX, "aspect_ratio": "3:4", "output_resolution": "2k"}))

    assert image.size == size_for("3:4", "2k")


async def test_a_picture_stays_the_same_and_differs_from_others() -> None:
    async with api_client(AT_ONCE) as here:
        task_id = await here.created(FOX)
        images = (await here.http.get(f"/api/v1/flux_2/text_to_image/{task_id}")).json()["images"]
        first, again = [(await here.http.get(images[0]["url"])).content for _ in range(2)]
        other = await picture(here, {**FOX, "prompt": "a blue #123456 sea at night"})

    assert first == again
    assert first != other


@pytest.mark.parametrize(
    "prompt", ["日本語の狐 🦊🦊 עברית", "a\x00b\ud7ff\n\tc" + "x" * 4900, "a red vase, gold hills, #2a7 and #fa3"]
)
async def test_any_prompt_can_be_drawn(prompt: str) -> None:
    async with api_client(AT_ONCE) as here:
        assert opened(await picture(here, {**FOX, "prompt": prompt})).size == (1024, 1024)


async def test_a_picture_says_on_a_dark_strip_that_it_is_simulated() -> None:
    async with api_client(AT_ONCE) as here:
        image = opened(await picture(here, {**FOX, "prompt": "a white ceramic vase"})).convert("L")

    strip = image.crop((0, image.height - 36, image.width, image.height))
    words = [cast("int", strip.getpixel((x, y))) for x in range(20, 220) for y in range(36)]
    assert strip.getpixel((image.width - 3, 30)) in range(80)
    assert max(words) > 200


async def test_a_remix_shows_its_sources_and_keeps_their_ratio(red_png: bytes) -> None:
    async with api_client(AT_ONCE) as here:
        url = await here.upload(red_png)
        image = opened(await picture(here, {**BLEND, "source_image_urls": [url]}, REMIX))

    colour = image.getpixel((image.width // 2, image.height // 3))
    assert isinstance(colour, tuple)
    assert image.size == (1248, 832)
    assert colour[0] > 150
    assert max(colour[1:]) < 120


async def test_eight_sources_fit_into_one_picture(red_png: bytes) -> None:
    async with api_client(AT_ONCE) as here:
        own = await here.upload(red_png)
        urls = [own, *(f"https://img.example/{n}.png" for n in range(7))]
        image = opened(await picture(here, {**BLEND, "source_image_urls": urls, "aspect_ratio": "9:16"}, REMIX))

    assert image.size == size_for("9:16", "1k")


async def test_a_source_that_breaks_off_is_drawn_as_far_as_its_address() -> None:
    """Its header is fine, so the task was accepted; nothing may fall over later."""
    noise = io.BytesIO()
    Image.effect_noise((400, 400), 90).convert("RGB").save(noise, "JPEG")
    async with api_client(AT_ONCE) as here:
        url = await here.upload(noise.getvalue()[:4000], "half.jpg")
        image = opened(await picture(here, {**BLEND, "source_image_urls": [url], "aspect_ratio": "1:1"}, REMIX))

    assert image.size == (1024, 1024)


async def test_only_the_last_pictures_are_kept_and_the_others_drawn_again() -> None:
    async with api_client(Script(looks_until_done=1, plain_pictures=True)) as here:
        first = await picture(here, {**FOX})
        path = here.simulator.requests[-1].path
        for number in range(20):
            await picture(here, {**FOX, "prompt": f"fox {number}"})
        again = (await here.http.get(path)).content

    assert first == again


async def test_a_generated_picture_can_be_a_source() -> None:
    async with api_client(AT_ONCE) as here:
        task_id = await here.created({**FOX, "aspect_ratio": "9:16"})
        images = (await here.http.get(f"/api/v1/flux_2/text_to_image/{task_id}")).json()["images"]
        image = opened(await picture(here, {**BLEND, "source_image_urls": [images[0]["url"]]}, REMIX))

    assert image.height > image.width


async def test_there_is_no_picture_before_the_end_or_after_a_week() -> None:
    async with api_client(Script(plain_pictures=True)) as here:
        task = here.simulator.task(await here.created())
        path = f"/generated/{task.picture_name}.png"
        before = await here.http.get(path)
        here.clock.wait(60)
        there = await here.http.get(path)
        head = await here.http.head(path)
        here.clock.wait(7 * 24 * 3600)
        after = await here.http.get(path)

    assert [before.status_code, there.status_code, after.status_code] == [404, 200, 404]
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(there.content))


async def test_a_picture_of_an_unknown_name_is_not_found() -> None:
    async with api_client() as here:
        assert (await here.http.get("/generated/nothing.png")).status_code == 404
