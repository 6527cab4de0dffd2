"""`flux2-mcp gallery` in a real browser: the page, the history behind it, and whoever else is in that browser."""

from __future__ import annotations

import base64
import io
import json
import os
import random
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from PIL import Image
from playwright.async_api import Browser, BrowserContext, Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from flux2_mcp.simulator import Script, Simulator
from tests.databases import history_in
from tests.gallery.app_host import PATIENCE, has_chromium
from tests.gallery.local import Gallery, filled, gallery, request_of
from tests.processes import on_a_port, served

pytestmark = has_chromium

WATCH = """
window.longTasks = [];
new PerformanceObserver((list) => longTasks.push(...list.getEntries().map((entry) => entry.duration)))
  .observe({ type: "longtask", buffered: true });
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
"""
SEARCH = """async (words) => {
  const box = document.querySelector("input[type=search]");
  const isThere = () => {
    const found = [...document.querySelectorAll("[data-id]")];
    return found.length > 0 && found.every((each) => each.getAttribute("aria-label").includes(words));
  };
  const began = performance.now();
  const shown = new Promise((resolve) => new MutationObserver((_, observer) => {
    if (!isThere()) return;
    observer.disconnect();
    resolve(performance.now());
  }).observe(document.body, { childList: true, subtree: true }));
  box.value = words;
  box.dispatchEvent(new InputEvent("input", { bubbles: true }));
  return await shown - began;
}"""
"""Types words into the search; gives the milliseconds until only what has them is shown."""
DROP = """([data, type]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const dropped = new DataTransfer();
  dropped.items.add(new File([bytes], "holiday.png", { type }));
  return dropped;
}"""
ATTACK = """async ([gallery, headers, body]) => {
  const tried = (promise) => promise.then(() => "sent", () => "refused");
  const form = document.createElement("form");
  Object.assign(form, { action: `${gallery}/mcp`, method: "POST", enctype: "text/plain", target: "hidden" });
  form.append(Object.assign(document.createElement("textarea"), { name: body.slice(0, -2), value: body.slice(-1) }));
  const frames = ["hidden", "shown"].map((name) => Object.assign(document.createElement("iframe"), { name }));
  frames[1].src = gallery;
  document.body.append(form, ...frames);
  const loaded = Promise.all(frames.map((frame) => new Promise((resolve) => (frame.onload = resolve))));
  form.submit();
  return [
    await tried(fetch(gallery, { credentials: "include" })),
    await tried(fetch(`${gallery}/mcp`, { method: "POST", credentials: "include", headers, body })),
    await tried(fetch(`${gallery}/mcp`, { method: "POST", credentials: "include", mode: "no-cors", body })),
    await tried(loaded),
  ];
}"""
OWNED = "document.title = 'owned'"
HOSTILE = f'<script>{OWNED}</script><img src=x onerror="{OWNED}"> 🦊 \u202egnirts\u202c مرحبا\n'


@dataclass
class Window:
    """A browser in which the gallery is open."""

    gallery: Gallery
    simulator: Simulator
    home: Path
    context: BrowserContext
    page: Page
    complaints: list[str]
    """What the browser has complained about in its console."""

    async def opens(self, prompt: str) -> None:
        await self.page.get_by_role("button", name=prompt).click()


@asynccontextmanager
async def window(
    browser: Browser,
    home: Path,
    *prompts: str,
    simulator: Simulator | None = None,
    environ: dict[str, str] | None = None,
) -> AsyncGenerator[Window, None]:
    """The gallery with such pictures, all of them with one file; at the end nothing may have been complained about."""
    picture = home / "pictures" / "fox.png"
    picture.parent.mkdir()
    picture.write_bytes(painted(64, 48))
    complaints: list[str] = []
    async with served(simulator) as (base_url, runapi):
        await filled(home, base_url, prompts, picture=picture)
        async with (
            gallery(home, base_url, "--no-open", often=True, environ=environ or {}) as here,
            await _context(browser) as context,
        ):
            page = await context.new_page()
            page.on(
                "console",
                lambda said: (
                    complaints.append(f"{said.text} {said.location}") if said.type in {"error", "warning"} else None
                ),
            )
            page.on("pageerror", lambda error: complaints.append(str(error)))
            await page.goto(here.link)
            yield Window(here, runapi, home, context, page, complaints)
            assert await page.evaluate("violations") == []
    assert complaints == []


