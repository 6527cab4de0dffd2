"""Standard streams that nobody reads, or that were never there."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from flux2_mcp.simulator import Script, Simulator
from tests.paid_once.test_killed import called, check_pictures
from tests.platforms import not_on, only_on
from tests.processes import AT_ONCE, MODULE, Host, environment, hosted, rest_of, served, started
from tests.test_process import looked_at

pytestmark = not_on("Windows", "hosts there close no streams beforehand, and it has no fork")

FOX = {"prompt": "a fox"}
CLOSED = "import os, sys; os.close({number}); sys.{name} = None"
"""As the interpreter finds a stream that is closed."""


def running() -> Simulator:
    return Simulator(Script(looks_until_done=10**9, plain_pictures=True))


def finish_all(runapi: Simulator) -> None:
    for task in runapi.ledger.tasks():
        task.looks = 10**9


@asynccontextmanager
async def talkative(home: Path, base_url: str, writer: int) -> AsyncGenerator[Host]:
    """A server that logs all it can, into this pipe."""
    environ = {**environment(home, base_url), "FLUX2_LOG_LEVEL": "debug"}
    with anyio.fail_after(60), os.fdopen(writer, "wb") as stderr:
        async with started(*MODULE, environ=environ, stderr=stderr) as process:
            yield await Host.of(process, "legacy", home)


@pytest.mark.parametrize("hangs_up", [False, True], ids=["stdout", "stdout and stdin"])
async def test_a_server_whose_answers_nobody_reads_ends_and_loses_nothing(tmp_path: Path, *, hangs_up: bool) -> None:
    """The host is dead, or another process holds its end of stdin."""
    async with served(running()) as (base_url, runapi):
        async with hosted(tmp_path, base_url, often=True) as host:
            await host.call("generate", FOX, token="t")
            await looked_at(runapi, FOX["prompt"], times=1)
            assert host.process.stdout
            await host.process.stdout.aclose()
            if hangs_up:
                await host.hang_up()
            with anyio.fail_after(AT_ONCE):
                code = await host.process.wait()
        finish_all(runapi)
        async with hosted(tmp_path, base_url, often=True) as host:
            result = await called(host, "generate", FOX)

    said = host.errors.read_text(encoding="utf-8")
    [task] = runapi.ledger.tasks()
    assert code == 141
    assert "The host does not read stdout any more" in said
    assert "is paid for once" in said
    assert "Traceback" not in said
    check_pictures(result, tasks=[task.id])


async def test_a_host_that_dies_with_a_quick_question_open_is_no_crash(tmp_path: Path) -> None:
    """Stdin ends first, and the answer finds nobody."""
    errors = tmp_path / "stderr.txt"
    reader, writer = os.pipe()
    os.close(reader)
    with anyio.fail_after(AT_ONCE), errors.open("wb") as stderr, os.fdopen(writer, "wb") as gone:
        async with started(*MODULE, environ=environment(tmp_path, ""), stdout=gone, stderr=stderr) as process:
            assert process.stdin
            await process.stdin.send(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
            await process.stdin.aclose()
            code = await process.wait()

    said = errors.read_text(encoding="utf-8")
    assert code == 141
    assert "The host does not read stdout any more" in said
    assert "Traceback" not in said


@only_on("Linux", "elsewhere there is no /dev/full")
async def test_a_server_that_cannot_write_its_answers_says_why_and_ends(tmp_path: Path) -> None:
    errors = tmp_path / "stderr.txt"
    full = Path("/dev/full").open("wb")  # noqa: ASYNC230, SIM115 no disk is touched
    with anyio.fail_after(AT_ONCE), errors.open("wb") as stderr, full:
        async with started(*MODULE, environ=environment(tmp_path, ""), stdout=full, stderr=stderr) as process:
            assert process.stdin
            await process.stdin.send(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
            code = await process.wait()

    said = errors.read_text(encoding="utf-8")
    assert code == 1
    assert "The connection to the host failed (OSError: No space left on device)" in said
    assert "in stdout_writer" in said
    assert "does not read" not in said


async def test_ctrl_c_ends_a_server_that_receives_no_signals(tmp_path: Path) -> None:
    """As on Windows: asyncio cancels everything then."""
    deaf = """
