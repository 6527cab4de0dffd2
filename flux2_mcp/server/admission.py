"""How many calls are carried out at once, for one caller and for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flux2_mcp import telemetry
from flux2_mcp.app_state import CurrentCaller
from flux2_mcp.errors import TooManyCalls


@dataclass
class Admission:
    """Counts calls in flight. None waits for its turn: whoever is told can decide, and a queue would grow."""

    most: int
    most_per_caller: int
    current_caller: CurrentCaller
    _calls: Counter[str] = field(default_factory=Counter[str])
    """By the caller's name."""

    @contextmanager
    def one(self) -> Generator[None]:
        """While the call in hand is carried out.

        Raises:
            TooManyCalls: The caller, or the server, has as many in flight as it may.
        """
        caller = self.current_caller().name
        if self._calls[caller] >= self.most_per_caller:
            telemetry.REFUSALS.add(1, {telemetry.ERROR: "TooManyCallsOfCaller"})
            msg = f"{self.most_per_caller} calls of yours are in flight, which is the most that one caller may have."
            raise TooManyCalls(msg)
        if self._calls.total() >= self.most:
            telemetry.REFUSALS.add(1, {telemetry.ERROR: "TooManyCalls"})
            msg = f"This server carries out {self.most} calls at once, and has as many."
            raise TooManyCalls(msg, remedy="Send this call again in a minute.")
        self._calls[caller] += 1
        try:
            yield
        finally:
            self._calls[caller] -= 1
            if not self._calls[caller]:
                del self._calls[caller]
