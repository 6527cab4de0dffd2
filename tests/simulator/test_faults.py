"""Faults: an answer replaced, delayed or lost, before or after its effect."""

from __future__ import annotations

import anyio
import pytest
from starlette.types import Message

from flux2_mcp.simulator import AnswerLost, Fault, Script
from tests.simulator.api_client import FOX, TEXT, api_client


@pytest.mark.parametrize("status", [400, 401, 402, 404, 409, 422, 429, 500, 502, 503, 504])
async def test_a_refused_create_has_no_effect(status: int) -> None:
    async with api_client(None, Fault(on="create", status=status)) as here:
        response = await here.create()

        assert response.status_code == status
        assert here.simulator.ledger.tasks() == []
        assert (await here.create()).status_code == 200


async def test_the_usual_bodies_of_errors_are_known() -> None:
    async with api_client(None, *(Fault(on="create", status=status) for status in (429, 502, 503))) as here:
        slow, gateway, busy = [await here.create() for _ in range(3)]

    assert (slow.json()["error"]["code"], slow.headers["Retry-After"]) == ("rate_limited", "1")
    assert gateway.headers["content-type"].startswith("text/html")
    assert "<h1>502 Bad Gateway</h1>" in gateway.text
    assert (busy.text, busy.headers["content-type"]) == ("No active channel available", "text/plain; charset=utf-8")


async def test_after_means_that_the_money_is_reserved() -> None:
    async with api_client(None, Fault(on="create", status=500, after=True)) as here:
        response = await here.create(Idempotency_Key="k-1")
        again = await here.create(Idempotency_Key="k-1")

        assert response.status_code == 500
        assert again.json()["task_replayed"] is True
        assert len(here.simulator.ledger.paid_tasks()) == 1


@pytest.mark.parametrize("after", [False, True])
async def test_a_lost_answer_is_no_answer(*, after: bool) -> None:
    async with api_client(None, Fault(on="create", lose=True, after=after)) as here:
        with pytest.raises(AnswerLost):
            await here.create()

        assert len(here.simulator.ledger.tasks()) == after
        assert here.simulator.requests[0].status is None


async def test_a_fault_can_answer_anything() -> None:
    faults = (
        Fault(on="look", body={"status": "levitating"}),
        Fault(on="look", body="words", status=418, headers={"X-Mood": "odd"}),
        Fault(on="look", body=b"\x00", headers={"Content-Type": "image/png"}),
    )
    async with api_client(None, *faults) as here:
        path = f"{TEXT}/{await here.created()}"
        odd, words, bytes_ = [await here.http.get(path) for _ in range(3)]

    assert (odd.status_code, odd.json()) == (200, {"status": "levitating"})
    assert (words.status_code, words.text, words.headers["x-mood"]) == (418, "words", "odd")
    assert (bytes_.content, bytes_.headers["content-type"]) == (b"\x00", "image/png")


async def test_an_empty_answer_has_no_body() -> None:
    async with api_client(None, Fault(on="look", status=204)) as here:
        response = await here.http.get(f"{TEXT}/x")

    assert (response.status_code, response.content) == (204, b"")


async def test_headers_alone_are_added_to_the_usual_answer() -> None:
    async with api_client(None, Fault(on="create", headers={"Location": "https://evil.example/"})) as here:
        response = await here.create()

    assert response.json()["status"] == "pending"
    assert response.headers["Location"] == "https://evil.example/"


async def test_a_hanging_answer_can_be_abandoned() -> None:
    async with api_client(None, Fault(on="create", hang=60, after=True)) as here:
        with anyio.move_on_after(0.05) as patience:
            await here.create()

        assert patience.cancelled_caught
        assert len(here.simulator.ledger.tasks()) == 1


async def test_a_short_hang_ends_in_the_usual_answer() -> None:
    async with api_client(None, Fault(on="create", hang=0.01)) as here:
        assert (await here.create()).status_code == 200


