"""What these tests order, and the clock they order by."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, TypeVar

import anyio

from flux2_mcp.history import History, Intent, Order
from tests.databases import history_in

T = TypeVar("T")

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MIDNIGHT = NOON - timedelta(hours=12)
QUARTER = timedelta(minutes=15)
FOX = "a fox asleep in the snow"


@dataclass
class Clock:
    time: datetime = NOON

    def __call__(self) -> datetime:
        return self.time

    def forward(self, **by: float) -> None:
        self.time += timedelta(**by)


def fox(
    fingerprint: str = "f0", position: int = 0, *, prompt: str = FOX, cents: int | None = 5, key: str = "key-1"
) -> Intent:
    return Intent(
        fingerprint=fingerprint,
        position=position,
        idempotency_key=key,
        service="flux_2",
        action="text_to_image",
        model="flux-2-pro-text-to-image",
        request={"prompt": prompt, "model": "flux-2-pro-text-to-image", "output_resolution": "2k"},
        prompt=prompt,
        resolution="2k",
        estimated_cents=cents,
    )


async def order(
    history: History, intent: Intent, *, owner: str = "ann", resume_within: timedelta | None = QUARTER
) -> tuple[Order, bool]:
    [opened] = await history.open_orders([intent], owner=owner, resume_within=resume_within)
    return opened


async def painted(history: History, fingerprint: str = "f0", *, owner: str = "ann", prompt: str = FOX) -> Order:
    """Have a picture made that nobody has been handed yet."""
    opened, _ = await order(history, fox(fingerprint, prompt=prompt), owner=owner)
    running = await history.accepted(opened, task_id=f"task-{fingerprint}", dialect="sdk")
    return await history.finished(running, state="completed", urls=["https://x.test/1.png"], settled_cents=5)


def during(
    folder: Path | None,
    story: Callable[[History], Awaitable[T]],
    *,
    mode: Literal["on", "private", "off"] = "on",
    lock_patience: float = 5.0,
    url: str | None = None,
) -> T:
    """Run a story in a life of the server: from its start to its end."""

    async def life() -> T:
        history = history_in(folder, url=url, mode=mode, lock_patience=lock_patience)
        try:
            return await story(history)
        finally:
            await history.aclose()

    return anyio.run(life)
