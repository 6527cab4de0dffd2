"""What docs/reliability.md says of the process itself: what happens to it, and a day of use."""

from __future__ import annotations

from collections.abc import Mapping

WHAT_BECOMES: Mapping[str, str] = {
    "stdin ends: the host is gone": (
        "calls answer with their task's id, and the process ends with 0 (`test_process.py`)"
    ),
    "SIGTERM, SIGINT, or SIGHUP, as when a terminal is closed": (
        "the same, with 143, 130 or 129, also over HTTP (`test_process.py`, `test_http.py`); with `nohup` it goes on"
    ),
    "SIGKILL, at every step of an order": "the same call, or the next start, finds it (`paid_once/test_killed.py`)",
    "nobody reads stdout any more (SIGPIPE)": (
        "the process says so on stderr, and ends with 141; the same call finds its picture after the next start"
    ),
    "no stderr from the start": "nothing else gets its place, so that nothing that is printed goes astray",
    "no stdin, or no stdout, from the start": "it says what is missing, and ends with 0, or with 2",
    "nobody reads stderr, or its pipe is full": (
        "calls go on; the log says later how many lines are missing; on Windows, calls wait for whoever has to read a "
        "full pipe"
    ),
    "the disk for the pictures is full, or read-only": (
        "the result shows the picture and its link; `task_status` saves it later, for nothing"
    ),
    "the disk for the history is full, or read-only; a home that cannot be written": (
        "nothing is ordered, and the call says why; once there is room, the same call works"
    ),
    "the disk for the history fills up during an order": (
        "the picture is delivered, and found again once there is room, also by the next process"
    ),
    "no more files or connections can be opened": (
        "a call says so and orders nothing, or goes on with the connection it has; later the same call works"
    ),
    "the same over HTTP": "connections wait, the process rests, and the log says it in one line",
    "the laptop sleeps in the middle of a call, for a second or three hours": (
        "the call answers when it wakes, and makes up for no looks; `task_status` brings the picture"
    ),
    "the clock is set meanwhile, forward or back": (
        "the same; a clock that is set back makes no order new (`history/test_resume.py`)"
    ),
}


def section() -> str:
    """Both parts."""
    rows = [f"| {happens} | {becomes} |" for happens, becomes in WHAT_BECOMES.items()]
    return "\n".join([HEAD.strip("\n"), *rows, "", DAY.strip("\n")])


HEAD = """
## Life and death

What happens on this computer, to the process itself. Each was tried on a real process: `tests/life`, and the tests that
are named, do so in every run of `make test`. In all of them a picture that was paid for is neither lost nor paid for
again, no traceback is printed, and the next call works.

| what happens | what becomes of it |
|---|---|
"""
DAY = """
## A simulated day

`make day` gives 3,000 calls of every kind, 16 side by side, to one server over stdio, and as many to one over HTTP that
eight callers use: pictures, remixes, failures, looks, lists, resources, mistakes, calls that are given up. Every 150
calls it looks at what the process holds while no call is in flight. It fails if that is more in the second half of the
day than in the first quarter, if a cent differs from RunAPI's ledger, or if a picture is missing. `nightly.yml` runs it
every night; a short one is part of `make test`. This is one on two cores:

| server | calls | memory, MiB | descriptors | threads | asyncio tasks | write-ahead log, MiB |
|---|--:|--:|--:|--:|--:|--:|
| stdio, one host | 150 | 107 | 22 | 10 | 6 | 3.5 |
| | 900 | 109 | 22 | 9 | 6 | 3.9 |
| | 1,650 | 112 | 24 | 9 | 6 | 3.9 |
| | 2,400 | 114 | 23 | 9 | 6 | 4.0 |
| | 3,000, of which 1,916 tasks came | 116 | 24 | 10 | 6 | 4.0 |
| HTTP, eight callers | 150 | 107 | 40 | 7 | 4 | 3.0 |
| | 900 | 110 | 38 | 7 | 3 | 4.0 |
| | 1,650 | 111 | 40 | 7 | 3 | 4.0 |
| | 2,400 | 114 | 41 | 7 | 3 | 4.0 |
| | 3,000, of which 1,860 tasks came | 114 | 38 | 7 | 3 | 4.0 |

SQLite empties its write-ahead log at 4 MiB. No temporary file was left.
"""
