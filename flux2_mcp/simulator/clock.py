"""Time as the simulator sees it: a clock that is passed in, and the date that goes with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], float]


class Timestamps:
    """Turns moments of a clock into dates, so that a clock moved by a test moves the dates as well."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._started_at = clock()
        self._start_date = datetime.now(UTC)

    def _date(self, moment: float | None) -> datetime:
        seconds = (self.clock() if moment is None else moment) - self._started_at
        return self._start_date + timedelta(seconds=seconds)

    def seconds(self, moment: float | None = None) -> str:
        """`2026-06-08T10:30:00Z`, as files carry it."""
        return self._date(moment).strftime("%Y-%m-%dT%H:%M:%SZ")

    def microseconds(self, moment: float | None = None) -> str:
        """`2026-07-23T00:00:00.000000Z`, as prices carry it."""
        return self._date(moment).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
