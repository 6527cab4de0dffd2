"""What a person sees of a call, in a host that renders MCP Apps."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import pytest
from playwright.async_api import Browser, Locator, expect

from flux2_mcp.simulator import Fault, Script, Simulator
from tests.gallery.app_host import ALL, AppHost, app_host, has_chromium
from tests.gallery.conftest import with_apps
from tests.world import World, every

pytestmark = has_chromium

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> \N{FOX FACE} \N{RIGHT-TO-LEFT OVERRIDE}exe.gnp "
    "\N{HEBREW LETTER SHIN}\N{HEBREW LETTER VAV} \N{RIGHT-TO-LEFT MARK}" + "w" * 300 + " & co. "
)


def button(host: AppHost, name: str) -> Locator:
    return host.app.get_by_role("button", name=name)


def pictures(host: AppHost) -> Locator:
    """What is hung large, and seen."""
    return host.app.locator(".tile .picture:visible")


async def test_they_shake_hands(browser: Browser, here: World) -> None:
    async with app_host(browser, here) as host:
        hello = (await host.hears("ui/initialize"))["params"]
        assert hello["protocolVersion"] == "2026-01-26"
        assert hello["appInfo"]["name"] == "flux2-gallery"
        assert (await host.requests("ping"))["result"] == {}
        assert (await host.requests("ui/resource-teardown"))["result"] == {}
        assert (await host.requests("ui/unheard-of"))["error"]["code"] == -32601


async def test_what_is_asked_for_and_then_the_picture(browser: Browser, here: World) -> None:
    async with app_host(browser, here) as host:
        await host.tells("tool-input-partial", {"arguments": {"prompt": "a red"}})
        await expect(host.app.get_by_text("a red", exact=True)).to_be_visible()
        await host.tells("tool-input", {"arguments": {"prompt": "a red fox", "aspect_ratio": "16:9"}})
        await expect(host.app.get_by_text("a red fox", exact=True)).to_be_visible()
        await expect(host.app.get_by_role("progressbar")).to_be_visible()
        await host.calls("generate", prompt="a red fox", aspect_ratio="16:9")
        await expect(pictures(host)).to_have_count(1)
        await expect(host.app.get_by_role("progressbar")).to_have_count(0)
        for fact in ("Flux 2 Pro", "$0.05", "just now", "$0.05 spent today"):
            await expect(host.app.get_by_text(fact, exact=True)).to_be_visible()
        box = await pictures(host).bounding_box()
        assert box
        assert box["width"] / box["height"] == pytest.approx(16 / 9, rel=0.02)


async def test_while_it_is_made_the_progress_and_then_the_picture_without_a_reload(
    browser: Browser, tmp_path: Path
) -> None:
    now = 0.0
    simulator = Simulator(Script(queue_seconds=0, paint_seconds=60, plain_pictures=True), clock=lambda: now)
    here = with_apps(tmp_path, intervals=every(0.05))
    here.simulator = simulator
    async with app_host(browser, here) as host:
        await host.calls("generate", prompt="a red fox", wait_seconds=0)
        bar = host.app.get_by_role("progressbar", name="Flux 2 Pro is painting")
        await expect(bar).to_be_visible()
        await expect(host.app.get_by_text("2 s", exact=False)).to_be_visible()
        now = 61.0
        await expect(pictures(host)).to_have_count(1)
        await expect(bar).to_have_count(0)
        await expect(host.app.get_by_role("status")).to_have_text("The picture is ready.")
    assert len(here.paid) == 1


async def test_while_the_call_itself_waits_its_pictures_are_followed(browser: Browser, tmp_path: Path) -> None:
    now = 0.0
    simulator = Simulator(Script(queue_seconds=0, paint_seconds=60, plain_pictures=True), clock=lambda: now)
    here = with_apps(tmp_path, intervals=every(0.05))
    here.simulator = simulator
    async with app_host(browser, here) as host, anyio.create_task_group() as group:
        group.start_soon(partial(host.calls, "generate", prompt="a red fox", wait_seconds=60))
        await expect(host.app.get_by_role("progressbar", name="Flux 2 Pro is painting")).to_be_visible()
        await host.hears_of("gallery_task")
        now = 61.0
        await expect(pictures(host)).to_have_count(1)
    assert len(here.paid) == 1


async def test_variations_hang_side_by_side_and_one_can_be_made_large(browser: Browser, here: World) -> None:
    async with app_host(browser, here) as host:
        await host.calls("generate", prompt="a red fox", count=4)
        await expect(pictures(host)).to_have_count(4)
        third = button(host, "3 of 4")
        await third.click()
        await expect(third).to_have_attribute("aria-pressed", "true")
        await third.click()
        await expect(pictures(host)).to_have_count(1)
        await expect(host.app.get_by_text("3 of 4", exact=True)).to_be_visible()
        await host.page.keyboard.press("ArrowRight")
        await expect(host.app.get_by_text("4 of 4", exact=True)).to_be_visible()
        await host.page.keyboard.press("Escape")
        await expect(pictures(host)).to_have_count(4)


async def test_a_price_stands_on_a_button_before_it_is_pressed_and_it_pays_no_more(
    browser: Browser, here: World
) -> None:
    async with app_host(browser, here) as host:
        await host.calls("generate", prompt="a red fox")
        await expect(button(host, "Again · $0.05")).to_be_enabled()
        await button(host, "2K · $0.07").click()
        await expect(pictures(host)).to_have_count(2)
        [ordered] = host.calls_of("generate")
    assert ordered["max_cost_usd"] == 0.07
    assert [task.params.get("output_resolution") for task in here.paid] == [None, "2k"]


async def test_nothing_can_be_ordered_at_a_price_that_nobody_states(browser: Browser, tmp_path: Path) -> None:
    here = with_apps(tmp_path, environ={"FLUX2_ALLOW_UNKNOWN_PRICE": "true"})
    async with app_host(browser, here) as host:
        await host.calls("generate", prompt="a red fox", model="flux-2-max", aspect_ratio="1:1")
        await expect(button(host, "Again · price not published")).to_be_enabled()
        await expect(button(host, "2K")).to_have_count(0)


async def test_what_a_limit_refuses_cannot_be_pressed_and_the_reason_is_said(browser: Browser, tmp_path: Path) -> None:
    here = with_apps(tmp_path, environ={"FLUX2_DAILY_BUDGET": "0.09"})
    async with app_host(browser, here) as host:
        await host.calls("generate", prompt="a red fox")
        await expect(button(host, "Again · $0.05")).to_be_disabled()
        await expect(host.app.get_by_text("FLUX2_DAILY_BUDGET")).to_be_visible()
        await expect(host.app.get_by_text("$0.04 left of the day's budget")).to_be_visible()


async def test_a_double_click_pays_once(browser: Browser, here: World) -> None:
    async with app_host(browser, here) as host:
        await host.calls("generate", prompt="a red fox")
        await button(host, "Again · $0.05").dblclick()
        await expect(pictures(host)).to_have_count(2)
        # A second press by hand is another order.
        await button(host, "Again · $0.05").click()
        await expect(pictures(host)).to_have_count(3)
    assert len(here.paid) == 3


async def test_a_remix_with_the_keyboard_alone(browser: Browser, here: World) -> None:
    async with app_host(browser, here) as host:
        await host.calls("generate", prompt="a red fox", aspect_ratio="4:3")
        await expect(button(host, "Again · $0.05")).to_be_enabled()
        press = host.page.keyboard.press
        opener = button(host, "Remix")
        for _ in range(20):
            await press("Tab")
            if await opener.evaluate("(each) => each === document.activeElement"):
                break
        await press("Enter")
        await expect(host.app.get_by_label("What should be different?")).to_be_focused()
        await host.page.keyboard.type("at night")
        await expect(button(host, "Remix · $0.05")).to_be_enabled()
        await press("Tab")
        await press("Tab")
        await expect(button(host, "Remix · $0.05")).to_be_focused()
        await press("Enter")
        await expect(pictures(host)).to_have_count(2)
        await expect(host.app.get_by_text("at night", exact=True)).to_be_visible()
        [ordered] = host.calls_of("remix")
    assert ordered["source_image_urls"] == [f"flux2://tasks/{here.paid[0].id}/images/0"]
    assert ordered["aspect_ratio"] == "auto"
    assert [task.prompt for task in here.paid] == ["a red fox", "at night"]


async def test_another_ratio(browser: Browser, here: World) -> None:
    async with app_host(browser, here) as host:
        await host.calls("generate", prompt="a red fox", aspect_ratio="1:1")
        await button(host, "Other ratio").click()
        await expect(host.app.get_by_role("radio", name="1:1")).to_have_count(0)
        await expect(button(host, "Make it")).to_be_disabled()
        await host.app.get_by_role("radio", name="9:16").check()
        await button(host, "Make it · $0.05").click()
        await expect(pictures(host)).to_have_count(2)
    assert [task.params["aspect_ratio"] for task in here.paid] == ["1:1", "9:16"]


async def test_an_error_is_shown_as_the_server_says_it(browser: Browser, here: World) -> None:
    async with app_host(browser, here) as host:
        await host.calls("generate", prompt="a red fox", model="flux-2-max", aspect_ratio="1:1")
        await expect(host.app.get_by_role("alert")).to_contain_text("Nobody states a price for this model")
        await expect(host.app.get_by_role("alert")).to_contain_text("Nothing was charged.")


async def test_what_goes_wrong_after_a_press_is_said_there(browser: Browser, here: World) -> None:
    async def cut(tool: str, arguments: object) -> None:
        if tool == "generate":
            msg = "The connection to the server is lost."
            raise ConnectionError(msg)

    async with app_host(browser, here) as host:
        await host.calls("generate", prompt="a red fox")
        host.before = cut
        await button(host, "Again · $0.05").click()
        await expect(host.app.get_by_role("alert")).to_have_text("The connection to the server is lost.")
        await expect(button(host, "Again · $0.05")).to_be_enabled()


async def test_an_order_whose_answer_was_lost_is_found_and_not_paid_again(browser: Browser, here: World) -> None:
    is_lost = False

    async def lose(tool: str, arguments: dict[str, object]) -> None:
        nonlocal is_lost
        if tool == "generate" and not is_lost:
            is_lost = True
            await host.client.call_tool(tool, arguments)
            msg = "There was no answer."
            raise ConnectionError(msg)

    async with app_host(browser, here) as host:
        await host.calls("generate", prompt="a red fox")
        host.before = lose
        await button(host, "Again · $0.05").click()
        await expect(host.app.get_by_role("alert")).to_have_text("There was no answer.")
        await button(host, "Again · $0.05").click()
        await expect(pictures(host)).to_have_count(2)
    assert len(here.paid) == 2


async def test_an_order_is_followed_when_runapi_names_it_late(browser: Browser, here: World) -> None:
    """It has an id of ours until then."""
    async with app_host(browser, here) as host:
        await host.calls("generate", prompt="a red fox")
        here.simulator.faults.append(Fault(on="create", hang=4))
        await button(host, "Again · $0.05").click()
        await expect(pictures(host)).to_have_count(2)
        looks = host.calls_of("gallery_task")
    assert any(look["task_id"].startswith("order-") for look in looks)
    assert len(looks) < 12


async def test_what_becomes_of_an_order_can_be_looked_at_again_when_it_was_lost_from_sight(
    browser: Browser, here: World
) -> None:
    """And it is not offered to be paid for again: it may be made."""
    is_cut = True

    async def cut(tool: str, arguments: object) -> None:
        if is_cut and tool == "gallery_task":
            msg = "The connection to the server is lost."
            raise ConnectionError(msg)

    async with app_host(browser, here) as host:
        host.before = cut
        await host.page.clock.install()
        await host.calls("generate", prompt="a red fox", wait_seconds=0)
        look = button(host, "Look again")
        while not await look.is_visible():
            await host.page.clock.run_for(1000)
        await expect(button(host, "again · $")).to_have_count(0)
        is_cut = False
        await look.click()
        await expect(pictures(host)).to_have_count(1)
    assert len(here.paid) == 1


async def test_a_picture_that_failed_can_be_tried_again(browser: Browser, tmp_path: Path) -> None:
    here = with_apps(tmp_path, Script(looks_until_done=1, plain_pictures=True, failure_rate=1.0))
    async with app_host(browser, here) as host:
        await host.calls("generate", prompt="a red fox", wait_seconds=0)
        await expect(host.app.locator(".tile[data-status=failed]")).to_be_visible()
        await expect(button(host, "Try again · $0.05")).to_be_enabled()


async def test_a_host_that_passes_no_calls_on_shows_what_the_result_carries(browser: Browser, here: World) -> None:
    async with app_host(browser, here, capabilities={}) as host:
        await host.calls("generate", prompt="a red fox", count=2)
        await expect(pictures(host)).to_have_count(2)
        await expect(host.app.get_by_text("made the picture")).to_be_visible()
        await expect(button(host, "Again")).to_have_count(0)
        await expect(button(host, "All pictures")).to_have_count(0)
        assert host.asked == []


async def test_dark_and_other_colours_come_from_the_host(browser: Browser, here: World) -> None:
    background = "() => getComputedStyle(document.documentElement).backgroundColor"
    async with app_host(browser, here) as host:
        frame = host.page.frames[1]
        assert await frame.evaluate(background) == "rgb(253, 252, 250)"
        await host.tells("host-context-changed", {"theme": "dark"})
        await frame.wait_for_function(f"({background})() === 'rgb(23, 22, 20)'")
        await host.tells(
            "host-context-changed", {"styles": {"variables": {"--color-background-primary": "rgb(1, 2, 3)"}}}
        )
        await frame.wait_for_function(f"({background})() === 'rgb(1, 2, 3)'")


@pytest.mark.parametrize("width", [320, 1600])
async def test_nothing_is_cut_off(browser: Browser, here: World, width: int) -> None:
    async with app_host(browser, here, width=width) as host:
        await host.calls("generate", prompt=HOSTILE, count=2)
        await expect(pictures(host)).to_have_count(2)
        await button(host, "Other ratio").click()
        frame = host.page.frames[1]
        assert await frame.evaluate("() => document.documentElement.scrollWidth") == width
        await button(host, "All pictures").click()
        await expect(host.app.locator(".thumb")).to_have_count(2)
        assert await frame.evaluate("() => document.documentElement.scrollWidth") == width


async def test_a_hostile_prompt_is_shown_as_text(browser: Browser, here: World) -> None:
    prompt = (HOSTILE * 20)[:4990]
    async with app_host(browser, here) as host:
        await host.calls("generate", prompt=prompt)
        shown = host.app.locator(".prompt")
        await expect(shown).to_have_text(prompt)
        assert await host.app.locator("img[src='x'], .prompt *").count() == 0
        folded = await shown.bounding_box()
        await button(host, "Show all").click()
        whole = await shown.bounding_box()
        assert folded
        assert whole
        assert folded["height"] * 5 < whole["height"]


async def test_the_host_is_told_how_high_the_page_is(browser: Browser, here: World) -> None:
    async with app_host(browser, here) as host:
        low = (await host.hears("ui/notifications/size-changed"))["params"]["height"]
        await host.calls("generate", prompt="a red fox")
        await host.page.wait_for_function(
            "(low) => heard.findLast(({ method }) => method?.endsWith('size-changed')).params.height > low + 300",
            arg=low,
        )
        await expect(host.app.locator("html")).to_have_js_property("scrollTop", 0)


async def test_it_is_shown_larger_where_the_host_can_do_that(browser: Browser, here: World) -> None:
    async with app_host(browser, here) as host:
        await button(host, "Larger").click()
        assert (await host.hears("ui/request-display-mode"))["params"] == {"mode": "fullscreen"}
        await expect(button(host, "Smaller")).to_be_visible()


async def test_only_the_host_is_listened_to(browser: Browser, here: World) -> None:
    async with app_host(browser, here) as host:
        params = {"arguments": {"prompt": "ours"}}
        message = {"jsonrpc": "2.0", "method": "ui/notifications/tool-input", "params": params}
        await host.page.frames[1].evaluate("(message) => window.postMessage(message, '*')", message)
        await host.requests("ping")
        assert await host.app.get_by_text("ours").count() == 0


async def test_a_cancelled_call_says_what_that_means(browser: Browser, here: World) -> None:
    async with app_host(browser, here) as host:
        await host.tells("tool-input", {"arguments": {"prompt": "a red fox"}})
        await host.tells("tool-cancelled", {"reason": "the person said so"})
        await expect(host.app.get_by_role("alert")).to_contain_text("cancelled")


async def test_copying_says_that_it_was_done(browser: Browser, here: World) -> None:
    async with app_host(browser, here) as host:
        await host.calls("generate", prompt="a red fox")
        await button(host, "Copy path").click()
        await expect(button(host, "Copied")).to_be_visible()


async def test_a_link_is_opened_by_the_host(browser: Browser, here: World) -> None:
    async with app_host(browser, here, capabilities=ALL) as host:
        await host.calls("generate", prompt="a red fox")
        await button(host, "Open link").click()
        assert (await host.hears("ui/open-link"))["params"]["url"].startswith("https://")
