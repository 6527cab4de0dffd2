"""The page, as it is judged by code of others: the official library for hosts, and axe-core."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.async_api import Browser, expect

from tests.gallery.app_host import AppHost, app_host, has_chromium
from tests.gallery.npm import has_npm, modules
from tests.world import World

pytestmark = [*has_chromium, has_npm]

AXE = """async () => {
    const { violations, passes } = await axe.run(document, { resultTypes: ["violations"] });
    const where = ({ nodes }) => nodes.map(({ target, failureSummary }) => `${target}: ${failureSummary}`);
    const found = violations.map((each) => ({ id: each.id, impact: each.impact, where: where(each) }));
    return passes.length > 10 ? found : [{ id: "nothing looked at", impact: "critical" }];
}"""


@pytest.fixture(scope="module")
def npm() -> Path:
    return modules()


async def test_the_official_host_shows_it(browser: Browser, here: World, npm: Path) -> None:
    async with app_host(browser, here, start="official.html", npm=npm) as host:
        await host.calls("generate", prompt="a red fox")
        await expect(host.app.locator(".tile .picture:visible")).to_have_count(1)
        await host.app.get_by_role("button", name="Again · $0.05").click()
        await expect(host.app.locator(".tile .picture:visible")).to_have_count(2)
        await host.tells("host-context-changed", {"theme": "dark"})
        await expect(host.app.locator("html")).to_have_attribute("data-theme", "dark")
        assert (await host.hears("ui/notifications/size-changed"))["params"]["height"] > 300
        await host.requests("ui/resource-teardown")
    assert len(here.paid) == 2


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_nothing_that_keeps_anybody_out(
    browser: Browser, here: World, npm: Path, theme: Literal["light", "dark"]
) -> None:
    app = {"theme": theme}
    async with app_host(browser, here, context=app, scheme=theme) as host:
        await host.tells("tool-input", {"arguments": {"prompt": "a red fox"}})
        await expect(host.app.get_by_role("progressbar")).to_be_visible()
        assert await _serious(host, npm) == []
        await host.calls("generate", prompt="a red fox", count=2)
        await expect(host.app.locator(".tile .picture:visible")).to_have_count(2)
        await expect(host.app.get_by_role("button", name="Again · $0.05")).to_be_enabled()
        await host.app.get_by_role("button", name="Other ratio").click()
        assert await _serious(host, npm) == []
        await host.app.get_by_role("button", name="Remix").click()
        await host.app.get_by_label("What should be different?").fill("at night")
        await expect(host.app.get_by_role("button", name="Remix · $0.05")).to_be_enabled()
        assert await _serious(host, npm) == []
        await host.app.get_by_role("button", name="All pictures").click()
        await expect(host.app.locator(".thumb img:visible")).to_have_count(2)
        assert await _serious(host, npm) == []
    async with app_host(browser, here, context=app, scheme=theme) as host:
        await host.calls("generate", prompt="a red fox", model="flux-2-max", aspect_ratio="1:1")
        await expect(host.app.get_by_role("alert")).to_be_visible()
        assert await _serious(host, npm) == []


async def _serious(host: AppHost, npm: Path) -> list[Any]:
    frame = host.page.frames[1]
    if not await frame.evaluate("() => 'axe' in window"):
        # As a script of the page's own: its policy lets inline ones run, and no evaluated ones.
        await frame.add_script_tag(path=npm / "axe-core" / "axe.min.js")
    found: list[dict[str, Any]] = await frame.evaluate(AXE)
    return [each for each in found if each["impact"] in {"serious", "critical"}]
