"""watch(): a task as a stream of states; pauses(): when to look."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from flux2_mcp.errors import (
    NotFound,
    RunApiError,
    TaskOutOfSight,
    Throttled,
    Unavailable,
    Unreachable,
    UnreadableAnswer,
)
from flux2_mcp.runapi.models import Task

if TYPE_CHECKING:
    from flux2_mcp.runapi.client import RunAPI

Sleep = Callable[[float], Awaitable[None]]

PASSING = (Throttled, Unavailable, Unreachable, UnreadableAnswer, NotFound)
"""What one lost look may end in. A task that was accepted a moment ago may also not be shown everywhere yet."""


@dataclass(frozen=True)
class Look:
    """The task as it was last seen, and what went wrong when it could not be seen this time."""

    task: Task
    trouble: RunApiError | None = None


def pauses(first: float = 1.0, longest: float = 3.0) -> Iterator[float]:
    """Yield the seconds between looks: 1, 1.25, 1.56 … and then every 3."""
    pause = first
    while True:
        yield pause
        pause = min(pause * 1.25, longest)


async def watch(
    runapi: RunAPI, task: Task, *, waits: Iterator[float], sleep: Sleep = anyio.sleep
) -> AsyncGenerator[Look, None]:
    """Yield the task after every look, until it is over. How long to have patience is the caller's business.

    A task that is over already is not looked at again, unless it is said to be completed and shows no images: the
    answer to a repeated create request may leave them out.

    Raises:
        TaskOutOfSight: RunAPI refuses to show it, and will go on refusing: a revoked key, say.
    """
    if task.status == "failed" or task.images:
        return
    trouble: RunApiError | None = None
    while True:
        asked = (trouble.retry_after if trouble else task.retry_after) or 0.0
        await sleep(max(next(waits), asked))
        trouble = None
        try:
            task = await runapi.look(task)
        except PASSING as error:
            trouble = error
        except RunApiError as error:
            raise TaskOutOfSight(error.message, task_id=task.id) from error
        yield Look(task, trouble)
        if task.is_over and trouble is None:
            return
