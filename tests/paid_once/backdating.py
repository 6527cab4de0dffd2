"""Time that passes in the history, so that nobody has to wait for it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tests.databases import execute


def time_passes(home: Path, **by: float) -> None:
    """What was ordered until now was ordered so much earlier."""
    earlier = timedelta(**by) // timedelta(microseconds=1)
    for moment in ("created_at", "accepted_at", "finished_at", "urls_expire_at"):
        execute(home / "data", f"UPDATE orders SET {moment} = {moment} - ?", earlier)  # noqa: S608 names of ours
