"""Section 8, rows 1 and 4: which create path is used, and where a task is looked for."""

from __future__ import annotations

import pytest

from flux2_mcp.errors import NotFound, RunApiError
from flux2_mcp.runapi.client import RunAPI
from flux2_mcp.runapi.models import Action, Task
from flux2_mcp.runapi.routes import DialectSetting
from flux2_mcp.simulator import Fault, Script, Simulator
from flux2_mcp.simulator.script import STATUS_PATHS
from tests.runapi.network import FOX, Answers, Line, OnlyPaths, runapi, says, simulated

SDK_CREATE, V1_CREATE = "/api/v1/flux_2/text_to_image", "/v1/text_to_image"
REMIX = {
    "model": "flux-2-pro-remix-image",
    "prompt": "as a stamp",
    "source_image_urls": ["https://img.example/a.png"],
}


async def create(api: RunAPI, key: str = "k-1") -> Task:
    return await api.create("text_to_image", FOX, idempotency_key=key)


def asked(simulator: Simulator, method: str) -> list[str]:
    return [seen.path for seen in simulator.requests if seen.method == method]


async def test_auto_speaks_the_sdks_dialect_first() -> None:
    simulator, api = simulated()
    task = await create(api)

    assert task.dialect == "sdk"
    assert asked(simulator, "POST") == [SDK_CREATE]


@pytest.mark.parametrize(("action", "body"), [("text_to_image", FOX), ("remix_image", REMIX)])
async def test_a_runapi_that_knows_only_v1_is_found_and_remembered(action: Action, body: dict[str, object]) -> None:
    simulator, api = simulated(Script(dialects=("v1",), looks_until_done=1))
    first = await api.create(action, body, idempotency_key="k-1")
    await api.create(action, body, idempotency_key="k-2")
    done = await api.look(first)

    assert (first.dialect, done.status) == ("v1", "completed")
    assert asked(simulator, "POST") == [f"/api/v1/flux_2/{action}", f"/v1/{action}", f"/v1/{action}"]
    assert [seen.headers["idempotency-key"] for seen in simulator.requests[:3]] == ["k-1", "k-1", "k-2"]


async def test_a_runapi_that_knows_only_the_sdks_paths_is_no_trouble() -> None:
    simulator, api = simulated(Script(dialects=("sdk",), looks_until_done=1))
    done = await api.look(await create(api))

    assert done.status == "completed"
    assert asked(simulator, "GET") == [f"{SDK_CREATE}/{done.id}"]


@pytest.mark.parametrize("status", [404, 405])
async def test_only_a_missing_path_leads_to_the_other_dialect(status: int) -> None:
    made = says(200, {"task_id": "tsk_1", "status": "pending"})
    line = OnlyPaths({f"POST {SDK_CREATE}": says(status), f"POST {V1_CREATE}": made})
    task = await create(runapi(line))

    assert (task.id, task.dialect) == ("tsk_1", "v1")
    assert line.asked == [f"POST {SDK_CREATE}", f"POST {V1_CREATE}"]


@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 409, 410, 418, 422, 429, 500, 501, 502, 503, 504, 520])
async def test_no_other_failure_leads_there(status: int) -> None:
    simulator, api = simulated()
    simulator.faults.append(Fault(on="create", status=status, times=9))
    with pytest.raises(RunApiError):
        await create(api)

    assert set(asked(simulator, "POST")) == {SDK_CREATE}


@pytest.mark.parametrize("status", [401, 403, 429, 503])
async def test_a_gatekeepers_no_is_not_remembered_as_a_dialect(status: int) -> None:
    """A gateway may say it before it looks at the path; with the key corrected, the path turns out to be missing."""
    made = says(200, {"task_id": "tsk_1", "status": "pending"})
    tries = 3 if status in {429, 503} else 1
    api = runapi(Answers(*[says(status)] * tries, says(404), made))
    with pytest.raises(RunApiError):
        await create(api)

    assert (await create(api)).dialect == "v1"


