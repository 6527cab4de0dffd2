"""A process that may open no more files and connections, and one that may again."""

from __future__ import annotations

import asyncio
import errno
import gc
import re
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.abc import Process

from flux2_mcp.server.connections import note_when_full
from flux2_mcp.simulator import Script, Simulator
from tests.paid_once.test_killed import called, check_pictures
from tests.platforms import only_on
from tests.processes import AT_ONCE, cpu_seconds, hosted, served
from tests.test_http import HEADERS, HELLO, http_server
from tests.test_process import looked_at

pytestmark = only_on("Linux", "elsewhere a process alone can set its limits")

FOX = {"prompt": "a fox"}
NONE_MORE = 3
"""One more than the highest descriptor that may be made: stdin, stdout and stderr are all that is below."""


def limit_files(process: Process, most: int | None = None) -> None:
    """How many descriptors it may have; as many as at first when None. What it has stays open."""
    import resource  # Windows has none

    _, first = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (first if most is None else most, first))


@pytest.mark.parametrize(
    ("before", "account"),
    [
        ("anything is imported", "The system lets this server open no more files"),
        ("the history is opened", "The history cannot be read"),
        ("a connection is made", "balance_usd"),
    ],
)
async def test_a_call_that_can_open_nothing_orders_nothing(tmp_path: Path, before: str, account: str) -> None:
    alone = before == "anything is imported"
    async with served() as (base_url, runapi), hosted(tmp_path, base_url, often=True, alone=alone) as host:
        if before == "a connection is made":
            await called(host, "recent_tasks", {})
        limit_files(host.process, NONE_MORE)
        refused = await called(host, "generate", FOX)
        resource = await host.answer(await host.request("resources/read", {"uri": "flux2://account"}))
        ordered = len(runapi.ledger.tasks())
        limit_files(host.process)
        made = await called(host, "generate", FOX)
        await host.hang_up()
        code = await host.ending()

    said = refused["content"][0]["text"]
    assert refused["isError"]
    assert "Too many open files" in said
    assert "Send the same call again" in said
    assert account in str(resource)
    assert before == "a connection is made" or "Too many open files" in str(resource)
    assert ordered == 0
    assert code == 0
    assert "Traceback" not in host.errors.read_text(encoding="utf-8")
    check_pictures(made, tasks=[task.id for task in runapi.ledger.tasks()])


async def test_a_call_that_can_open_nothing_any_more_is_paid_once(tmp_path: Path) -> None:
    """It is under way. Its picture can be neither fetched nor saved, until there is room again."""
    runapi = Simulator(Script(looks_until_done=10**9, plain_pictures=True))
    async with served(runapi) as (base_url, _), hosted(tmp_path, base_url, often=True) as host:
        call = await host.call("generate", FOX)
        fox = await looked_at(runapi, FOX["prompt"], times=1)
        limit_files(host.process, NONE_MORE)
        fox.looks = 10**9
        without = (await host.answer(call))["result"]
        limit_files(host.process)
        made = await called(host, "task_status", {"task_id": fox.id})
        await host.hang_up()
        code = await host.ending()

    said = without["content"][0]["text"]
    assert f"task_status with task_id='{fox.id}'" in said
    assert "Too many open files" in said
    assert code == 0
    assert "Traceback" not in host.errors.read_text(encoding="utf-8")
    check_pictures(made, tasks=[task.id for task in runapi.ledger.tasks()])


async def test_a_server_over_http_waits_for_room_and_goes_on(tmp_path: Path) -> None:
    """Connections wait meanwhile; the process neither spins nor fills its log."""
    async with http_server(tmp_path) as (url, process):
        limit_files(process, NONE_MORE)
        answers: list[int] = []
        took = 0.0

        async def ask() -> None:
            async with httpx.AsyncClient(timeout=30) as client:
                answers.append((await client.post(url, json=HELLO, headers=HEADERS)).status_code)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(ask)
            await told(tmp_path)
            began = cpu_seconds(process)
            await anyio.sleep(1.5)
            took = cpu_seconds(process) - began
            assert answers == []
            limit_files(process)
        process.terminate()
        with anyio.fail_after(AT_ONCE):
            code = await process.wait()

    log = (tmp_path / "stderr.txt").read_text(encoding="utf-8")
    assert answers == [200] * 3
    assert took < 0.3
    assert code == 143
    assert "Traceback" not in log
    assert len(re.findall("Too many open files", log)) == 1


async def test_a_task_that_failed_for_want_of_files_is_told_as_what_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """Only what could not be accepted is told seldom, and in one line."""

    async def fails() -> None:
        raise RuntimeError from OSError(errno.EMFILE, "")

    loop = asyncio.get_running_loop()
    note_when_full(loop)
    for _ in range(2):
        await asyncio.wait([loop.create_task(fails())])
        gc.collect()
    loop.set_exception_handler(None)

    assert [each.partition("\n")[0] for each in caplog.messages] == ["Task exception was never retrieved"] * 2


async def told(home: Path) -> None:
    with anyio.fail_after(AT_ONCE):
        while "Too many open files" not in await anyio.Path(home, "stderr.txt").read_text(encoding="utf-8"):  # noqa: ASYNC110
            await anyio.sleep(0.05)
