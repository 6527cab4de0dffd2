"""A task whose end RunAPI tells: a hint, after which it is looked at."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import repeat

import anyio
import httpx
import pytest
from mcp_types import CallToolResult

from flux2_mcp.errors import BadSetting
from flux2_mcp.simulator import Script, Simulator
from flux2_mcp.webhooks import (
    MOST_MISSED,
    PATH,
    SHORTEST_PAUSE,
    SLOW_PAUSES,
    TRUSTED_FOR,
    Webhooks,
    checked_public_url,
)
from tests.hosting.world import ADA, BEN, HostedWorld, Hosts
from tests.sources.owner_sources import data_uri, png
from tests.world import NO_CERTIFICATES, every, text_of

PUBLIC = "https://flux2.example"
KEY = b"0123456789abcdef0123456789abcdef"


@dataclass
class ToServer(httpx.AsyncBaseTransport):
    """The way from RunAPI to the public address."""

    url: str = ""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert str(request.url).startswith(PUBLIC)
        async with httpx.AsyncClient(verify=NO_CERTIFICATES, base_url=self.url) as http:
            return await http.post(request.url.path, content=request.content, headers={"Host": "flux2.example"})


@asynccontextmanager
async def reachable(
    hosts: Hosts, script: Script | None = None, **environ: str
) -> AsyncGenerator[tuple[HostedWorld, Simulator], None]:
    """A server that RunAPI can reach. Its own looks take an hour: what ends a wait before is a webhook."""
    way = ToServer()
    runapi = Simulator(script or Script(looks_until_done=1, plain_pictures=True), webhook_transport=way)
    hosts.simulator = runapi
    async with hosts.server(FLUX2_PUBLIC_URL=PUBLIC, **environ) as server:
        way.url = server.url.removesuffix("/mcp")
        yield server, runapi


async def ends(
    server: HostedWorld,
    runapi: Simulator,
    then: Callable[[], Awaitable[object]],
    *,
    tool: str = "generate",
    **more: object,
) -> CallToolResult:
    """The result of a call whose task ends while it waits; what happens then is `then`."""
    results: list[CallToolResult] = []

    async def call() -> None:
        results.append(await server.call(ADA, tool, prompt="a fox", **more))

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        while not runapi.ledger.tasks():  # noqa: ASYNC110 the simulator has no event for it
            await anyio.sleep(0.01)
        await anyio.sleep(0.05)
        runapi.ledger.tasks()[0].looks = 10**9
        await then()
    return results[0]


async def test_a_call_ends_when_its_webhook_comes(hosts_of_era: Hosts) -> None:
    async with reachable(hosts_of_era) as (server, runapi):
        with anyio.fail_after(10):
            result = await ends(server, runapi, runapi.deliver_webhooks, wait_seconds=60)

    assert "made the picture" in text_of(result)
    assert len(server.here.looks) == 1


async def test_the_end_of_a_remix_of_an_uploaded_source_is_told_too(hosts: Hosts) -> None:
    """Where its source lies is known later than its webhook's address."""
    source = data_uri(png())
    async with reachable(hosts) as (server, runapi):
        with anyio.fail_after(10):
            result = await ends(server, runapi, runapi.deliver_webhooks, tool="remix", source_image_urls=[source])

    assert "made the picture" in text_of(result)
    assert runapi.ledger.tasks()[0].callback_url.startswith(PUBLIC)


@pytest.mark.parametrize(
    "script",
    [
        Script(looks_until_done=1, plain_pictures=True, webhook_copies=5),
        Script(looks_until_done=1, plain_pictures=True, forged_webhooks=True),
    ],
    ids=["repeated", "forged"],
)
async def test_nothing_that_a_webhook_says_is_believed(hosts: Hosts, script: Script) -> None:
    async with reachable(hosts, script) as (server, runapi):
        with anyio.fail_after(10):
            result = await ends(server, runapi, runapi.deliver_webhooks, wait_seconds=60)

    assert "made the picture" in text_of(result)
    assert len(runapi.ledger.paid_tasks()) == 1


async def test_a_webhook_before_the_end_is_only_one_more_look(hosts: Hosts) -> None:
    async with reachable(hosts, Script(looks_until_done=10**9, plain_pictures=True)) as (server, runapi):

        async def early() -> None:
            task = runapi.ledger.tasks()[0]
            task.looks = 0
            async with httpx.AsyncClient(transport=ToServer(server.url.removesuffix("/mcp"))) as http:
                for _ in range(20):
                    assert (await http.post(task.callback_url, content=b"\xff{")).status_code == 204

        result = await ends(server, runapi, early, wait_seconds=1.2)

    assert "not ready yet" in text_of(result)
    assert 1 <= len(server.here.looks) <= 1 + 1.2 / SHORTEST_PAUSE


