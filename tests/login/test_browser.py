"""The login in a real browser: from RunAPI's page, which the simulator plays, to a saved key that works."""

from __future__ import annotations

import shutil
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from flux2_mcp.errors import LoginFailed
from flux2_mcp.login import Keyring, LoggedIn, Login, login
from flux2_mcp.settings import Settings
from flux2_mcp.simulator import Script, Simulator
from tests.login.fake_browser import Computer, served
from tests.platforms import only_on

CHROMIUM = shutil.which("chromium")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

pytestmark = [
    only_on("Linux", "a browser is enough, and Debian's is easily had"),
    pytest.mark.skipif(
        CHROMIUM is None, reason="there is no chromium to log in with: on Debian, apt-get install chromium brings it"
    ),
]


@dataclass
class Desk:
    """A person at a computer with a screen, and RunAPI behind a real port."""

    computer: Computer
    browser: BrowserContext
    base_url: str
    patience: float = 20
    outcome: list[LoggedIn | LoginFailed] = field(default_factory=list[LoggedIn | LoginFailed])

    @property
    def keyring(self) -> Keyring:
        return Keyring(Settings.from_environ({"RUNAPI_BASE_URL": self.base_url}), self.computer.home)

    @asynccontextmanager
    async def login(self) -> AsyncGenerator[Login, None]:
        """A login that waits; how it ended is in `outcome` afterwards."""
        with anyio.fail_after(40):
            async with login(self.keyring) as waiting, anyio.create_task_group() as group:
                group.start_soon(self._end, waiting)
                yield waiting

    async def _end(self, waiting: Login) -> None:
        try:
            self.outcome.append(await waiting.finished(self.patience))
        except LoginFailed as error:
            self.outcome.append(error)

    async def opens(self, waiting: Login) -> Page:
        """A new tab with RunAPI's page."""
        page = await self.browser.new_page()
        await page.goto(waiting.url)
        return page


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for all tests here, as they share a browser."""
    return "asyncio"


@pytest.fixture(scope="module")
async def chromium() -> AsyncGenerator[Browser, None]:
    """A browser; it starts once, as that takes a second of computing."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        await browser.close()


@asynccontextmanager
async def desk(chromium: Browser, home: Path, simulator: Simulator | None = None) -> AsyncGenerator[Desk, None]:
    """A desk whose browser knows nothing of the other desks."""
    simulator = simulator or Simulator()
    async with served(simulator) as base_url:
        context = await chromium.new_context(viewport={"width": 800, "height": 600})
        context.set_default_timeout(15_000)
        async with context:
            yield Desk(Computer(home, simulator), context, base_url)


async def test_from_runapis_page_to_a_saved_key(chromium: Browser, tmp_path: Path) -> None:
    async with desk(chromium, tmp_path) as here, here.login() as waiting:
        page = await here.opens(waiting)
        await expect(page.get_by_text(waiting.code)).to_be_visible()
        await page.get_by_role("button", name="Allow").click()
        await expect(page.get_by_role("heading", name="You are logged in")).to_be_visible()
        await page.screenshot(path=tmp_path / "logged-in.png")

    [done] = here.outcome
    assert isinstance(done, LoggedIn)
    key = str(here.computer.saved["api_key"])
    assert here.computer.simulator.ledger.balance_cents(key) == done.balance_cents == 1000
    assert here.computer.saved["base_url"] == here.base_url


async def test_denied(chromium: Browser, tmp_path: Path) -> None:
    async with desk(chromium, tmp_path) as here, here.login() as waiting:
        page = await here.opens(waiting)
        await page.get_by_role("button", name="Deny").click()
        await expect(page.get_by_role("heading", name="Not logged in")).to_be_visible()
        await page.screenshot(path=tmp_path / "denied.png")

    assert "The request was denied" in str(here.outcome[0])
    assert not here.computer.file.exists()


async def test_another_state_is_refused_and_the_login_goes_on(chromium: Browser, tmp_path: Path) -> None:
    """Somebody else's code, with which the person would use that one's account."""
    async with desk(chromium, tmp_path) as here, here.login() as waiting:
        page = await here.opens(waiting)
        port = waiting.url.partition("redirect_port=")[2].partition("&")[0]
        foreign = await here.browser.new_page()
        await foreign.goto(f"http://127.0.0.1:{port}/callback?code=theirs&state=theirs")
        await expect(foreign.get_by_role("heading", name="Another login")).to_be_visible()
        await page.get_by_role("button", name="Allow").click()
        await expect(page.get_by_role("heading", name="You are logged in")).to_be_visible()

    assert isinstance(here.outcome[0], LoggedIn)


async def test_expired(chromium: Browser, tmp_path: Path) -> None:
    now = 0.0
    simulator = Simulator(Script(login_seconds=60), clock=lambda: now)
    async with desk(chromium, tmp_path, simulator) as here:
        here.patience = 3
        async with here.login() as waiting:
            page = await here.opens(waiting)
            now = 61.0
            await page.get_by_role("button", name="Allow").click()
            await expect(page.get_by_role("heading", name="This login has expired")).to_be_visible()

    assert "Nobody allowed the login" in str(here.outcome[0])
    assert not here.computer.file.exists()


async def test_a_second_tab_comes_too_late(chromium: Browser, tmp_path: Path) -> None:
    async with desk(chromium, tmp_path) as here, here.login() as waiting:
        first, second = await here.opens(waiting), await here.opens(waiting)
        await first.get_by_role("button", name="Allow").click()
        await expect(first.get_by_role("heading", name="You are logged in")).to_be_visible()
        await second.get_by_role("button", name="Deny").click()
        await expect(second.get_by_role("heading", name="Already answered")).to_be_visible()

    assert isinstance(here.outcome[0], LoggedIn)
    assert here.computer.saved["api_key"]


async def test_a_port_that_another_program_has_taken_meanwhile(chromium: Browser, tmp_path: Path) -> None:
    """Whoever listens there now learns a code, and can do nothing with it: the proof is not theirs."""
    async with desk(chromium, tmp_path) as here:
        async with login(here.keyring) as waiting:
            page = await here.opens(waiting)
        port = int(waiting.url.partition("redirect_port=")[2].partition("&")[0])
        with pytest.raises(LoginFailed, match=f"Port {port}"), socket.create_server(("127.0.0.1", port)):
            async with login(here.keyring, port=port):
                raise NotImplementedError
        async with login(here.keyring, port=port):
            await page.get_by_role("button", name="Allow").click()
            await expect(page.get_by_role("heading", name="Another login")).to_be_visible()

    assert not here.computer.file.exists()
