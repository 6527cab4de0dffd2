"""From pending to the end, and who may look (fact sheet 1.3, 1.4, 2)."""

from __future__ import annotations

import pytest

from flux2_mcp.simulator import Script
from flux2_mcp.simulator.script import STATUS_PATHS
from tests.simulator.api_client import BLEND, FOX, REMIX, TEXT, api_client


async def test_a_task_goes_by_the_clock() -> None:
    async with api_client(Script(queue_seconds=1, paint_seconds=8)) as here:
        task_id = await here.created()
        pending = await here.look(task_id)
        here.clock.wait(1)
        processing = await here.look(task_id)
        here.clock.wait(8)
        completed = await here.look(task_id)

    assert pending == {"id": task_id, "status": "pending"}
    assert processing == {"id": task_id, "status": "processing"}
    assert completed["status"] == "completed"
    assert completed["usage"] == {"cost": 0.05, "generated_images": 1}
    assert len(completed["images"]) == 1  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("looks", "seen"),
    [(0, ["completed"]), (1, ["completed"]), (3, ["processing", "processing", "completed", "completed"])],
)
async def test_a_task_goes_by_looks_if_told_so(looks: int, seen: list[str]) -> None:
    async with api_client(Script(looks_until_done=looks)) as here:
        task_id = await here.created()
        statuses = [(await here.look(task_id))["status"] for _ in seen]

    assert statuses == seen


async def test_looks_can_see_pending_as_well() -> None:
    async with api_client(Script(looks_until_done=3, looks_until_painting=2)) as here:
        task_id = await here.created()
        statuses = [(await here.look(task_id))["status"] for _ in range(3)]

    assert statuses == ["pending", "processing", "completed"]


async def test_a_task_that_ends_at_once_is_still_announced_as_pending() -> None:
    async with api_client(Script(looks_until_done=0)) as here:
        assert (await here.create()).json()["status"] == "pending"


async def test_a_failed_task_says_why_and_carries_no_usage() -> None:
    async with api_client(Script(looks_until_done=1)) as here:
        task_id = await here.created({**FOX, "prompt": "a fox [simulate: failed]"})
        body = await here.look(task_id)

    assert body == {"id": task_id, "status": "failed", "error": "Content policy violation"}


async def test_a_prompt_can_ask_never_to_end() -> None:
    async with api_client() as here:
        task_id = await here.created({**FOX, "prompt": "a fox [Simulate: never]"})
        here.clock.wait(10**6)

        assert (await here.look(task_id))["status"] == "processing"


async def test_a_prompt_can_ask_for_nothing() -> None:
    async with api_client(Script(looks_until_done=1)) as here:
        body = await here.look(await here.created({**FOX, "prompt": "a fox [simulate: empty]"}))

    assert (body["status"], body["images"]) == ("completed", [])


async def test_chance_is_repeatable() -> None:
    async def ends() -> list[str]:
        async with api_client(Script(failure_rate=0.5, seed=4, looks_until_done=0)) as here:
            ids = [await here.created() for _ in range(12)]
            return [here.simulator.task(task_id).status for task_id in ids]

    first = await ends()

    assert first == await ends()
    assert set(first) == {"completed", "failed"}


async def test_paint_spread_varies_the_time() -> None:
    async with api_client(Script(paint_spread=0.5)) as here:
        seconds = [here.simulator.task(await here.created()).fate.seconds for _ in range(20)]

    assert 4 <= min(seconds) < max(seconds) <= 12


async def test_a_running_task_may_say_when_to_look_again() -> None:
    async with api_client(Script(look_retry_after=1.5)) as here:
        task_id = await here.created()
        running = await here.http.get(f"{TEXT}/{task_id}")
        here.clock.wait(60)
        over = await here.http.get(f"{TEXT}/{task_id}")

    assert running.headers["Retry-After"] == "1.5"
    assert "Retry-After" not in over.headers


async def test_the_generic_result_wraps_the_final_answer() -> None:
    async with api_client() as here:
        task_id = await here.created()
        running = await here.look(task_id, "/api/v1/tasks")
        here.clock.wait(60)
        body = await here.look(task_id, "/api/v1/tasks")
        flat = await here.look(task_id)

    stored = {"status": 200, "content_type": "application/json", "headers": {}, "body": flat}
    assert running == {"id": task_id, "status": "pending"}
    assert body == {"id": task_id, "status": "completed", "response": stored}


async def test_the_generic_result_of_a_failure_stores_a_422() -> None:
    async with api_client(Script(looks_until_done=0)) as here:
        task_id = await here.created({**FOX, "prompt": "a fox [simulate: failed]"})
        body = await here.look(task_id, "/api/v1/tasks")

    error = "Content policy violation"
    stored = {"status": 422, "content_type": "application/json", "headers": {}, "body": {"error": error}}
    assert body == {"id": task_id, "status": "failed", "error": error, "response": stored}


@pytest.mark.parametrize("only", STATUS_PATHS)
async def test_the_guides_status_path_is_whichever_the_script_says(only: str) -> None:
    async with api_client(Script(dialects=("v1",), status_paths=(only,))) as here:
        task_id = await here.created(path="/v1/text_to_image")
        paths = [path.format(action="text_to_image", id=task_id) for path in STATUS_PATHS]
        found = [path for path in paths if (await here.http.get(path)).status_code == 200]

    assert found == [only.format(action="text_to_image", id=task_id)]


async def test_the_guides_dialect_shows_a_task_in_its_own_words() -> None:
    async with api_client(Script(looks_until_done=1)) as here:
        task_id = await here.created(path="/v1/text_to_image")
        body = await here.look(task_id, "/v1/text_to_image")

    assert (body["task_id"], body["status"], body["model"]) == (task_id, "completed", FOX["model"])


@pytest.mark.parametrize("path", [REMIX, "/v1/remix_image"])
async def test_a_task_is_not_found_under_the_wrong_action(path: str) -> None:
    async with api_client() as here:
        response = await here.http.get(f"{path}/{await here.created()}")

    assert (response.status_code, response.json()) == (404, {"error": "Not found"})


@pytest.mark.parametrize("path", [TEXT, "/api/v1/tasks", "/v1/tasks", "/v1/text_to_image"])
async def test_somebody_elses_task_is_not_found(path: str) -> None:
    async with api_client() as here:
        task_id = await here.created()
        response = await here.http.get(f"{path}/{task_id}", headers={"Authorization": "Bearer other"})

    assert response.status_code == 404


async def test_a_look_needs_a_key() -> None:
    async with api_client() as here:
        task_id = await here.created()
        response = await here.http.get(f"{TEXT}/{task_id}", headers={"Authorization": ""})

    assert response.status_code == 401


async def test_a_remix_is_found_where_it_was_created() -> None:
    async with api_client() as here:
        assert (await here.look(await here.created(BLEND, REMIX), REMIX))["status"] == "pending"
