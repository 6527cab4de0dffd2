"""A host with MCP Apps in a real browser: it shows our page, and passes its calls on to our server."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, TextResourceContents
from playwright.async_api import Browser, FrameLocator, Page, Route, ViewportSize, async_playwright

from tests.platforms import only_on
from tests.world import World

CHROMIUM = shutil.which("chromium")
has_chromium = [
    only_on("Linux", "a browser is enough, and Debian's is easily had"),
    pytest.mark.skipif(
        CHROMIUM is None, reason="there is no chromium to look with: on Debian, apt-get install chromium brings it"
    ),
]
"""For `pytestmark`."""
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 20_000
"""Milliseconds that a test waits for what has to appear."""
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "media-src 'self' data:; connect-src 'none'"
)
"""What hosts allow a page that declares no domains."""
ALL: Mapping[str, object] = {"serverTools": {}, "serverResources": {}, "openLinks": {}}
"""What most hosts offer."""
URI = "ui://flux2/gallery.html"

Json = dict[str, Any]


@dataclass
class AppHost:
    """The host's window, what it has heard from the page, and what the browser complained about."""

    client: Client
    page: Page
    context: Json
    capabilities: Mapping[str, object]
    complaints: list[str] = field(default_factory=list[str])
    asked: list[Json] = field(default_factory=list[Json])
    """What the page asked our server, in order."""
    most_at_once: Counter[str] = field(default_factory=Counter[str])
    """How many calls of a tool the page had in flight, at most."""
    _now: Counter[str] = field(default_factory=Counter[str])
    _open: set[anyio.CancelScope] = field(default_factory=set[anyio.CancelScope])
    _is_closed: bool = False
    before: Callable[[str, Json], Any] | None = None
    """Looks at a tool call of the page before it goes on; an exception is what the page hears instead."""

    @property
    def app(self) -> FrameLocator:
        return self.page.frame_locator("iframe")

    async def shows(self, start: str) -> None:
        """Open our page, as it is read from the server."""
        [content] = (await self.client.read_resource(URI)).contents
        assert isinstance(content, TextResourceContents)
        policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        html = content.text.replace("<head>", f"<head>{policy}", 1)
        await self.page.expose_function("askServer", self._ask)  # pyright: ignore[reportUnknownMemberType]
        await self.page.goto(f"http://host.test/{start}")
        await self.page.evaluate("([...given]) => show(...given)", [html, self.context, self.capabilities])
        await self.hears("ui/notifications/initialized")

    async def tells(self, method: str, params: Mapping[str, object]) -> None:
        """Send the page a notification."""
        await self.page.evaluate("([...given]) => notify(...given)", [f"ui/notifications/{method}", params])

    async def requests(self, method: str, params: Mapping[str, object] | None = None) -> Json:
        """Ask the page something; its whole answer."""
        return await self.page.evaluate("([...given]) => request(...given)", [method, params or {}])

    async def calls(self, tool: str, **arguments: object) -> CallToolResult:
        """What happens when a model calls a tool: the page is told of both ends."""
        await self.tells("tool-input", {"arguments": arguments})
        result = await self.client.call_tool(tool, arguments)
        await self.tells("tool-result", wire(result))
        return result

    async def hears(self, method: str) -> Json:
        """The last message of this method, once there is one."""
        script = "(method) => heard.findLast((each) => each.method === method)"
        found = await self.page.wait_for_function(script, arg=method, timeout=PATIENCE)
        return await found.json_value()

    async def hears_of(self, tool: str) -> None:
        """Wait until the page has called this tool."""
        script = "(tool) => heard.some(({ params }) => params?.name === tool)"
        await self.page.wait_for_function(script, arg=tool, timeout=PATIENCE)

    def calls_of(self, tool: str) -> list[Json]:
        """The arguments with which the page called this tool."""
        return [each["arguments"] for each in self.asked if each.get("name") == tool]

    async def _ask(self, method: str, params: Json) -> Json:
        """Pass it on; what is still on its way when the host closes is given up."""
        self.asked.append(params)
        name = params.get("name", method)
        self._now[name] += 1
        self.most_at_once[name] = max(self.most_at_once[name], self._now[name])
        with anyio.CancelScope() as scope:
            self._open.add(scope)
            if self._is_closed:
                scope.cancel()
            try:
                return await self._answer(method, params)
            finally:
                self._open.discard(scope)
                self._now[name] -= 1
        return {}

    def close(self) -> None:
        self._is_closed = True
        for scope in self._open:
            scope.cancel()

    async def _answer(self, method: str, params: Json) -> Json:
        try:
            if method == "tools/call":
                if self.before:
                    await self.before(params["name"], params["arguments"])
                return {"result": wire(await self.client.call_tool(params["name"], params["arguments"]))}
            if method == "resources/read":
                return {"result": wire(await self.client.read_resource(params["uri"]))}
        except (MCPError, ConnectionError) as error:
            return {"error": {"code": -32000, "message": str(error)}}
        return {"error": {"code": -32601, "message": f"This host does not know {method}"}}


def wire(result: Any) -> Json:  # noqa: ANN401 any model of the SDK
    """As it goes over the wire."""
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


@asynccontextmanager
async def chromium() -> AsyncGenerator[Browser, None]:
    """A browser; starting it takes a second of computing."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        await browser.close()


@asynccontextmanager
async def app_host(
    browser: Browser,
    world: World,
    *,
    tool: str = "generate",
    capabilities: Mapping[str, object] = ALL,
    context: Mapping[str, object] | None = None,
    width: int = 760,
    height: int = 900,
    start: str = "index.html",
    npm: Path | None = None,
    motion: Literal["reduce", "no-preference"] = "reduce",
    scheme: Literal["light", "dark"] = "light",
    sharpness: float = 1,
) -> AsyncGenerator[AppHost, None]:
    """A host whose model called this tool, with our page in it."""
    async with (
        world.client() as client,
        await browser.new_context(
            viewport=ViewportSize(width=width, height=height),
            reduced_motion=motion,
            color_scheme=scheme,
            device_scale_factor=sharpness,
        ) as opened,
    ):
        opened.set_default_timeout(PATIENCE)
        await opened.route("http://host.test/**", partial(_host_file, npm=npm))
        page = await opened.new_page()
        about: Json = {
            "toolInfo": {"tool": {"name": tool, "inputSchema": {"type": "object"}}},
            "theme": "light",
            "displayMode": "inline",
            "availableDisplayModes": ["inline", "fullscreen"],
            **(context or {}),
        }
        host = AppHost(client, page, about, capabilities)
        page.on(
            "console", lambda said: host.complaints.append(said.text) if said.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: host.complaints.append(str(error)))
        await host.shows(start)
        try:
            yield host
            assert not host.complaints, host.complaints
        finally:
            host.close()


async def _host_file(route: Route, *, npm: Path | None) -> None:
    name = route.request.url.removeprefix("http://host.test/")
    file = npm / name.removeprefix("npm/") if npm and name.startswith("npm/") else Path(__file__).parent / "host" / name
    if name == "favicon.ico":
        await route.fulfill(status=204)
        return
    kind = "text/html" if file.suffix == ".html" else "text/javascript"
    await route.fulfill(body=await anyio.Path(file).read_bytes(), content_type=kind)
