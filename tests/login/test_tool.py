"""The login tool: the same login, begun by a model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from urllib.parse import parse_qsl, urlsplit

import anyio
import httpx
from mcp.client import Client
from mcp.client.client import ConnectMode
from mcp_types import ToolAnnotations

from flux2_mcp.server.app import build_server
from flux2_mcp.simulator import Script
from tests.login.fake_browser import Json
from tests.transports import Wire
from tests.world import BASE_URL, KEY, NO_CERTIFICATES, World, text_of, world

FOX: Json = {"prompt": "a fox", "wait_seconds": 5}


class Screen:
    """A browser that shows what it is told to open."""

    def __init__(self, *, works: bool = True) -> None:
        self.works = works
        self._urls: SimpleQueue[str] = SimpleQueue()

    def open(self, url: str) -> bool:
        """What `webbrowser.open` does."""
        self._urls.put(url)
        return self.works

    async def url(self) -> str:
        """Wait for the page that is opened."""
        with anyio.fail_after(30):
            while True:
                try:
                    return self._urls.get_nowait()
                except Empty:
                    await anyio.lowlevel.checkpoint()
        raise AssertionError


def a_world(home: Path, mode: ConnectMode = "auto", **environ: str) -> World:
    return world(
        home, Script(looks_until_done=1, plain_pictures=True), mode=mode, environ={"RUNAPI_API_KEY": "", **environ}
    )


@asynccontextmanager
async def over_stdio(here: World, open_browser: Callable[[str], bool]) -> AsyncGenerator[Client, None]:
    """A client of a server as it is over stdio."""
    environment = replace(here.environment(), open_browser=open_browser)
    with anyio.fail_after(30):
        async with Client(build_server(environment, over_stdio=True), mode=here.mode) as client:
            yield client


async def answer(here: World, url: str, answer: str) -> None:
    """Open the page, press a button and go where that leads."""
    state = dict(parse_qsl(urlsplit(url).query))["state"]
    async with (
        httpx.AsyncClient(transport=Wire(here.simulator), base_url=BASE_URL) as runapi,
        httpx.AsyncClient(verify=NO_CERTIFICATES) as callback,
    ):
        await runapi.get(url)
        decided = await runapi.post("/cli/authorize", data={"state": state, "answer": answer})
        await callback.get(decided.headers["location"])


async def test_only_over_stdio_there_is_a_login(tmp_path: Path, era: ConnectMode) -> None:
    """Over HTTP it would open a browser on the server's screen, not the caller's."""
    here = a_world(tmp_path, era)
    async with here.client() as client:
        elsewhere = {tool.name for tool in (await client.list_tools()).tools}
        refused = await client.call_tool("login", {})
    async with over_stdio(here, Screen().open) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}

    assert set(tools) - elsewhere == {"login"}
    assert refused.is_error
    assert tools["login"].input_schema["properties"] == {}
    assert len(tools["login"].description or "") <= 200
    promises = tools["login"].annotations or ToolAnnotations()
    assert (promises.read_only_hint, promises.destructive_hint) == (False, True)


async def test_a_key_that_the_person_allows_is_used_without_a_restart(tmp_path: Path, era: ConnectMode) -> None:
    here, screen = a_world(tmp_path, era), Screen()
    results: list[str] = []
    async with over_stdio(here, screen.open) as client:
        before = await client.call_tool("generate", FOX)

        async def logs_in() -> None:
            results.append(text_of(await client.call_tool("login", {})))

        async with anyio.create_task_group() as group:
            group.start_soon(logs_in)
            await answer(here, await screen.url(), "allow")
        after = await client.call_tool("generate", FOX)

    assert before.is_error
    assert "flux2-mcp login" in text_of(before)
    assert not after.is_error
    assert results[0].startswith("Logged in at https://runapi.test: runapi_")
    assert "The balance is $10.00" in results[0]
    [account] = [account for account in here.simulator.ledger.accounts() if account.spent_cents]
    assert account.key not in results[0]


async def test_the_model_hears_that_the_person_denied_it(tmp_path: Path) -> None:
    here, screen = a_world(tmp_path), Screen()
    results: list[str] = []
    async with over_stdio(here, screen.open) as client:

        async def logs_in() -> None:
            results.append(text_of(await client.call_tool("login", {})))

        async with anyio.create_task_group() as group:
            group.start_soon(logs_in)
            await answer(here, await screen.url(), "deny")

    assert results[0].startswith("Error executing tool login: RunAPI did not allow the login")
    assert "No key was saved" in results[0]


async def test_without_a_browser_progress_says_where_to_go(tmp_path: Path) -> None:
    """In the handshake era: the modern one has no progress token as long as it is in memory."""
    here, screen = a_world(tmp_path, "legacy"), Screen(works=False)
    told = anyio.Event()
    messages: list[str] = []
    results: list[str] = []

    async def moved(progress: float, total: float | None, message: str | None) -> None:
        messages.append(message or "")
        told.set()

    async with over_stdio(here, screen.open) as client:

        async def logs_in() -> None:
            results.append(text_of(await client.call_tool("login", {}, progress_callback=moved)))

        async with anyio.create_task_group() as group:
            group.start_soon(logs_in)
            url = await screen.url()
            await told.wait()
            assert url in messages[0]
            assert dict(parse_qsl(urlsplit(url).query))["display_code"] in messages[0]
            await answer(here, url, "allow")

    assert results[0].startswith("Logged in")


async def test_with_neither_browser_nor_progress_nobody_is_waited_for(tmp_path: Path) -> None:
    async with over_stdio(a_world(tmp_path), Screen(works=False).open) as client:
        result = await client.call_tool("login", {})

    assert result.is_error
    assert "`flux2-mcp login` in a terminal" in text_of(result)


async def test_a_set_variable_wins(tmp_path: Path) -> None:
    async with over_stdio(a_world(tmp_path, RUNAPI_API_KEY=KEY), Screen().open) as client:
        result = await client.call_tool("login", {})

    assert result.is_error
    assert "RUNAPI_API_KEY is set, and it wins" in text_of(result)


async def test_a_login_that_is_cancelled_listens_no_more(tmp_path: Path) -> None:
    here, screen, port = a_world(tmp_path), Screen(), 0
    async with over_stdio(here, screen.open) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "login")
            port = int(dict(parse_qsl(urlsplit(await screen.url()).query))["redirect_port"])
            assert await is_open(port)
            group.cancel_scope.cancel()
        await is_closed(port)

    assert not (tmp_path / ".config").exists()


async def is_closed(port: int) -> None:
    with anyio.fail_after(30):
        while await is_open(port):
            await anyio.lowlevel.checkpoint()


async def is_open(port: int) -> bool:
    try:
        stream = await anyio.connect_tcp("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True


async def test_the_login_takes_no_arguments(tmp_path: Path) -> None:
    async with over_stdio(a_world(tmp_path), Screen().open) as client:
        result = await client.call_tool("login", {"key": "x"})

    assert result.is_error
    assert "login has no argument 'key'. It takes none." in text_of(result)
