"""Idempotency-Key: the same task again, never a second one (fact sheet 1.0)."""

from __future__ import annotations

import anyio
import pytest

from tests.simulator.api_client import FOX, api_client


async def test_the_same_request_again_is_the_same_task() -> None:
    async with api_client() as here:
        first = await here.create(Idempotency_Key="k-1")
        second = await here.create({name: FOX[name] for name in sorted(FOX, reverse=True)}, Idempotency_Key="k-1")

        assert second.json() == {"id": first.json()["id"], "status": "pending", "task_replayed": True}
        assert len(here.simulator.ledger.paid_tasks()) == 1
        assert await here.balance() == 995


async def test_a_task_that_is_over_is_found_again_as_running() -> None:
    """No client expects the end in the answer to a create; the next look tells it."""
    async with api_client() as here:
        await here.create(Idempotency_Key="k-1")
        here.clock.wait(60)
        again = await here.create(Idempotency_Key="k-1")

    assert again.json()["status"] == "processing"


async def test_other_input_is_a_conflict() -> None:
    async with api_client() as here:
        await here.create(Idempotency_Key="k-1")
        response = await here.create({**FOX, "prompt": "another fox"}, Idempotency_Key="k-1")

        assert response.status_code == 409
        assert response.json()["error"]["code"] == "request_conflict"
        assert len(here.simulator.ledger.tasks()) == 1


async def test_the_other_dialect_finds_the_same_task() -> None:
    async with api_client() as here:
        first = await here.create(Idempotency_Key="k-1")
        second = await here.create(path="/v1/text_to_image", Idempotency_Key="k-1")

    assert second.json()["task_id"] == first.json()["id"]


async def test_a_key_means_nothing_to_another_account() -> None:
    async with api_client() as here:
        await here.create(Idempotency_Key="k-1")
        other = await here.create({**FOX, "prompt": "another fox"}, Idempotency_Key="k-1", Authorization="Bearer other")

    assert other.status_code == 200
    assert "task_replayed" not in other.json()


async def test_without_a_key_every_request_is_a_new_task() -> None:
    async with api_client() as here:
        assert await here.created() != await here.created()


async def test_many_at_once_are_one_task(red_png: bytes) -> None:
    """Sources are read in a thread; two requests must not slip past each other there."""
    async with api_client() as here:
        url = await here.upload(red_png)
        body = {"model": "flux-2-pro-remix-image", "prompt": "as a stamp", "source_image_urls": [url]}
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(lambda: here.create(body, "/api/v1/flux_2/remix_image", Idempotency_Key="k-1"))

        assert len(here.simulator.ledger.tasks()) == 1


@pytest.mark.parametrize("key", ["", "   ", "x" * 513])
async def test_a_key_that_is_blank_or_too_long_is_refused(key: str) -> None:
    async with api_client() as here:
        response = await here.create(Idempotency_Key=key)

        assert response.status_code == 400
        assert response.json()["error"]["code"] == "invalid_idempotency_key"
        assert here.simulator.ledger.tasks() == []


async def test_a_refused_request_does_not_use_up_its_key() -> None:
    async with api_client() as here:
        refused = await here.create({**FOX, "prompt": ""}, Idempotency_Key="k-1")
        accepted = await here.create(Idempotency_Key="k-1")

    assert (refused.status_code, accepted.status_code) == (422, 200)
