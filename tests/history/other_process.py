"""Another server on the same machine: python -m tests.history.other_process FOLDER AS_IT_WAS_TOLD.

It says "ready", waits for a line, does its work, and prints what came of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import anyio

from flux2_mcp.errors import OverLimit
from flux2_mcp.history import History
from tests.databases import history_in
from tests.history.orders import QUARTER, fox, order, painted

REPOSITORY = Path(__file__).parents[2]
# On Windows every signal is deadly, and becomes the exit code.
DEADLY, KILLED = (signal.SIGTERM, signal.SIGTERM) if sys.platform == "win32" else (signal.SIGKILL, -signal.SIGKILL)


async def open_one(history: History) -> str:
    opened, resumed = await order(history, fox())
    return f"{opened.id} {resumed}"


async def open_one_and_die(history: History) -> str:
    opened, _ = await order(history, fox())
    print(opened.id, flush=True)  # noqa: T201
    os.kill(os.getpid(), DEADLY)
    raise NotImplementedError


async def spend(history: History) -> str:
    opened = 0
    for n in range(10):
        fingerprint = f"{os.getpid():x}{n:02x}"
        try:
            await history.open_orders([fox(fingerprint)], owner="ann", resume_within=QUARTER, daily_cap_cents=103)
        except OverLimit:
            continue
        opened += 1
    return str(opened)


async def paint(history: History) -> str:
    for n in range(20):
        await painted(history, f"{os.getpid():x}{n:02x}")
    return "done"


WORK: dict[str, Callable[[History], Awaitable[str]]] = {
    "open": open_one,
    "die": open_one_and_die,
    "spend": spend,
    "paint": paint,
}


async def main(folder: Path, work: Callable[[History], Awaitable[str]]) -> None:
    history = history_in(folder)
    result = await work(history)
    print(result, history.degraded)  # noqa: T201
    await history.aclose()


@contextmanager
def others(folder: Path, work: str, *, how_many: int) -> Generator[list[subprocess.Popen[str]]]:
    """Start processes that wait for the word."""
    command = [sys.executable, "-m", "tests.history.other_process", str(folder), work]
    started = [
        subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        for _ in range(how_many)
    ]
    try:
        for process in started:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def go(processes: list[subprocess.Popen[str]]) -> list[str]:
    """Let them all begin at once, and collect what they print."""
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=60)[0].strip() for process in processes]


if __name__ == "__main__":
    # What History imports when first needed, so that all begin at one instant.
    import_module("flux2_mcp.history.file_database")
    print("ready", flush=True)  # noqa: T201
    sys.stdin.readline()
    anyio.run(main, Path(sys.argv[1]), WORK[sys.argv[2]])