import signal
import flux2_mcp.server.stdio as stdio
stdio.ending_signals = list
signal.signal(signal.SIGINT, signal.default_int_handler)
"""
    async with hosted(tmp_path, "", prelude=deaf) as host:
        host.process.send_signal(signal.SIGINT)
        code = await host.ending()

    assert code == 130
    assert host.errors.read_text(encoding="utf-8") == ""


@only_on("Linux", "it is seen in /proc")
async def test_a_server_without_stderr_opens_nothing_in_its_place(tmp_path: Path) -> None:
    """What is printed there would go to RunAPI, or into the history."""
    without = ["sh", "-c", 'exec "$0" -m flux2_mcp 2>&-', sys.executable]
    with anyio.fail_after(60):
        async with (
            served() as (base_url, runapi),
            await anyio.open_process(without, env=environment(tmp_path, base_url)) as process,
        ):
            host = await Host.of(process, "legacy", tmp_path)
            result = await called(host, "generate", FOX)
            standard = [str(await anyio.Path(f"/proc/{process.pid}/fd/{number}").readlink()) for number in range(3)]
            await host.hang_up()
            code = await host.ending()

    assert code == 0
    assert standard == [os.devnull] * 3
    check_pictures(result, tasks=[task.id for task in runapi.ledger.tasks()])


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("stdin", 0, "Stdin was closed before a host said anything"),
        ("stdout", 2, "stdout is closed, and over stdio it is where a host reads the answers"),
    ],
)
async def test_a_server_without_a_host_says_so_and_ends(tmp_path: Path, name: str, code: int, said: str) -> None:
    closed = CLOSED.format(number=["stdin", "stdout"].index(name), name=name)
    with anyio.fail_after(AT_ONCE):
        async with started(*MODULE, environ=environment(tmp_path, ""), prelude=closed) as process:
            assert process.stderr
            assert process.stdout
            errors = (await rest_of(process.stderr)).decode()
            output = await rest_of(process.stdout)
            ended = await process.wait()

    assert ended == code
    assert said in errors
    assert "--http" in errors
    assert "Traceback" not in errors
    assert output == b""


async def test_a_host_that_closed_our_stderr_is_served(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    async with served() as (base_url, runapi), talkative(tmp_path, base_url, writer) as host:
        result = await called(host, "generate", FOX)
        await host.hang_up()
        code = await host.ending()

    assert code == 0
    check_pictures(result, tasks=[task.id for task in runapi.ledger.tasks()])


async def test_a_host_that_does_not_read_our_stderr_is_served(tmp_path: Path) -> None:
    """The pipe is full from the start. Whoever reads it later is told that lines are missing."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    fill(writer)
    async with served() as (base_url, runapi), talkative(tmp_path, base_url, writer) as host:
        result = await called(host, "generate", FOX)
        drained(reader)
        await called(host, "recent_tasks", {})
        await host.hang_up()
        code = await host.ending()
    log = drained(reader).decode()
    os.close(reader)

    assert code == 0
    assert "Nobody read this log for a while" in log
    assert "recent_tasks: ok" in log
    check_pictures(result, tasks=[task.id for task in runapi.ledger.tasks()])


@pytest.mark.parametrize("form", ["text", "json"])
async def test_a_line_that_is_cut_in_a_full_pipe_waits_for_nobody_and_spoils_no_other(
    tmp_path: Path, form: str
) -> None:
    """Of its letters, each is three bytes; there is room for some of them."""
    logs_when_told = f"""
import logging
from flux2_mcp import logs
logs.configure({form!r}, "info")
for words in ("狐" * 3000, "next", "last"):
    logging.getLogger("flux2_mcp").warning(words)
    print("logged", flush=True)
    input()
"""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    fill(writer)
    os.read(reader, 4096)
    environ = {**environment(tmp_path, ""), "PYTHONIOENCODING": "utf-8"}
    with anyio.fail_after(AT_ONCE), os.fdopen(writer, "wb") as stderr:
        async with started("-c", logs_when_told, environ=environ, stderr=stderr) as process:
            assert process.stdin
            assert process.stdout
            log, output = b"", BufferedByteReceiveStream(process.stdout)
            for _ in range(3):
                await output.receive_until(b"\n", 10)
                log += drained(reader).lstrip(b"\0")
                await process.stdin.send(b"\n")
            await process.wait()
    os.close(reader)

    cut, *lines, end = log.decode(errors="replace").split("\n")
    told = [json.loads(each)["message"] for each in lines] if form == "json" else lines
    assert len(cut) > 100
    assert end == ""
    assert len(told) == 3
    assert all(map(str.endswith, told, ("Nobody read this log for a while: 1 lines are missing here.", "next", "last")))


def fill(writer: int) -> None:
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writer, True)


def drained(reader: int) -> bytes:
    pieces: list[bytes] = []
    with suppress(BlockingIOError):
        while piece := os.read(reader, 2**16):
            pieces.append(piece)
    return b"".join(pieces)
