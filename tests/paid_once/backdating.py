"""Time that passes in the history, so that nobody has to wait for it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path


def time_passes(home: Path, **by: float) -> None:
    """What was ordered until now was ordered so much earlier."""
    earlier = timedelta(**by) // timedelta(microseconds=1)
    with closing(sqlite3.connect(home / "data" / "history.sqlite3", isolation_level=None)) as database:
        for moment in ("created_at", "accepted_at", "finished_at"):
            database.execute(f"UPDATE orders SET {moment} = {moment} - ?", [earlier])  # noqa: S608 names of ours
