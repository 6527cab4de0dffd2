from __future__ import annotations

from pathlib import Path

import pytest

from flux2_mcp.simulator import Fault, Script
from flux2_mcp.simulator.script import Dialect
from tests.world import KEY, text_of, world

SOURCE = "https://pictures.example/cat.png"


@pytest.mark.parametrize("dialect", ["sdk", "v1"])
@pytest.mark.parametrize(
    ("tool", "arguments"),
    [("generate", {"prompt": "a fox"}), ("remix", {"prompt": "a fox", "source_image_urls": [SOURCE]})],
)
async def test_a_runapi_with_one_kind_of_routes_is_enough(
    tmp_path: Path, dialect: Dialect, tool: str, arguments: dict[str, object]
) -> None:
    """Nobody has published which of the two the real one will keep."""
    here = world(tmp_path, Script(dialects=(dialect,), looks_until_done=2, plain_pictures=True))
    async with here.client() as client:
        result = await client.call_tool(tool, arguments)

    assert not result.is_error, text_of(result)
    [task] = here.paid
    assert task.dialect == dialect
    assert len(list(here.output.iterdir())) == 1


@pytest.mark.parametrize("path", ["/v1/{action}/{id}", "/v1/tasks/{id}", "/api/v1/tasks/{id}"])
async def test_a_task_is_found_wherever_the_guides_routes_show_it(tmp_path: Path, path: str) -> None:
    script = Script(dialects=("v1",), status_paths=(path,), looks_until_done=2, plain_pictures=True)
    here = world(tmp_path, script)
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox"})

    assert not result.is_error, text_of(result)
    assert len(here.simulator.ledger.tasks()) == 1


@pytest.mark.parametrize("dialects", [("sdk",), ("v1",), ("sdk", "v1")])
async def test_an_answer_of_202_with_a_location_is_followed(tmp_path: Path, dialects: tuple[Dialect, ...]) -> None:
    script = Script(dialects=dialects, accepted_with_location=True, looks_until_done=2, plain_pictures=True)
    here = world(tmp_path, script)
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox"})

    assert not result.is_error, text_of(result)
    [task] = here.paid
    assert {seen.path for seen in here.looks} == {f"/api/v1/tasks/{task.id}"}


@pytest.mark.parametrize("place", ["https://elsewhere.example/tasks/1", "//elsewhere.example/tasks/1"])
async def test_the_key_does_not_follow_a_location_to_another_host(tmp_path: Path, place: str) -> None:
    here = world(tmp_path, Script(looks_until_done=2, plain_pictures=True))
    here.simulator.faults.append(Fault(on="create", headers={"Location": place}))
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox"})

    assert not result.is_error, text_of(result)
    with_key = [seen for seen in here.simulator.requests if KEY in seen.headers.get("authorization", "")]
    assert {seen.headers["host"] for seen in with_key} == {"runapi.test"}


async def test_the_second_order_goes_straight_to_the_routes_that_answered(tmp_path: Path) -> None:
    here = world(tmp_path, Script(dialects=("v1",), looks_until_done=1, plain_pictures=True))
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        await client.call_tool("generate", {"prompt": "a vixen"})

    assert [seen.path for seen in here.creates] == [
        "/api/v1/flux_2/text_to_image",
        "/v1/text_to_image",
        "/v1/text_to_image",
    ]
    assert here.creates[0].headers["idempotency-key"] == here.creates[1].headers["idempotency-key"]
