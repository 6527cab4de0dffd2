from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.life.day import Day, Footprint, with_one_host
from tests.platforms import only_on

USUAL = Footprint(calls=100, mib=100, files=20, threads=9, tasks=6, wal_mib=4, drafts=0)


@only_on("Linux", "what a process holds is in /proc there")
async def test_a_short_day_of_every_kind_of_call_leaves_nothing_behind(tmp_path: Path) -> None:
    """Memory, descriptors, threads, tasks, the log of the history; `make day` has thousands of calls."""
    day = await with_one_host(tmp_path, 300, previews=False)

    assert day.problems == []
    assert day.tasks > 100


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({"mib": 130}, "memory grew from 100 to 130 MiB"),
        ({"files": 30}, "files grew from 20 to 30"),
        ({"threads": 20}, "threads grew from 9 to 20"),
        ({"tasks": 12}, "tasks grew from 6 to 12"),
        ({"wal_mib": 9}, "the write-ahead log reached 9.0 MiB"),
        ({"drafts": 1}, "1 temporary files were left"),
    ],
    ids=["memory", "files", "threads", "tasks", "the log", "drafts"],
)
def test_what_grows_is_told(last: dict[str, int], said: str) -> None:
    later = replace(USUAL, **last)
    day = Day("stdio", [USUAL] * 10 + [later] * 10)

    day.judge()

    assert day.problems == [said]
