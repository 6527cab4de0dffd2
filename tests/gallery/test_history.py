"""All pictures: found, turned over and opened."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Browser, Locator, expect

from tests.databases import history_in
from tests.gallery.app_host import AppHost, Json, app_host, has_chromium
from tests.gallery.conftest import with_apps
from tests.history.orders import fox
from tests.world import OWNER, World

pytestmark = has_chromium

FRAMES = """async () => {
    for (let frame = 0; frame < 30; frame += 1) await new Promise(requestAnimationFrame);
}"""
"""Lets the browser do what it would do by itself."""


def thumbs(host: AppHost) -> Locator:
    return host.app.locator(".thumb:visible")


async def ordered(home: Path, count: int) -> None:
    """So many orders in the history that nobody has looked at since."""
    history = history_in(home / "data")
    try:
        intents = [fox(f"f{nth}", key=f"key-{nth}", prompt=f"picture number {nth:04} of a fox") for nth in range(count)]
        await history.open_orders(intents, owner=OWNER, resume_within=None)
    finally:
        await history.aclose()


async def test_from_the_result_to_all_pictures_to_one_and_back(browser: Browser, here: World) -> None:
    async with app_host(browser, here) as host:
        for prompt in ("a blue jay", "a red fox"):
            await host.client.call_tool("generate", {"prompt": prompt})
        await host.calls("generate", prompt="an owl")
        await host.app.get_by_role("button", name="All pictures").click()
        await expect(thumbs(host)).to_have_count(3)
        await expect(host.app.get_by_role("heading", name="Today")).to_be_visible()
        await thumbs(host).nth(2).click()
        await expect(host.app.locator(".prompt")).to_have_text("a blue jay")
        await host.page.keyboard.press("Escape")
        await expect(thumbs(host).nth(2)).to_be_focused()
        await host.app.get_by_role("button", name="Back to the result").click()
        await expect(host.app.locator(".prompt")).to_have_text("an owl")


async def test_recent_tasks_shows_them_at_once(browser: Browser, here: World) -> None:
    async with app_host(browser, here, tool="recent_tasks") as host:
        await host.client.call_tool("generate", {"prompt": "a red fox"})
        await host.calls("recent_tasks")
        await expect(thumbs(host)).to_have_count(1)


async def test_what_is_typed_is_searched_for(browser: Browser, here: World) -> None:
    async with app_host(browser, here, tool="recent_tasks") as host:
        for prompt in ("a blue jay", "a red fox"):
            await host.client.call_tool("generate", {"prompt": prompt})
        await host.calls("recent_tasks")
        await host.app.get_by_role("searchbox").fill("jay")
        await expect(thumbs(host)).to_have_count(1)
        await host.app.get_by_role("searchbox").fill("walrus")
        await expect(host.app.get_by_role("heading", name="Nothing found")).to_be_visible()
        await host.app.get_by_role("searchbox").fill("")
        await expect(thumbs(host)).to_have_count(2)
        await host.app.get_by_label("Which pictures").select_option("Failed")
        await expect(host.app.get_by_role("heading", name="Nothing found")).to_be_visible()


async def test_nothing_was_made_yet(browser: Browser, here: World) -> None:
    async with app_host(browser, here, tool="recent_tasks") as host:
        await host.calls("recent_tasks")
        await expect(host.app.get_by_role("heading", name="No pictures yet")).to_be_visible()


async def test_a_thousand_pictures_can_be_gone_through_and_searched_at_once(browser: Browser, tmp_path: Path) -> None:
    here = with_apps(tmp_path)
    await ordered(tmp_path, 1000)
    async with app_host(browser, here, tool="recent_tasks", context={"displayMode": "fullscreen"}) as host:
        await host.calls("recent_tasks")
        await expect(thumbs(host).first).to_be_visible()
        frame = host.page.frames[1]
        await frame.evaluate(
            """async () => {
                const count = () => document.querySelectorAll('.thumb').length;
                for (let before = -1; count() < 1000; ) {
                    before = count();
                    document.querySelector('.tail button').click();
                    while (count() === before) await new Promise(requestAnimationFrame);
                }
            }"""
        )
        seconds = await frame.evaluate(
            """async () => {
                const search = document.querySelector('input[type=search]');
                search.value = 'number 0777';
                const before = performance.now();
                search.dispatchEvent(new Event('input'));
                while (document.querySelectorAll('.thumb').length !== 1) await new Promise(requestAnimationFrame);
                return (performance.now() - before) / 1000;
            }"""
        )
    assert len(host.calls_of("gallery_search")) >= 1000 / 50
    assert seconds < 5  # 0.2 on a machine that does nothing else


async def test_small_pictures_come_when_they_are_near_and_three_at_a_time(browser: Browser, here: World) -> None:
    async with app_host(browser, here, tool="recent_tasks") as host:
        for nth in range(10):
            await host.client.call_tool("generate", {"prompt": f"fox {nth}", "count": 4})
        await host.calls("recent_tasks")
        await expect(thumbs(host).first.locator("img")).to_be_visible()
        await expect(thumbs(host).nth(8).locator("img")).to_be_visible()
        asked = host.calls_of("view_image")
    assert 9 <= len(asked) < 40
    assert {each["max_edge"] for each in asked} == {320}
    assert host.most_at_once["view_image"] == 3


async def test_a_server_that_does_not_answer_can_be_asked_again(browser: Browser, here: World) -> None:
    is_cut = True

    async def cut(tool: str, arguments: object) -> None:
        if is_cut:
            msg = "The connection to the server is lost."
            raise ConnectionError(msg)

    async with app_host(browser, here, tool="recent_tasks") as host:
        await host.client.call_tool("generate", {"prompt": "a red fox"})
        host.before = cut
        await host.calls("recent_tasks")
        await expect(host.app.get_by_role("alert")).to_contain_text("The connection to the server is lost.")
        is_cut = False
        await host.app.get_by_role("button", name="Try again").click()
        await expect(thumbs(host)).to_have_count(1)
        await expect(host.app.get_by_role("alert")).to_have_count(0)


async def test_a_page_that_does_not_come_is_asked_for_again_by_the_person_alone(
    browser: Browser, tmp_path: Path
) -> None:
    is_cut = False

    async def cut(tool: str, arguments: Json) -> None:
        if is_cut and arguments.get("cursor"):
            msg = "The connection to the server is lost."
            raise ConnectionError(msg)

    here = with_apps(tmp_path)
    await ordered(tmp_path, 30)
    context = {"displayMode": "fullscreen"}
    async with app_host(browser, here, tool="recent_tasks", context=context, height=4000) as host:
        host.before = cut
        is_cut = True
        await host.calls("recent_tasks")
        await expect(host.app.get_by_role("alert")).to_contain_text("The connection to the server is lost.")
        await host.page.frames[1].evaluate(FRAMES)
        assert len([each for each in host.calls_of("gallery_search") if each["cursor"]]) == 1
        is_cut = False
        await host.app.get_by_role("button", name="Try again").click()
        await expect(thumbs(host)).to_have_count(30)
