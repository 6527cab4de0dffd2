"""A simulated day of use: thousands of calls of every kind, after which nothing has grown.

One server over stdio, then one over HTTP that many use, each a process of its own. Every few hundred calls it is looked
at what the process holds while no call is in flight.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory

import anyio
from anyio.abc import Process
from PIL import Image

from flux2_mcp.simulator import Script, Simulator
from tests.hosting.abuse import COUNTS_ITS_TASKS, abused, counted_tasks
from tests.life.doors import Door, Json, key_of, over_http, over_stdio
from tests.processes import hosted, served
from tests.world import KEY

AT_ONCE = 16
"""Calls side by side."""
CALLERS = 8
SEED = 15
FOREVER = 3600.0
CALLS = 3000
"""To each server."""
LOOKS = 20
"""Times that the process is looked at."""
MOST_WAL_MIB = 8.0
"""SQLite empties its log at 4 MiB; a transaction may be on top."""
GROWTH = 1.1
SLACK_MIB = 8.0
SLACK = 4
"""Descriptors, threads and tasks: whoever is just being closed."""


@dataclass(frozen=True)
class Footprint:
    """What a server holds while no call is in flight."""

    calls: int
    mib: float
    files: int
    threads: int
    tasks: int
    wal_mib: float
    drafts: int
    """Temporary files."""


@dataclass
class Day:
    """What was done, and what was seen."""

    name: str
    footprints: list[Footprint] = field(default_factory=list[Footprint])
    problems: list[str] = field(default_factory=list[str])
    tasks: int = 0
    """That RunAPI made."""

    def judge(self) -> None:
        """Compare the second half with the first quarter, after a first few calls that import and open."""
        seen = self.footprints[1:]
        early, late = seen[: max(len(seen) // 4, 1)], seen[len(seen) // 2 :]
        before, after = median(each.mib for each in early), median(each.mib for each in late)
        if after > before * GROWTH + SLACK_MIB:
            self.problems.append(f"memory grew from {before:.0f} to {after:.0f} MiB")
        for what in ("files", "threads", "tasks"):
            first, last = (max(getattr(each, what) for each in part) for part in (early, late))
            if last > first + SLACK:
                self.problems.append(f"{what} grew from {first} to {last}")
        if (wal := max(each.wal_mib for each in seen)) > MOST_WAL_MIB:
            self.problems.append(f"the write-ahead log reached {wal:.1f} MiB")
        if drafts := self.footprints[-1].drafts:
            self.problems.append(f"{drafts} temporary files were left")


@dataclass
class User:
    """Somebody who uses the server in every way, by chance."""

    door: Door
    who: int
    source: Path | None
    random: Random
    tasks: list[str] = field(default_factory=list[str])

    async def do_one(self, number: int) -> str:
        """Do one thing; gives what was wrong with the answer, if anything was."""
        kinds: Mapping[Callable[[int], Awaitable[str]], int] = {
            self._generate: 40,
            self._hand_back: 8,
            self._fail: 4,
            self._remix: 8,
            self._status: 8,
            self._look: 6,
            self._recent: 8,
            self._estimate: 6,
            self._resources: 6,
            self._errors: 4,
            self._cancel: 4,
        }
        [kind] = self.random.choices(list(kinds), list(kinds.values()))
        return await kind(number)

    async def _generate(self, number: int) -> str:
        return self._noted(await self.door.call("generate", self.who, prompt=f"a fox, number {number}"))

    async def _hand_back(self, number: int) -> str:
        handed = await self.door.call("generate", self.who, prompt=f"a slow fox, number {number}", wait_seconds=0)
        return self._noted(handed)

    async def _fail(self, number: int) -> str:
        failed = await self.door.call("generate", self.who, prompt=f"[simulate: failed] {number}")
        return "" if failed["isError"] else "a failure was no error"

    async def _remix(self, number: int) -> str:
        if self.source is None:
            return await self._generate(number)
        arguments = {"prompt": f"as a drawing, number {number}", "source_image_urls": [str(self.source)]}
        return self._noted(await self.door.call("remix", self.who, **arguments))

    async def _status(self, _: int) -> str:
        task = self._one_of_mine()
        result = await self.door.call("task_status", self.who, task_id=task or "nobody's")
        return "" if result["isError"] is (task is None) else f"task_status of {task}: {result}"

    async def _look(self, _: int) -> str:
        task = self._one_of_mine()
        await self.door.call("view_image", self.who, task_id=task or "nobody's")
        return ""

    async def _recent(self, _: int) -> str:
        listed = await self.door.call("recent_tasks", self.who, limit=20, text=self.random.choice(["", "fox"]))
        return str(listed) if listed["isError"] else ""

    async def _estimate(self, _: int) -> str:
        estimate = await self.door.call("estimate_cost", self.who, prompt="a fox", count=2)
        return str(estimate) if estimate["isError"] else ""

    async def _resources(self, _: int) -> str:
        for uri in ("flux2://account", "flux2://models", "flux2://nowhere"):
            await self.door.ask("resources/read", self.who, uri=uri)
        listed = await self.door.ask("tools/list", self.who)
        return "" if "result" in listed else str(listed)

    async def _errors(self, _: int) -> str:
        refused = await self.door.call("generate", self.who, prompt="a fox", count=9)
        await self.door.ask("no/such/method", self.who)
        return "" if refused["isError"] else "nine pictures were not refused"

    async def _cancel(self, number: int) -> str:
        arguments = {"prompt": f"a fox that nobody waits for, number {number}"}
        await self.door.break_off("tools/call", self.who, name="generate", arguments=arguments)
        return ""

    def _noted(self, result: Json) -> str:
        named = re.search("task_id='(.+?)'", result["content"][0]["text"])
        if result["isError"] or named is None:
            return str(result)
        self.tasks = [*self.tasks[-50:], named[1]]
        return ""

    def _one_of_mine(self) -> str | None:
        return self.random.choice(self.tasks) if self.tasks else None

    async def end_the_day(self) -> Json:
        """See to what is still running; gives what was spent and what is left, as the server has it."""
        while True:
            running = await self.door.call("recent_tasks", self.who, limit=50, status="running")
            if not (entries := running["structuredContent"]["tasks"]):
                return (await self.door.call("estimate_cost", self.who, prompt="a fox"))["structuredContent"]
            for entry in entries:
                await self.door.call("task_status", self.who, task_id=entry["task_id"])


async def spend(day: Day, users: Sequence[User], look: Callable[[int], Awaitable[Footprint]], *, calls: int) -> None:
    """Use the server so many times; what was seen meanwhile is noted."""

    async def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            if problem := await users[number % len(users)].do_one(number):
                day.problems.append(problem[:300])

    for nth in range(LOOKS):
        numbers = iter(range(calls * nth // LOOKS, calls * (nth + 1) // LOOKS))
        async with anyio.create_task_group() as group:
            for _ in range(AT_ONCE):
                group.start_soon(work, numbers)
        day.footprints.append(await look(calls * (nth + 1) // LOOKS))


async def footprint_of(home: Path, process: Process, calls: int) -> Footprint:
    """What it holds now."""
    tasks = await counted_tasks(home, process)
    return await anyio.to_thread.run_sync(partial(_footprint, home, process.pid, calls, tasks))


def _footprint(home: Path, pid: int, calls: int, tasks: int) -> Footprint:
    folder, log = Path("/proc", str(pid)), home / "data" / "history.sqlite3-wal"
    lines = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    return Footprint(
        calls,
        mib=int(lines["VmRSS"].split()[0]) / 1024,
        files=len(list((folder / "fd").iterdir())),
        threads=int(lines["Threads"]),
        tasks=tasks,
        wal_mib=log.stat().st_size / 2**20 if log.exists() else 0.0,
        drafts=len(list(home.rglob("*.part"))),
    )


def generous() -> Simulator:
    """A RunAPI with which nobody runs out of credits."""
    return Simulator(Script(looks_until_done=1, plain_pictures=True, opening_cents=10**7))


async def with_one_host(home: Path, calls: int, *, previews: bool = True) -> Day:
    """A day over stdio."""
    environ = {} if previews else {"FLUX2_PREVIEW": "off"}
    day, source = Day("stdio, one host"), home / "pictures" / "mine.png"
    source.parent.mkdir()
    Image.new("RGB", (64, 48), "red").save(source)
    async with (
        served(generous()) as (base_url, runapi),
        hosted(home, base_url, environ=environ, often=True, prelude=COUNTS_ITS_TASKS, within=FOREVER) as host,
        over_stdio(host) as door,
    ):
        user = User(door, 0, source, Random(SEED))  # noqa: S311 a day that can be had again
        await spend(day, [user], partial(footprint_of, home, host.process), calls=calls)
        await _compare(day, user, runapi, KEY)
        files = len(list(source.parent.iterdir())) - 1
        await host.hang_up()
        with anyio.fail_after(10):
            code = await host.process.wait()
    if files != len(runapi.ledger.paid_tasks()):
        day.problems.append(f"{len(runapi.ledger.paid_tasks())} pictures were paid for, and {files} are there")
    return _judged(day, home, runapi, is_well=code == 0)


async def with_many_callers(home: Path, calls: int) -> Day:
    """A day over HTTP."""
    day = Day(f"HTTP, {CALLERS} callers")
    async with abused(home, generous()) as server, over_http(server.url) as door:
        random = Random(SEED)  # noqa: S311
        users = [User(door, who, None, random) for who in range(CALLERS)]
        await spend(day, users, partial(footprint_of, home, server.process), calls=calls)
        for user in users:
            await _compare(day, user, server.simulator, key_of(user.who))
        server.process.terminate()
        with anyio.fail_after(10):
            code = await server.process.wait()
    return _judged(day, home, server.simulator, is_well=code == 128 + signal.SIGTERM)


async def _compare(day: Day, user: User, runapi: Simulator, key: str) -> None:
    """Hold what the server says of the money against RunAPI's ledger."""
    said = await user.end_the_day()
    ours = round(said["spent_today_usd"] * 100), round(said["balance_usd"] * 100)
    theirs = runapi.ledger.spent_cents(key), runapi.ledger.balance_cents(key)
    if ours != theirs:
        day.problems.append(f"spent and left, in cents, is {ours} here and {theirs} at RunAPI")


def _judged(day: Day, home: Path, runapi: Simulator, *, is_well: bool) -> Day:
    day.tasks = len(runapi.ledger.tasks())
    if not is_well or "Traceback" in (home / "stderr.txt").read_text(encoding="utf-8"):
        day.problems.append("the process crashed, or did not end well")
    day.judge()
    return day


async def a_day(calls: int) -> Sequence[Day]:
    """Both."""
    days: list[Day] = []
    for spent in (with_one_host, with_many_callers):
        with TemporaryDirectory() as home:
            days.append(await spent(Path(home), calls))
    return days