async def test_faults_are_used_up_in_order_by_their_own_kind() -> None:
    faults = Fault(on="look", status=503, times=2), Fault(on="look", status=500), Fault(on="create", status=402)
    async with api_client(None, *faults) as here:
        created = [(await here.create()).status_code for _ in range(2)]
        path = f"{TEXT}/{here.simulator.ledger.tasks()[0].id}"
        looks = [(await here.http.get(path)).status_code for _ in range(4)]

        assert (created, looks) == ([402, 200], [503, 503, 500, 200])
        assert here.simulator.faults == []


async def test_a_look_that_fails_is_no_look() -> None:
    async with api_client(Script(looks_until_done=2), Fault(on="look", status=503)) as here:
        path = f"{TEXT}/{await here.created()}"
        answers = [await here.http.get(path) for _ in range(3)]

    assert [answer.json()["status"] for answer in answers[1:]] == ["processing", "completed"]


KINDS = {
    "prices": ("GET", "/api/v1/price_schedules"),
    "quote": ("POST", "/api/v1/price_quotes"),
    "balance": ("GET", "/api/v1/me/balance"),
    "file": ("POST", "/api/v1/files"),
    "prepare": ("POST", "/api/v1/files/prepare"),
    "put": ("PUT", "/temp/user-uploads/x"),
    "confirm": ("POST", "/api/v1/files/confirm"),
    "picture": ("GET", "/generated/x.png"),
    "create": ("POST", "/v1/remix_image"),
    "look": ("GET", "/v1/tasks/x"),
}


@pytest.mark.parametrize(("on", "request_"), KINDS.items(), ids=KINDS)
async def test_every_kind_of_request_can_go_wrong(on: str, request_: tuple[str, str]) -> None:
    async with api_client() as here:
        added = await here.http.post("/simulator/faults", json={"on": on, "status": 418})
        response = await here.http.request(*request_)

    assert (added.status_code, added.json()) == (201, {"faults": 1})
    assert response.status_code == 418


async def test_faults_can_be_added_and_cleared_over_http() -> None:
    fault = {"on": "create", "body": "<html>", "headers": {"Retry-After": 3}, "after": True, "times": 2, "hang": 0.5}
    async with api_client() as here:
        added = await here.http.post("/simulator/faults", json=[fault, {"on": "look", "lose": True, "status": None}])
        listed = list(here.simulator.faults)
        cleared = await here.http.delete("/simulator/faults")

        assert added.json() == {"faults": 2}
        assert listed == [
            Fault(on="create", body="<html>", headers={"Retry-After": "3"}, after=True, times=2, hang=0.5),
            Fault(on="look", lose=True),
        ]
        assert (cleared.status_code, here.simulator.faults) == (204, [])


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, None),
        (b"3", 422, "on"),
        (b'{"on": "lunch"}', 422, "on"),
        (b'{"on": "look", "colour": 1}', 422, "colour"),
        (b'{"on": "look", "status": "500"}', 422, "status"),
        (b'{"on": "look", "status": 42}', 422, "status"),
    ],
)
async def test_a_fault_that_makes_no_sense_is_refused(body: bytes, status: int, field: str | None) -> None:
    async with api_client() as here:
        response = await here.http.post("/simulator/faults", content=body)

        assert response.status_code == status
        assert field is None or field in response.json()["errors"]
        assert here.simulator.faults == []


async def test_the_ledger_can_be_read_over_http_without_the_keys_in_them() -> None:
    async with api_client(key="sk-a-rather-long-key") as here:
        task_id = await here.created()
        response = await here.http.get("/simulator/ledger")
        welcome = await here.http.get("/")

    (account,), (task,) = response.json()["accounts"], response.json()["tasks"]
    assert account == {"key": "…-key", "balance_cents": 995, "reserved_cents": 5, "spent_cents": 0}
    assert (task["id"], task["prompt"], task["money"]) == (task_id, FOX["prompt"], "reserved")
    assert "sk-a-rather" not in response.text
    assert welcome.status_code == 200


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_a_client_that_leaves_or_wants_a_websocket_gets_nothing_done(kind: str) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": f"{kind}.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async with api_client() as here:
        await here.simulator({"type": kind, "method": "POST", "path": TEXT, "headers": []}, receive, send)

        assert [message["type"] for message in sent] == ["websocket.close"] * (kind == "websocket")
        assert here.simulator.requests == []
