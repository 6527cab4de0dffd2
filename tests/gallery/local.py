"""`flux2-mcp gallery` as a process, and what a browser sends to it."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import anyio
import httpx
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from flux2_mcp.app_state import owner_at
from flux2_mcp.history import Intent, Order
from tests.databases import database_setting, history_in
from tests.processes import MODULE, Message, environment, started
from tests.world import NO_CERTIFICATES

APP = {"extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}}}
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "gallery", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": APP,
}


@dataclass
class Gallery:
    """The command at work, and its link, which nobody has opened yet."""

    process: Process
    link: str
    said: str
    """What it printed at its start."""
    errors: Path

    @property
    def url(self) -> httpx.URL:
        """Where it is, without the token."""
        return httpx.URL(self.link).copy_with(query=None)

    @property
    def origin(self) -> str:
        return str(self.url).removesuffix("/")

    @property
    def port(self) -> int:
        assert self.url.port
        return self.url.port

    def browser(self) -> httpx.AsyncClient:
        """A browser that has not been here."""
        return httpx.AsyncClient(base_url=self.origin, verify=NO_CERTIFICATES, timeout=30)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[httpx.AsyncClient, None]:
        """The browser that has opened the link."""
        async with self.browser() as browser:
            opened = await browser.get(self.link)
            assert opened.status_code == 303
            browser.headers["Flux2-Gallery-Key"] = key_in(opened)
            yield browser


def key_in(opened: httpx.Response) -> str:
    """What the page is given where no other page can read it."""
    return opened.headers["location"].removeprefix("/#key=")


@asynccontextmanager
async def gallery(
    home: Path,
    base_url: str = "",
    *arguments: str,
    prelude: str = "",
    often: bool = False,
    environ: Mapping[str, str] = MappingProxyType({}),
) -> AsyncGenerator[Gallery, None]:
    """`flux2-mcp gallery ARGUMENTS`, which opens no browser unless there is one in `environ`."""
    errors = home / "stderr.txt"
    everything = database_setting({**environment(home, base_url), **environ})
    with anyio.fail_after(240), errors.open("wb") as stderr:
        async with started(
            *MODULE, "gallery", *arguments, environ=everything, stderr=stderr, prelude=prelude, often=often
        ) as process:
            assert process.stdout is not None
            stdout = BufferedByteReceiveStream(process.stdout)
            lines = [await stdout.receive_until(b"\n", 10_000) for _ in range(3)]
            said = b"\n".join(lines).decode()
            yield Gallery(process, lines[0].decode().partition(": ")[2], said, errors)


def request_of(method: str, params: Message) -> tuple[dict[str, str], Message]:
    """What the page sends: its headers and its body."""
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": method,
    }
    if name := params.get("name") or params.get("uri"):
        headers["Mcp-Name"] = str(name)
    return headers, {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": MODERN}}


async def asked(browser: httpx.AsyncClient, method: str, **params: Any) -> Message:  # noqa: ANN401 any JSON
    """The result of a request that the page sends."""
    headers, body = request_of(method, params)
    origin = str(browser.base_url).removesuffix("/")
    answer = await browser.post("/mcp", json=body, headers={**headers, "Origin": origin})
    assert answer.status_code == 200, answer.text
    if answer.headers["content-type"].startswith("application/json"):
        return answer.json()["result"]
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    return events[-1]["result"]


async def filled(home: Path, base_url: str, prompts: Iterable[str], *, picture: Path | None = None) -> None:
    """A history with such pictures, all of one moment, that a `gallery` in this home will show."""
    history = history_in(home / "data")
    intents = [_intent(prompt) for prompt in prompts]

    async def make(order: Order) -> None:
        order = await history.accepted(order, task_id=f"task-{order.id}", dialect="sdk")
        url = f"{base_url}/generated/{order.id}.png"
        order = await history.finished(order, state="completed", urls=[url], settled_cents=5)
        await history.saved(order, [picture] if picture else [])

    try:
        opened = await history.open_orders(intents, owner=owner_at(base_url), resume_within=None)
        async with anyio.create_task_group() as group:
            for order, _ in opened:
                group.start_soon(make, order)
    finally:
        await history.aclose()


def _intent(prompt: str) -> Intent:
    model = "flux-2-pro-text-to-image"
    request = {"prompt": prompt, "model": model, "aspect_ratio": "1:1", "output_resolution": "1k"}
    return Intent(
        fingerprint=secrets.token_hex(32),
        position=0,
        idempotency_key=secrets.token_hex(16),
        service="flux_2",
        action="text_to_image",
        model=model,
        request=request,
        prompt=prompt,
        estimated_cents=5,
    )
