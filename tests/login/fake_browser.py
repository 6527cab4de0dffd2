"""A person at a browser, and a simulated RunAPI behind a real port: the login needs both."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, urlsplit

import anyio
import httpx
import uvicorn

from flux2_mcp.login import Keyring, LoggedIn, Login, login
from flux2_mcp.settings import Settings
from flux2_mcp.simulator import Simulator
from tests.transports import Wire
from tests.world import BASE_URL, NO_CERTIFICATES

Json = dict[str, object]


@dataclass
class Computer:
    """A person's computer before they have a key; RunAPI is simulated in memory."""

    home: Path
    simulator: Simulator = field(default_factory=Simulator)
    environ: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def keyring(self) -> Keyring:
        settings = Settings.from_environ({"RUNAPI_BASE_URL": BASE_URL, **self.environ})
        return Keyring(settings, self.home, Wire(self.simulator))

    @property
    def file(self) -> Path:
        return self.home / ".config" / "runapi" / "config.json"

    @property
    def saved(self) -> Json:
        """What the shared config file holds."""
        return cast("Json", json.loads(self.file.read_text(encoding="utf-8")))

    def has(self, content: Json) -> None:
        """Put something into the shared config file."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(content), encoding="utf-8")

    async def logs_in(
        self, visit: Callable[[Browser], Awaitable[object]], *, patience: float = 10, in_terminal: bool = False
    ) -> LoggedIn:
        """Begin a login, let somebody do something about it, and wait for the end."""
        with anyio.fail_after(30):
            async with (
                login(self.keyring, in_terminal=in_terminal) as waiting,
                browser(self.simulator, waiting) as person,
            ):
                await visit(person)
                return await waiting.finished(patience)


@dataclass
class Browser:
    """A browser without a screen: it follows links and presses buttons."""

    login: Login
    runapi: httpx.AsyncClient
    callback: httpx.AsyncClient

    @property
    def asked(self) -> dict[str, str]:
        """What the URL of the login says."""
        return dict(parse_qsl(urlsplit(self.login.url).query))

    async def looks(self) -> httpx.Response:
        """Open the page."""
        return await self.runapi.get(self.login.url)

    async def answers(self, answer: str) -> httpx.Response:
        """Open the page and press a button; what RunAPI says to that."""
        await self.looks()
        return await self.runapi.post("/cli/authorize", data={"state": self.asked["state"], "answer": answer})

    async def allows(self) -> httpx.Response:
        """Open the page, press Allow and go where that leads."""
        return await self.callback.get((await self.answers("allow")).headers["location"])

    async def denies(self) -> httpx.Response:
        """Open the page, press Deny and go where that leads."""
        return await self.callback.get((await self.answers("deny")).headers["location"])


@asynccontextmanager
async def browser(simulator: Simulator, waiting: Login) -> AsyncGenerator[Browser, None]:
    """Somebody with a browser."""
    port = dict(parse_qsl(urlsplit(waiting.url).query))["redirect_port"]
    async with (
        httpx.AsyncClient(transport=Wire(simulator), base_url=BASE_URL) as runapi,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=NO_CERTIFICATES) as callback,
    ):
        yield Browser(waiting, runapi, callback)


@asynccontextmanager
async def served(simulator: Simulator) -> AsyncGenerator[str, None]:
    """The simulator on a port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(simulator, log_level="error", lifespan="off"))
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listener])
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            server.should_exit = True
