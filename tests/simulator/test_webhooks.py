"""Webhooks: the flat task body, posted when a task ends (fact sheet 3)."""

from __future__ import annotations

import hashlib
import hmac

import anyio
import httpx

from flux2_mcp.simulator import Script, Simulator
from tests.simulator.api_client import FOX

HOOK = "https://app.example/hooks"


class Receiver(httpx.AsyncBaseTransport):
    """Somebody's server, which answers with these statuses, the last one for ever."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses or (200,))
        self.received: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.received.append(request)
        return httpx.Response(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])


async def ended(
    script: Script, receiver: Receiver | None, prompt: str = "a fox", hook: str = HOOK
) -> dict[str, object]:
    """Create one task with a callback, deliver twice, and return the task as its status route shows it."""
    simulator = Simulator(script, webhook_transport=receiver)
    transport = httpx.ASGITransport(app=simulator)
    headers = {"Authorization": "Bearer sk-1"}
    async with httpx.AsyncClient(transport=transport, base_url="http://runapi.test", headers=headers) as http:
        body = {**FOX, "prompt": prompt, "callback_url": hook}
        task_id = (await http.post("/api/v1/flux_2/text_to_image", json=body)).json()["id"]
        await simulator.deliver_webhooks()
        await simulator.deliver_webhooks()
        return (await http.get(f"/api/v1/flux_2/text_to_image/{task_id}")).json()


async def test_a_completed_task_is_reported_once_and_flat() -> None:
    receiver = Receiver()
    task = await ended(Script(looks_until_done=0), receiver)

    (request,) = receiver.received
    assert (request.method, str(request.url)) == ("POST", HOOK)
    assert request.headers["content-type"] == "application/json"
    assert httpx.Response(200, content=request.content).json() == task
    assert "authorization" not in request.headers
    assert not any("signature" in name for name in request.headers)


async def test_a_failed_task_is_reported_without_usage() -> None:
    receiver = Receiver()
    await ended(Script(looks_until_done=0), receiver, "a fox [simulate: failed]")

    body = httpx.Response(200, content=receiver.received[0].content).json()
    assert body["status"] == "failed"
    assert "usage" not in body


async def test_a_running_task_is_not_reported() -> None:
    receiver = Receiver()
    await ended(Script(), receiver)

    assert receiver.received == []


async def test_a_receiver_in_trouble_is_tried_again_but_not_for_ever() -> None:
    better, worse = Receiver(500, 302, 200), Receiver(500)
    script = Script(looks_until_done=0, webhook_pauses=(0, 0))
    await ended(script, better)
    await ended(script, worse)

    assert len(better.received) == 3
    assert len(worse.received) == 3


class Nobody(Receiver):
    """A host that is down."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await super().handle_async_request(request)
        msg = "connection refused"
        raise httpx.ConnectError(msg, request=request)


async def test_a_receiver_that_is_down_is_tried_again_as_well() -> None:
    nobody = Nobody()
    await ended(Script(looks_until_done=0, webhook_pauses=(0,)), nobody)

    assert len(nobody.received) == 2


async def test_a_secret_signs_the_raw_body() -> None:
    receiver = Receiver()
    await ended(Script(looks_until_done=0, webhook_secret="s3cret"), receiver)

    (request,) = receiver.received
    digest = hmac.new(b"s3cret", request.content, hashlib.sha256).hexdigest()
    assert request.headers["x-simulator-signature"] == f"sha256={digest}"


async def test_without_a_network_of_its_own_nothing_leaves_this_machine() -> None:
    """`app.example` would not resolve, and the wait before a second try would be too long for this test."""
    with anyio.fail_after(5):
        task = await ended(Script(looks_until_done=0, webhook_pauses=(60,)), None)

    assert task["status"] == "completed"