async def test_neither_dialect_is_an_error_and_nothing_is_remembered() -> None:
    line = OnlyPaths({})
    api = runapi(line)
    for _ in range(2):
        with pytest.raises(NotFound) as caught:
            await create(api)

        assert not caught.value.in_doubt
    assert line.asked == [f"POST {SDK_CREATE}", f"POST {V1_CREATE}"] * 2


@pytest.mark.parametrize(("setting", "path"), [("sdk", SDK_CREATE), ("v1", V1_CREATE)])
async def test_a_fixed_dialect_never_tries_the_other(setting: DialectSetting, path: str) -> None:
    line = OnlyPaths({})
    api = runapi(line, dialect=setting)
    with pytest.raises(NotFound):
        await create(api)

    assert line.asked == [f"POST {path}"]


@pytest.mark.parametrize("only", STATUS_PATHS)
@pytest.mark.parametrize("setting", ["auto", "v1"])
async def test_the_status_path_of_v1_is_found_whichever_it_is(setting: DialectSetting, only: str) -> None:
    """Nobody has published it. What answered once is asked first, for this task and for the next."""
    simulator = Simulator(Script(dialects=("v1",), status_paths=(only,), looks_until_done=3))
    api = runapi(Line(simulator), dialect=setting)
    task = await api.look(await create(api))
    simulator.requests.clear()
    task = await api.look(task)
    other = await api.look(await create(api, "k-2"))

    right = [only.format(action="text_to_image", id=id) for id in (task.id, other.id)]
    assert asked(simulator, "GET") == right
    assert task.dialect == "v1"


@pytest.mark.parametrize("only", STATUS_PATHS)
@pytest.mark.parametrize("action", ["text_to_image", "remix_image"])
async def test_a_task_is_found_by_its_id_alone(action: Action, only: str) -> None:
    simulator = Simulator(Script(dialects=("v1",), status_paths=(only,), looks_until_done=1))
    made = await runapi(Line(simulator)).create(
        action, REMIX if action == "remix_image" else FOX, idempotency_key="k-1"
    )
    found = await runapi(Line(simulator)).find(made.id)

    assert (found.id, found.status) == (made.id, "completed")
    assert found.action in {action, None}


async def test_a_path_that_dislikes_the_id_is_like_one_that_does_not_know_it() -> None:
    """Section 4.2: `invalid_resource_id` comes with 400, say for a `tsk_…` where UUIDs are expected."""
    invalid = says(400, {"error": {"code": "invalid_resource_id", "message": "Invalid id"}})
    done = says(200, {"task_id": "tsk_1", "status": "completed", "images": [{"url": "https://file.test/a.png"}]})
    line = OnlyPaths(
        {
            f"GET {SDK_CREATE}/tsk_1": invalid,
            "GET /api/v1/tasks/tsk_1": invalid,
            "GET /v1/text_to_image/tsk_1": done,
        }
    )

    assert (await runapi(line).find("tsk_1")).is_over


async def test_a_task_that_nobody_shows_is_not_found() -> None:
    _, api = simulated()
    with pytest.raises(NotFound):
        await api.find("00000000-0000-4000-8000-000000000000")


@pytest.mark.parametrize("dialect", ["sdk", "v1"])
async def test_the_path_that_runapi_names_is_asked_first(dialect: DialectSetting) -> None:
    simulator = Simulator(Script(accepted_with_location=True, looks_until_done=1))
    api = runapi(Line(simulator), dialect=dialect)
    task = await create(api)
    done = await api.look(task)

    assert task.retry_after == 2.0
    assert asked(simulator, "GET") == [f"/api/v1/tasks/{done.id}"]
    assert (done.status, done.cost_cents, len(done.images)) == ("completed", 5, 1)


async def test_a_named_path_that_is_none_is_no_loss() -> None:
    made = says(202, {"id": "t-1"}, headers={"location": "/nowhere/t-1"})
    shown = says(200, {"id": "t-1", "status": "processing"})
    line = OnlyPaths({f"POST {SDK_CREATE}": made, f"GET {SDK_CREATE}/t-1": shown})
    api = runapi(line)
    await api.look(await create(api))

    assert line.asked[1:] == ["GET /nowhere/t-1", f"GET {SDK_CREATE}/t-1"]
