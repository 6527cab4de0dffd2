"""`poll`: a wait ends when the task does, and for little else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

import httpx
import pytest

from flux2_mcp.errors import (
    KeyReused,
    NotFound,
    RunApiError,
    TaskOutOfSight,
    Throttled,
    Unavailable,
    Unreachable,
    UnreadableAnswer,
)
from flux2_mcp.polling import Snapshot, poll
from flux2_mcp.runapi.models import Task
from tests.runapi.network import Answer, Answers, Naps, breaks, breaks_in_the_middle, runapi, says

SDK_TASK = Task(id="t-1", status="pending", action="text_to_image", dialect="sdk", path="/api/v1/tasks/t-1")
RUNNING = says(200, {"id": "t-1", "status": "processing"})
BARE = says(200, {"id": "t-1", "status": "completed"})
DONE = says(200, {"id": "t-1", "status": "completed", "images": [{"url": "https://file.test/a.png"}]})


async def looks(*answers: Answer, task: Task = SDK_TASK, naps: Naps | None = None) -> list[Snapshot]:
    """Everything that a watcher sees, until the task is over."""
    api = runapi(Answers(*answers), dialect="sdk")
    return [look async for look in poll(api, task, waits=repeat(1.0), sleep=naps or Naps())]


async def test_every_look_is_shown() -> None:
    seen = await looks(says(200, {"id": "t-1", "status": "queued"}), RUNNING, DONE)

    assert [look.task.status for look in seen] == ["pending", "processing", "completed"]


ELSEWHERE = {"Location": "https://elsewhere.test/"}
LOST_LOOKS: dict[str, tuple[Answer, type[Exception]]] = {
    "429": (says(429), Throttled),
    **{str(status): (says(status), Unavailable) for status in (408, 425, 499, 500, 501, 502, 503, 504, 520)},
    **{str(status): (says(status, headers=ELSEWHERE), RunApiError) for status in (301, 302, 307)},
    **{str(status): (says(status), RunApiError) for status in (300, 406, 410, 418, 451)},
    "409": (says(409), KeyReused),
    "silence": (breaks(httpx.ReadTimeout), Unreachable),
    "no way": (breaks(httpx.ConnectError), Unreachable),
    "cut off": (breaks_in_the_middle, Unreachable),
    "HTML": (says(200, content=b"<html>"), UnreadableAnswer),
    "empty": (says(200, content=b""), UnreadableAnswer),
    "204": (says(204), UnreadableAnswer),
    "304": (says(304), UnreadableAnswer),
    **{body: (says(200, content=body.encode()), UnreadableAnswer) for body in ("[]", "null", "7", '"completed"')},
}


@pytest.mark.parametrize(("answer", "trouble"), LOST_LOOKS.values(), ids=LOST_LOOKS)
async def test_a_lost_look_never_ends_a_wait(answer: Answer, trouble: type[Exception]) -> None:
    seen = await looks(RUNNING, answer, answer, answer, answer, DONE)

    assert [type(look.error) for look in seen[1:-1]] == [trouble] * 4
    assert {look.task.status for look in seen[1:-1]} == {"processing"}
    assert seen[-1].error is None
    assert seen[-1].task.is_over


@pytest.mark.parametrize("status", [404, 405, 400, 413, 415, 422])
async def test_not_found_just_after_acceptance_is_not_the_end(status: int) -> None:
    """Another machine of RunAPI's may not have heard of the task yet. All paths are asked for each look."""
    seen = await looks(says(status), says(status), DONE)

    assert isinstance(seen[0].error, NotFound)
    assert seen[1].task.is_over


@pytest.mark.parametrize("status", [401, 403, 402])
async def test_a_lasting_refusal_ends_the_wait_and_keeps_the_id(status: int) -> None:
    with pytest.raises(TaskOutOfSight) as caught:
        await looks(RUNNING, says(status))

    assert "task_id='t-1' in a minute; do not generate again" in str(caught.value)


async def test_a_longer_wait_is_granted_where_runapi_asks_for_one() -> None:
    """After a look that saw the task, and after one that did not; never a shorter one than planned."""
    naps = Naps()
    await looks(
        says(200, {"id": "t-1", "status": "processing"}, headers={"retry-after": "7"}),
        says(503, headers={"retry-after": "9"}),
        says(429, headers={"retry-after": "86400"}),
        RUNNING,
        says(200, {"id": "t-1", "status": "processing"}, headers={"retry-after": "0.1"}),
        DONE,
        naps=naps,
    )

    assert naps.seconds == [1.0, 7.0, 9.0, 30.0, 1.0, 1.0]


async def test_the_answer_to_the_order_may_ask_for_a_wait_as_well() -> None:
    naps = Naps()
    await looks(DONE, task=SDK_TASK.model_copy(update={"retry_after": 2.0}), naps=naps)

    assert naps.seconds == [2.0]


@pytest.mark.parametrize(
    "task",
    [
        SDK_TASK.model_copy(update={"status": "failed"}),
        SDK_TASK.model_copy(update={"status": "completed", "images": ("https://file.test/a.png",)}),
    ],
)
async def test_a_task_that_is_over_is_not_looked_at(task: Task) -> None:
    assert await looks(says(500), task=task) == []


async def test_addresses_that_are_given_beforehand_are_no_end() -> None:
    early = SDK_TASK.model_copy(update={"status": "processing", "images": ("https://file.test/a.png",)})
    seen = await looks(RUNNING, DONE, task=early)

    assert [look.task.status for look in seen] == ["processing", "completed"]


async def test_images_may_arrive_a_moment_after_the_end() -> None:
    seen = await looks(RUNNING, BARE, BARE, says(503), DONE)

    assert [look.task.is_over for look in seen] == [False, True, True, True, True]
    assert seen[-1].task.images == ("https://file.test/a.png",)


@pytest.mark.parametrize(("pause", "further"), [(0.0, 40), (1.0, 10), (4.0, 3), (60.0, 1)])
async def test_images_that_do_not_arrive_are_not_waited_for_long(pause: float, further: int) -> None:
    line = Answers(RUNNING, BARE)
    stream = poll(runapi(line, dialect="sdk"), SDK_TASK, waits=repeat(pause), sleep=Naps())
    seen = [look.task async for look in stream]

    assert len(line.requests) == 2 + further
    assert (seen[-1].status, seen[-1].images) == ("completed", ())


async def test_completed_without_images_is_looked_at_once_more() -> None:
    """A repeated create request may be answered with the state alone."""
    replayed = SDK_TASK.model_copy(update={"status": "completed"})
    [look] = await looks(DONE, task=replayed)

    assert look.task.images == ("https://file.test/a.png",)


async def test_nobody_looks_while_nobody_waits() -> None:
    """The stream is pulled: a watcher that stops is a RunAPI that is left alone."""
    line = Answers(RUNNING)

    def waits() -> Iterator[float]:
        return repeat(0.0)

    stream = poll(runapi(line), SDK_TASK, waits=waits(), sleep=Naps())
    await anext(stream)
    await stream.aclose()

    assert len(line.requests) == 1
