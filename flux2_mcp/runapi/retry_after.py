"""How long RunAPI asks us to wait."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

LONGEST_RETRY_AFTER = 30.0
"""Seconds; a longer Retry-After is cut to this, because somebody is waiting for the answer."""


def retry_after(headers: httpx.Headers, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """Seconds that `Retry-After` asks for, as a number or a date, between 0 and `LONGEST_RETRY_AFTER`."""
    asked = headers.get("retry-after", "").strip()
    try:
        seconds = float(asked)
    except ValueError:
        try:
            date = parsedate_to_datetime(asked)
        except (ValueError, OverflowError):
            return None
        # A date without a zone is in UTC: RFC 9110, 5.6.7.
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now().timestamp()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER) if seconds == seconds else None  # noqa: PLR0124 "nan" is a float too
