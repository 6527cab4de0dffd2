"""Take the gallery's pictures for the docs: the real page in a host, with the simulator's pictures, light and dark.

Run it in the repository: python -m scripts.gallery_screenshots [FOLDER]. It needs Chromium.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import anyio
from PIL import Image
from playwright.async_api import Browser

from flux2_mcp.simulator import Script, Simulator
from tests.gallery.app_host import AppHost, app_host, chromium
from tests.paid_once.backdating import time_passes
from tests.world import APPS, World, every

FOLDER = Path(__file__).parent.parent / "docs" / "gallery"
LARGEST = 120_000
"""Bytes of a file."""

YESTERDAY = (
    "An old lighthouse on a cliff, storm coming in, oil painting",
    "Three pears on a blue cloth, morning light from a window",
    "A narrow street in Lisbon after rain, reflections, 35 mm",
    "Isometric reading room with too many books",
)
TODAY = (
    "Poster for a jazz night, two colours, bold shapes",
    "A kingfisher diving, frozen water drops",
    "Dunes at blue hour, a single line of footprints",
    "Ceramic teapot on a wooden table, soft shadows",
    "Mountain lake with mist, pine trees, before sunrise",
    "Paper-cut city skyline in warm reds",
    "A greenhouse full of ferns, glass roof, noon",
)
FOX = "A red fox asleep in fresh snow at dawn, soft light, shallow depth of field"
HILLS = "Rolling hills in late autumn, low sun, long shadows, painted in gouache"


Theme = Literal["light", "dark"]

PRICED = "() => [...document.querySelectorAll('.price')].every((each) => each.textContent !== '· …')"


async def main(folder: Path) -> None:
    """Write all of them."""
    await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
    async with chromium() as browser:
        await _in_theme(browser, folder, "light")
        await _in_theme(browser, folder, "dark")


async def _in_theme(browser: Browser, folder: Path, theme: Theme) -> None:
    script = Script(queue_seconds=0.5, paint_seconds=6, paint_spread=0.2, opening_cents=2000)
    environ = {"FLUX2_DAILY_BUDGET": "3"}
    with tempfile.TemporaryDirectory() as home:
        world = World(
            Simulator(script), Path(home), intervals=every(0.2), extensions=(APPS,), patience=300, environ=environ
        )
        await _made(world, YESTERDAY)
        await anyio.to_thread.run_sync(lambda: time_passes(world.home, days=1))
        await _made(world, TODAY)
        await _all_views(browser, world, folder, theme)


async def _made(world: World, prompts: tuple[str, ...]) -> None:
    ratios = ("3:2", "1:1", "16:9", "4:3", "3:4")
    async with world.client() as client, anyio.create_task_group() as group:
        for nth, prompt in enumerate(prompts):
            group.start_soon(
                client.call_tool, "generate", {"prompt": prompt, "aspect_ratio": ratios[nth % len(ratios)]}
            )


async def _all_views(browser: Browser, world: World, folder: Path, theme: Theme) -> None:
    context: Mapping[str, object] = {"theme": theme}

    async def shot(host: AppHost, name: str, *, pictures: int = 0) -> None:
        await _settled(host, pictures)
        frame = host.page.locator("iframe")
        _write(folder / f"{name}-{theme}.webp", await frame.screenshot(animations="disabled"))

    async with app_host(browser, world, context=context, scheme=theme, sharpness=2) as host:
        await host.calls("generate", prompt=FOX, aspect_ratio="3:2", repeat=True)
        await shot(host, "result", pictures=1)
    async with app_host(browser, world, context=context, scheme=theme, sharpness=2) as host:
        await host.calls("generate", prompt=HILLS, aspect_ratio="4:3", count=4, repeat=True)
        await shot(host, "variations", pictures=4)
        await host.app.get_by_role("button", name="All pictures").click()
        await shot(host, "history", pictures=12)
    async with app_host(browser, world, context=context, scheme=theme, sharpness=2) as host:
        await host.calls("generate", prompt=f"{HILLS}, in winter", aspect_ratio="3:2", wait_seconds=0, repeat=True)
        await host.app.get_by_text("3 s of about").wait_for()
        await shot(host, "progress")
    async with app_host(browser, world, context=context, scheme=theme, sharpness=2) as host:
        await host.calls("generate", prompt=FOX, model="flux-2-max", aspect_ratio="1:1")
        await host.app.get_by_role("alert").wait_for()
        await shot(host, "error")


async def _settled(host: AppHost, pictures: int) -> None:
    """Wait until the prices and so many pictures are there."""
    if pictures:
        await host.app.locator(":is(.tile, .thumb) img:visible").nth(pictures - 1).wait_for()
    await host.page.frames[1].wait_for_function(PRICED)
    await host.page.wait_for_load_state("networkidle")


def _write(path: Path, png: bytes) -> None:
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for quality in (86, 80, 72, 64):
        with io.BytesIO() as out:
            picture.save(out, "WEBP", quality=quality, method=6)
            if out.tell() <= LARGEST or quality == 64:
                path.write_bytes(out.getvalue())
                print(f"{path.name}: {out.tell():,} bytes")
                return


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