async def _context(browser: Browser) -> BrowserContext:
    context = await browser.new_context(viewport={"width": 1200, "height": 800}, accept_downloads=True)
    context.set_default_timeout(PATIENCE)
    await context.add_init_script(WATCH)
    return context


def busy() -> float:
    """How many times longer things take because others use this machine too; 1 when nobody does."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def painted(wide: int, high: int) -> bytes:
    """A picture as large as possible: noise."""
    file = io.BytesIO()
    Image.frombytes("RGB", (wide, high), random.Random(1).randbytes(wide * high * 3)).save(file, "PNG")  # noqa: S311 noise
    return file.getvalue()


async def test_the_link_shows_the_history_and_opens_nothing_in_another_browser(
    browser: Browser, tmp_path: Path
) -> None:
    async with window(browser, tmp_path, "a fox in the snow", "a hare") as here:
        await expect(here.page.get_by_role("button", name="a fox in the snow")).to_be_visible()
        await expect(here.page.get_by_role("button", name="a hare")).to_be_visible()
        assert here.page.url == f"{here.gallery.origin}/"
        await here.page.reload()
        await expect(here.page.get_by_role("button", name="a hare")).to_be_visible()
        again = await here.context.new_page()
        await again.goto(here.gallery.link)
        await expect(again.get_by_role("button", name="a hare")).to_be_visible()
        async with await _context(browser) as other:
            page = await other.new_page()
            await page.goto(here.gallery.link)
            await expect(page.get_by_role("heading", name="Not opened")).to_be_visible()
            await expect(page.get_by_text("once, in one browser")).to_be_visible()
            assert await page.evaluate("violations") == []
            await page.goto(here.gallery.origin)
            await expect(page.get_by_role("heading", name="Not opened")).to_be_visible()


async def test_a_search_through_a_thousand_pictures_is_answered_at_once(browser: Browser, tmp_path: Path) -> None:
    prompts = [f"{'hare' if nth % 8 == 0 else 'fox'} number {nth:04}" for nth in range(1000)]
    async with window(browser, tmp_path, *prompts) as here:
        await expect(here.page.get_by_role("button", name="number")).not_to_have_count(0)
        too_long: list[float] = []
        for words in ("hare", "fox", "0123") * 4:
            too_long.append(await here.page.evaluate(SEARCH, words) - 200 * busy())
            if too_long[-1] <= 0:
                break

    assert min(too_long) <= 0


async def test_scrolling_through_a_thousand_pictures_never_stalls(browser: Browser, tmp_path: Path) -> None:
    async with window(browser, tmp_path, *[f"fox number {nth:04}" for nth in range(1000)]) as here:
        tiles = here.page.locator("[data-id]")
        too_long: list[float] = []
        for _ in range(3):
            await here.page.reload()
            await expect(tiles).not_to_have_count(0)
            await here.page.evaluate("longTasks.length = 0")
            while await tiles.count() < 1000:
                await here.page.mouse.wheel(0, 4000)
                await here.page.wait_for_timeout(30)
            too_long.append(max([0, *await here.page.evaluate("longTasks")]) - 200 * busy())
            if too_long[-1] <= 0:
                break

    assert min(too_long) <= 0


async def test_eight_pictures_that_are_being_made_hold_up_nothing_else(browser: Browser, tmp_path: Path) -> None:
    """Looks at them wait for their end, and a browser has six connections to one address."""
    never = Simulator(Script(looks_until_done=10**9, plain_pictures=True))
    async with window(browser, tmp_path, "a hare", simulator=never) as here:
        for _ in range(2):
            await here.page.get_by_role("textbox", name="What would you like to see?").fill("a fox")
            await here.page.get_by_role("combobox", name="How many").select_option("4")
            form = here.page.get_by_role("form", name="Make a picture")
            await form.get_by_role("button", name="Make").click()
            await here.page.get_by_role("button", name="All pictures").click()
        while not never.ledger.tasks() or min(task.looks for task in never.ledger.tasks()) < 3:  # noqa: ASYNC110 no event
            await anyio.sleep(0.05)
        took = min([await here.page.evaluate(SEARCH, words) for words in ("hare", "fox", "hare")])

    assert len(never.ledger.tasks()) == 8
    assert took < 2000 * busy()


async def test_words_become_a_picture(browser: Browser, tmp_path: Path) -> None:
    async with window(browser, tmp_path) as here:
        await here.page.get_by_role("textbox", name="What would you like to see?").fill("a red fox")
        await here.page.get_by_role("button", name="$0.05").click()
        await expect(here.page.get_by_role("button", name="Save a copy")).to_be_visible()
        await expect(here.page.get_by_role("img", name="a red fox").first).to_be_visible()
        [task] = here.simulator.ledger.tasks()

    assert (task.prompt, task.status) == ("a red fox", "completed")


@pytest.mark.parametrize(("answer", "orders"), [("Order", 1), ("Cancel", 0)])
async def test_a_dear_picture_is_asked_about_first(browser: Browser, tmp_path: Path, answer: str, orders: int) -> None:
    async with window(browser, tmp_path, environ={"FLUX2_CONFIRM_OVER": "0.01"}) as here:
        await here.page.get_by_role("textbox", name="What would you like to see?").fill("a red fox")
        await here.page.get_by_role("button", name="Make · $0.05").click()
        asked = here.page.get_by_role("dialog")
        await expect(asked).to_contain_text("Flux 2 Pro: one picture for $0.05")
        await asked.get_by_role("button", name=answer).click()
        if orders:
            await expect(here.page.get_by_role("button", name="Save a copy")).to_be_visible()
        else:
            await expect(here.page.get_by_role("alert")).to_contain_text("did not agree")
        tasks = here.simulator.ledger.tasks()

    assert len(tasks) == orders


async def test_a_photo_that_is_dropped_is_made_smaller_and_remixed(browser: Browser, tmp_path: Path) -> None:
    photo = painted(1300, 1000)
    assert len(photo) > 3_000_000
    async with window(browser, tmp_path, "a fox") as here:
        await expect(here.page.get_by_role("button", name="a fox")).to_be_visible()
        dropped = await here.page.evaluate_handle(DROP, [base64.b64encode(photo).decode(), "image/png"])
        await here.page.dispatch_event("body", "drop", {"dataTransfer": dropped})
        await expect(here.page.get_by_role("img", name="holiday.png")).to_be_visible()
        await here.page.get_by_role("textbox", name="What would you like to see?").fill("the same at night")
        await (
            here.page.get_by_role("button", name="Remix")
            .and_(here.page.get_by_text("$0.05"))
            .or_(here.page.get_by_role("button", name="Remix"))
            .first.click()
        )
        await expect(here.page.get_by_role("button", name="Save a copy")).to_be_visible()
        [task] = here.simulator.ledger.tasks()

    [source] = task.sources
    assert task.action == "remix_image"
    assert source.data is not None
    assert len(source.data) < len(photo)
    assert Image.open(io.BytesIO(source.data)).size == (1300, 1000)


async def test_removing_a_picture_asks_first_and_leaves_its_file(browser: Browser, tmp_path: Path) -> None:
    async with window(browser, tmp_path, "a fox", "a hare") as here:
        await here.opens("a fox")
        await here.page.get_by_role("button", name="Remove", exact=True).click()
        assert len(await _prompts(here)) == 2
        await here.page.get_by_role("button", name="Remove from the history").click()
        await expect(here.page.get_by_role("button", name="a hare")).to_be_visible()
        await expect(here.page.get_by_role("button", name="a fox")).to_have_count(0)
        left = await _prompts(here)

    assert left == ["a hare"]
    assert (tmp_path / "pictures" / "fox.png").exists()


async def _prompts(here: Window) -> list[str]:
    history = history_in(here.home / "data")
    try:
        [owner] = await history.owners()
        return [order.prompt for order in (await history.recent(owner)).orders]
    finally:
        await history.aclose()


async def test_a_copy_has_the_same_bytes_and_name(browser: Browser, tmp_path: Path) -> None:
    async with window(browser, tmp_path, "a fox") as here:
        await here.opens("a fox")
        async with here.page.expect_download() as download:
            await here.page.get_by_role("button", name="Save a copy").click()
        saved = await download.value
        copied = await anyio.Path(await saved.path()).read_bytes()
        original = await anyio.Path(tmp_path, "pictures", "fox.png").read_bytes()

    assert (saved.suggested_filename, copied) == ("fox.png", original)


@pytest.mark.parametrize(("name", "shown"), [("Open file", "fox.png"), ("Show in folder", "pictures")])
async def test_the_file_is_opened_by_the_desktop(browser: Browser, tmp_path: Path, name: str, shown: str) -> None:
    program = tmp_path / "bin" / "xdg-open"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport pathlib, sys\n"
        "new = pathlib.Path(__file__).with_name('new')\n"
        "new.write_text(sys.argv[1])\nnew.replace(new.with_name('opened'))\n"
    )
    program.chmod(0o700)
    environ = {"PATH": str(program.parent), "DISPLAY": ":none"}
    async with window(browser, tmp_path, "a fox", environ=environ) as here:
        await here.opens("a fox")
        await here.page.get_by_role("button", name=name).click()
        opened = anyio.Path(program.parent, "opened")
        with anyio.fail_after(30):
            while not await opened.exists():  # noqa: ASYNC110 another process has no event to wait for
                await anyio.sleep(0.02)

    assert Path(await opened.read_text()).name == shown


async def test_a_hostile_prompt_is_text(browser: Browser, tmp_path: Path) -> None:
    prompt = HOSTILE + "x" * (5000 - len(HOSTILE))
    async with window(browser, tmp_path, prompt) as here:
        await expect(here.page.locator("[data-id]")).to_have_count(1)
        await here.page.locator("[data-id]").click()
        await expect(here.page.get_by_role("button", name="Save a copy")).to_be_visible()
        shown = here.page.locator("p[dir=auto]").filter(has_text="<script>")
        assert await shown.evaluate("(element) => element.textContent") == prompt
        await here.page.get_by_role("button", name="Show all").click()
        assert await here.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert await here.page.title() == "Flux 2 pictures"
        assert await here.page.locator("script").count() == 1


async def test_a_page_whose_gallery_has_ended_says_so(browser: Browser, tmp_path: Path) -> None:
    async with window(browser, tmp_path, "a fox") as here:
        await expect(here.page.get_by_role("button", name="a fox")).to_be_visible()
        here.gallery.process.send_signal(signal.SIGINT)
        await here.gallery.process.wait()
        await here.page.get_by_role("searchbox").fill("hare")
        await expect(here.page.get_by_role("alert")).to_contain_text("flux2-mcp gallery")
        here.complaints.clear()  # of a request that nobody answered


async def test_a_page_on_another_port_of_this_computer_gets_nothing(browser: Browser, tmp_path: Path) -> None:
    """For a browser it is the same site, and cookies know no ports: it sends ours there too."""
    heard: list[str] = []

    async def theirs(request: Request) -> HTMLResponse:
        heard.append(request.headers.get("cookie", ""))
        return HTMLResponse("<!doctype html><title>theirs</title>")

    app = Starlette(routes=[Route("/{path:path}", theirs)])
    async with window(browser, tmp_path, "a fox") as here, on_a_port(app) as their_url:
        await expect(here.page.get_by_role("button", name="a fox")).to_be_visible()
        page = await here.context.new_page()
        await page.goto(their_url)
        headers, body = request_of("tools/call", {"name": "generate", "arguments": {"prompt": "their picture"}})
        tried = await page.evaluate(ATTACK, [here.gallery.origin, headers, json.dumps(body)])
        shown = [await frame.title() for frame in page.frames[1:]]
        await page.goto(f"{their_url}/with-our-cookie")
        async with here.gallery.browser() as thief:
            stolen = {**headers, "Origin": here.gallery.origin, "Cookie": heard[-1]}
            answer = await thief.post("/mcp", json=body, headers=stolen)
        await here.page.reload()
        await expect(here.page.get_by_role("button", name="a fox")).to_be_visible()

    assert tried == ["refused", "refused", "refused", "sent"]
    assert "Flux 2 pictures" not in shown
    assert "flux2_gallery" in heard[-1]
    assert answer.status_code == 403
    assert here.simulator.ledger.tasks() == []
