"""How a task is watched until its end, as metrics tell it."""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from flux2_mcp import telemetry
from flux2_mcp.polling import Snapshot
from flux2_mcp.webhooks import Wake


@dataclass
class Watched:
    """Counts looks, and knows since when the task may have been over.

    RunAPI does not say when a task ended: not after its webhook came, and not before a look that saw it running.
    """

    running_at: float | None
    """When it was last known to run, by the event loop's clock: at first when it was accepted, if it is new."""
    wake: Wake | None = None
    looks: int = 0
    _is_over: bool = False

    def seen(self, snapshot: Snapshot) -> None:
        """Somebody looked."""
        if self._is_over:
            return  # only its images were not shown yet
        self.looks += 1
        if snapshot.error is not None:
            return
        now = anyio.current_time()
        self._is_over = snapshot.task.is_over
        if self._is_over:
            self._measure(now)
        else:
            self.running_at = now

    def _measure(self, now: float) -> None:
        telemetry.TASK_LOOKS.record(self.looks)
        since_webhook = self.wake and self.wake.since_arrival
        if since_webhook is not None:
            telemetry.TASK_LATENESS.record(since_webhook, {telemetry.NOTICED_BY: "webhook"})
        elif self.running_at is not None:
            telemetry.TASK_LATENESS.record(now - self.running_at, {telemetry.NOTICED_BY: "look"})
