"""Creating a task, in both dialects (fact sheet 1.1, 1.2)."""

from __future__ import annotations

import re
import uuid

import pytest

from flux2_mcp.simulator import Script
from tests.simulator.api_client import BLEND, FOX, KEY, REMIX, TEXT, api_client


async def test_the_sdk_dialect_answers_with_a_uuid_that_is_pending() -> None:
    async with api_client() as here:
        response = await here.create()

    body = response.json()
    assert response.status_code == 200
    assert body == {"id": str(uuid.UUID(body["id"])), "status": "pending"}
    assert response.headers["X-RunAPI-Task-Id"] == body["id"]


@pytest.mark.parametrize(("path", "body"), [("/v1/text_to_image", FOX), ("/v1/remix_image", BLEND)])
async def test_the_guides_dialect_answers_with_three_fields(path: str, body: dict[str, object]) -> None:
    async with api_client() as here:
        answer = (await here.create(body, path)).json()

    assert answer == {"task_id": answer["task_id"], "status": "pending", "model": body["model"]}
    assert re.fullmatch(r"tsk_[0-9a-f]+", answer["task_id"])


@pytest.mark.parametrize(("dialect", "present", "absent"), [("sdk", TEXT, "/v1/text_to_image"),
                                                           ("v1", "/v1/text_to_image", TEXT)])  # fmt: skip
async def test_a_dialect_that_is_not_spoken_is_not_found(dialect: str, present: str, absent: str) -> None:
    async with api_client(Script(dialects=("sdk",) if dialect == "sdk" else ("v1",))) as here:
        assert (await here.create(path=present)).status_code == 200
        assert (await here.create(path=absent)).status_code == 404


async def test_accepted_with_location_points_to_the_task_result() -> None:
    async with api_client(Script(accepted_with_location=True)) as here:
        response = await here.create()

    task_id = response.json()["id"]
    assert response.status_code == 202
    assert response.json() == {"id": task_id, "status": "processing"}
    assert response.headers["Location"] == f"/api/v1/tasks/{task_id}"
    assert response.headers["Retry-After"] == "2"


async def test_the_record_holds_what_was_asked() -> None:
    async with api_client() as here:
        task_id = await here.created({**FOX, "seed": 7})
        task = here.simulator.task(task_id)

    assert (task.model, task.prompt, task.key, task.cost_cents) == (FOX["model"], FOX["prompt"], KEY, 5)
    assert task.params["seed"] == 7
    assert task.status == "pending"


async def test_an_unknown_task_has_no_record() -> None:
    async with api_client() as here:
        with pytest.raises(KeyError):
            here.simulator.task("nobody")


@pytest.mark.parametrize("body", [b"{", b"", b'{"a": NaN}', b"[1]", b'"text"', b"[" * 100_000, b"\xff\xfe"])
async def test_what_is_not_a_json_object_is_a_bad_request(body: bytes) -> None:
    async with api_client() as here:
        response = await here.http.post(TEXT, content=body)

        assert response.status_code == 400
        assert here.simulator.ledger.tasks() == []


@pytest.mark.parametrize("key", ["", "  ", "sk-wrong", "an-INVALID-key"])
async def test_a_key_that_opens_nothing_is_unauthorized(key: str) -> None:
    async with api_client(key="") as here:
        response = await here.create(Authorization=f"Bearer {key}")

    assert (response.status_code, response.json()) == (401, {"error": "Unauthorized"})


async def test_only_named_keys_open_when_keys_are_named() -> None:
    async with api_client(Script(keys={"mine": 100})) as here:
        assert (await here.create(Authorization="Bearer mine")).status_code == 200
        assert (await here.create(Authorization="Bearer other")).status_code == 401
        assert (await here.create(Authorization="Basic mine")).status_code == 401


async def test_every_answer_has_a_request_id_and_echoes_the_clients() -> None:
    async with api_client() as here:
        first = await here.create(X_Client_Request_Id="mine-1")
        second = await here.http.get("/nowhere", headers={"X-Client-Request-Id": "mine-2"})
        too_long = await here.create(X_Client_Request_Id="x" * 513)

    assert first.headers["x-client-request-id"] == "mine-1"
    assert second.headers["x-client-request-id"] == "mine-2"
    assert "x-client-request-id" not in too_long.headers
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


async def test_the_clients_request_id_is_kept_with_the_task() -> None:
    async with api_client() as here:
        response = await here.create(X_Client_Request_Id="mine-1")

        assert here.simulator.task(response.json()["id"]).client_request_id == "mine-1"


async def test_a_wrong_method_is_405_and_a_wrong_path_404() -> None:
    async with api_client() as here:
        wrong_method = await here.http.get(REMIX)
        wrong_path = await here.http.get("/api/v1/flux_2")

    assert (wrong_method.status_code, wrong_method.json()) == (405, {"error": "Method not allowed"})
    assert wrong_method.headers["Allow"] == "POST"
    assert (wrong_path.status_code, wrong_path.json()) == (404, {"error": "Not found"})


async def test_every_request_is_remembered_with_its_answer() -> None:
    async with api_client() as here:
        await here.create({"prompt": "no model"})
        (seen,) = here.simulator.requests

    assert (seen.method, seen.path, seen.status) == ("POST", TEXT, 422)
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.body == b'{"prompt":"no model"}'
    assert KEY not in repr(seen)


async def test_a_key_in_a_hurry_is_told_when_to_come_back() -> None:
    async with api_client(Script(requests_per_second=0.5)) as here:
        await here.balance()
        response = await here.http.get("/api/v1/me/balance")
        other = await here.http.get("/api/v1/me/balance", headers={"Authorization": "Bearer other"})
        here.clock.wait(2)
        later = await here.http.get("/api/v1/me/balance")

    assert (response.status_code, response.headers["Retry-After"]) == (429, "2")
    assert (other.status_code, later.status_code) == (200, 200)


async def test_me_and_the_models_are_there() -> None:
    async with api_client() as here:
        me = (await here.http.get("/api/v1/me")).json()
        models = (await here.http.get("/v1/models", headers={"Authorization": ""})).json()

    assert isinstance(me["id"], int)
    assert isinstance(me["account"]["id"], int)
    assert len(models["data"]) == 6