async def test_a_webhook_that_never_comes_is_looked_for(hosts: Hosts) -> None:
    """Nothing has come yet, so that looks are as dense as ever."""
    hosts.webhook_intervals = every(0.05)
    script = Script(looks_until_done=2, plain_pictures=True, webhook_copies=0)
    async with reachable(hosts, script) as (server, _):
        result = await server.call(ADA, "generate", prompt="a fox")

    assert "made the picture" in text_of(result)


async def test_a_callers_own_callback_is_passed_on(hosts: Hosts) -> None:
    theirs = "https://app.example/hooks/1"
    hosts.webhook_intervals = every(0.01)
    async with reachable(hosts) as (server, runapi):
        await server.call(ADA, "generate", prompt="a fox", callback_url=theirs)

    assert runapi.ledger.tasks()[0].callback_url == theirs


async def test_the_same_words_are_the_same_request(hosts: Hosts) -> None:
    """Its webhook's address is part of the body that the Idempotency-Key stands for, and not of what is asked."""
    async with reachable(hosts) as (server, runapi):
        first = await server.call(ADA, "generate", prompt="a fox", wait_seconds=0)
        runapi.ledger.tasks()[0].looks = 10**9
        second = await server.call(ADA, "generate", prompt="a fox")
        others = await server.call(BEN, "generate", prompt="a fox", wait_seconds=0)

    assert not first.is_error
    assert "made the picture" in text_of(second)
    assert not others.is_error
    addresses = {task.callback_url for task in runapi.ledger.tasks()}
    assert len(runapi.ledger.tasks()) == len(addresses) == 2


@pytest.mark.parametrize("name", ["", "x", "order-0.0", ".", "é.é", "a" * 64 + "." + "0" * 32, "%00.%00"])
async def test_an_address_that_was_guessed_leads_nowhere(hosts: Hosts, name: str) -> None:
    async with (
        reachable(hosts) as (server, runapi),
        httpx.AsyncClient(verify=NO_CERTIFICATES, base_url=server.url.removesuffix("/mcp")) as http,
    ):
        answer = await http.post(f"{PATH}/{name}", content=b"{")
        other = await http.get(f"{PATH}/{name}")

    assert answer.status_code == 404
    assert other.status_code in {404, 405}
    assert runapi.requests == []


async def test_webhooks_are_counted_on_only_while_they_come() -> None:
    now = [1000.0]
    webhooks = Webhooks(PUBLIC, KEY, clock=lambda: now[0])
    name = webhooks.address_for("key").removeprefix(f"{PUBLIC}{PATH}/")
    pauses = webhooks.pauses(repeat(0.5))

    assert next(pauses) == 0.5
    with webhooks.waking("key"):
        assert webhooks.arrived(name)
    assert webhooks.come
    assert next(pauses) == SLOW_PAUSES[0]
    for _ in range(MOST_MISSED):
        webhooks.missed()
    assert next(pauses) == 0.5
    assert webhooks.arrived(name)
    assert not webhooks.come, "one that is sent again says nothing of the next"
    with webhooks.waking("key"):
        assert webhooks.come
    now[0] += TRUSTED_FOR
    assert not webhooks.come
    assert not Webhooks(PUBLIC, KEY[::-1]).arrived(name)


async def test_a_history_without_words_has_no_webhooks(hosts: Hosts) -> None:
    """The body that a key stands for is made anew there, perhaps by a server that cannot be reached."""
    hosts.webhook_intervals = every(0.01)
    async with reachable(hosts, FLUX2_HISTORY="private") as (server, runapi):
        await server.call(ADA, "generate", prompt="a fox")

    assert runapi.ledger.tasks()[0].callback_url == ""


@pytest.mark.parametrize("url", ["flux2.example", "ftp://flux2.example", "https://", "https://flux2.example/mcp/"])
def test_an_address_that_runapi_cannot_use_ends_the_start(url: str) -> None:
    with pytest.raises(BadSetting, match="FLUX2_PUBLIC_URL"):
        checked_public_url(url)


async def test_a_webhook_that_comes_before_anybody_waits_is_not_lost() -> None:
    webhooks = Webhooks(PUBLIC, KEY)
    webhooks.arrived(webhooks.address_for("key").removeprefix(f"{PUBLIC}{PATH}/"))

    with webhooks.waking("key") as wake, anyio.fail_after(5):
        await wake.sleep(3600)
        assert wake.has_arrived
