"""deploy/haproxy.cfg at work."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass, field, replace

import anyio
import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from flux2_mcp.simulator import Script, Simulator
from tests.hosting.haproxy import HAPROXY, load_balancer
from tests.hosting.world import ADA, Hosts
from tests.platforms import only_on
from tests.processes import AT_ONCE, on_a_port
from tests.world import NO_CERTIFICATES, text_of

pytestmark = [
    only_on("Linux", "Debian's HAProxy is easily had"),
    pytest.mark.skipif(
        HAPROXY is None, reason="there is no haproxy to balance load: on Debian, apt-get install haproxy brings it"
    ),
]


@dataclass
class Replica:
    """A server that is ready, and answers all calls in one way."""

    status: int = 200
    requests: list[Request] = field(default_factory=list[Request])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        if request.url.path == "/readyz":
            await PlainTextResponse("ready")(scope, receive, send)
            return
        await request.body()
        self.requests.append(request)
        await PlainTextResponse("answered", self.status, {"Retry-After": "5"})(scope, receive, send)


async def test_progress_comes_while_the_picture_is_made(hosts_of_era: Hosts) -> None:
    """The picture is finished only when its progress was seen, so that whoever holds that back waits for ever."""
    hosts_of_era.simulator = Simulator(Script(looks_until_done=10**9, plain_pictures=True))
    seen: list[str] = []

    async def finish(progress: float, total: float | None, message: str | None) -> None:
        seen.append(message or "")
        for task in hosts_of_era.simulator.ledger.tasks():
            task.looks = 10**9

    async with (
        hosts_of_era.server() as server,
        load_balancer(server.url, server.url) as url,
        replace(server, url=f"{url}/mcp").client(ADA) as client,
    ):
        with anyio.fail_after(AT_ONCE):
            result = await client.call_tool("generate", {"prompt": "a fox"}, progress_callback=finish)

    assert "made the picture" in text_of(result)
    assert seen


async def test_calls_go_on_where_a_replica_is_missing(hosts: Hosts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    async with hosts.server() as server, load_balancer(address, server.url) as url:
        behind = replace(server, url=f"{url}/mcp")
        results = [await behind.call(ADA, "generate", prompt=prompt) for prompt in ("a fox", "a hare")]

    assert ["made the picture" in text_of(result) for result in results] == [True, True]


async def test_a_call_that_a_server_refuses_is_sent_to_the_other(hosts: Hosts) -> None:
    """It refuses so when it ends. The one that asks for another picture on purpose is not sent again."""
    ending, going_on = Replica(503), Replica()
    async with on_a_port(ending) as one, on_a_port(going_on) as other, load_balancer(one, other) as url:
        answers = [await post(f"{url}/mcp", {"prompt": "a fox"}) for _ in range(2)]
        repeated = [await post(f"{url}/mcp", {"prompt": "a fox", "repeat": True}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert sorted(answer.status_code for answer in repeated) == [200, 503]
    assert len(going_on.requests) == 3
    assert {answer.headers["retry-after"] for answer in repeated} == {"5"}


async def test_a_call_that_nobody_can_take_is_told_what_became_of_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    async with load_balancer(address, address) as url:
        answer = await post(f"{url}/mcp", {"prompt": "a fox"})
        balancer = await get(f"{url}/healthz")

    assert (answer.status_code, balancer.status_code) == (503, 503)
    assert answer.headers["retry-after"] == "5"
    assert "Send the same call again" in answer.json()["error"]["message"]


async def test_strangers_reach_what_is_for_them_and_cannot_say_who_they_are() -> None:
    replica = Replica()
    async with on_a_port(replica) as there, load_balancer(there, there) as url:
        reached = [
            await post(f"{url}{path}", {}) for path in ("/mcp", "/webhooks/runapi/x", "/readyz", "/metrics", "/mcpx")
        ]
        balancer = await get(f"{url}/healthz")

    assert [answer.status_code for answer in reached] == [200, 200, 404, 404, 404]
    assert balancer.status_code == 200
    assert [request.url.path for request in replica.requests] == ["/mcp", "/webhooks/runapi/x"]
    assert {request.headers["x-forwarded-for"] for request in replica.requests} == {"127.0.0.1"}
    assert not any("forwarded" in request.headers for request in replica.requests)


async def post(url: str, body: object) -> httpx.Response:
    lies = {"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1"}
    async with httpx.AsyncClient(verify=NO_CERTIFICATES, timeout=AT_ONCE) as http:
        return await http.post(url, content=json.dumps(body), headers=lies)


async def get(url: str) -> httpx.Response:
    async with httpx.AsyncClient(verify=NO_CERTIFICATES, timeout=AT_ONCE) as http:
        return await http.get(url)
