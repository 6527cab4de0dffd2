from __future__ import annotations

import json
import os
import signal
import sys
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from flux2_mcp.simulator import Fault, Script, Simulator
from flux2_mcp.simulator.tasks import Task
from tests.platforms import not_on
from tests.processes import Era, Host, environment, hosted, served
from tests.world import KEY

FOX = {"prompt": "a fox"}
ERAS = pytest.mark.parametrize("era", ["legacy", "modern"])


def endless() -> Simulator:
    return Simulator(Script(looks_until_done=10**9, plain_pictures=True))


async def ordered(simulator: Simulator) -> None:
    """Wait until a call is under way: its task was made."""
    with anyio.fail_after(30):
        while not simulator.ledger.tasks():  # noqa: ASYNC110 the simulator has no event for it
            await anyio.sleep(0.01)


async def looked_at(simulator: Simulator, prompt: str, *, times: int) -> Task:
    """Wait until the task of this prompt was looked at so many times."""
    with anyio.fail_after(30):
        while True:
            for task in simulator.ledger.tasks():
                if task.prompt == prompt and task.looks >= times:
                    return task
            await anyio.sleep(0.01)


def is_protocol_only(host: Host) -> bool:
    return all(json.loads(line)["jsonrpc"] == "2.0" for line in host.lines)


@ERAS
async def test_the_end_of_stdin_ends_a_server_with_a_call_in_flight(tmp_path: Path, era: Era) -> None:
    """The host is gone; what was paid for is in the history."""
    async with served(endless()) as (base_url, runapi), hosted(tmp_path, base_url, era=era) as host:
        call = await host.call("generate", FOX)
        await looked_at(runapi, FOX["prompt"], times=1)
        await host.hang_up()
        answer = await host.answer(call)
        code = await host.ending()

    [task] = runapi.ledger.tasks()
    assert f"Call task_status with task_id='{task.id}'" in answer["result"]["content"][0]["text"]
    assert code == 0
    assert is_protocol_only(host)
    assert "Traceback" not in host.errors.read_text(encoding="utf-8")


@pytest.mark.parametrize("fault", [Fault(on="create", after=True, hang=60), Fault(on="picture", hang=60)])
async def test_the_end_of_stdin_waits_for_no_silent_runapi(tmp_path: Path, fault: Fault) -> None:
    """An order on its way gets half a second; a download is left to the next start."""
    runapi = Simulator(Script(looks_until_done=0, plain_pictures=True))
    runapi.faults.append(fault)
    async with served(runapi) as (base_url, _), hosted(tmp_path, base_url) as host:
        await host.call("generate", {**FOX, "wait_seconds": 30})
        with anyio.fail_after(30):
            while runapi.faults:  # noqa: ASYNC110 the simulator has no event for it
                await anyio.sleep(0.01)
        await host.hang_up()
        code = await host.ending()

    assert code == 0
    assert "Traceback" not in host.errors.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "code", "busy"),
    [("SIGTERM", 143, True), ("SIGHUP", 129, True), ("SIGINT", 130, True), ("SIGINT", 130, False)],
    ids=["SIGTERM", "SIGHUP", "SIGINT", "SIGINT while idle"],
)
@not_on("Windows", "a host there ends a server by closing stdin, or kills it")
async def test_a_signal_ends_the_server_with_the_customary_code(
    tmp_path: Path, name: str, code: int, *, busy: bool
) -> None:
    number = getattr(signal, name)
    async with served(endless()) as (base_url, runapi), hosted(tmp_path, base_url) as host:
        call = await host.call("generate", FOX) if busy else await host.request("tools/list", {})
        if busy:
            await looked_at(runapi, FOX["prompt"], times=1)
            host.process.send_signal(number)
        said = str(await host.answer(call))
        if not busy:
            host.process.send_signal(number)
        ended = await host.ending()

    assert ended == code
    assert all(f"Call task_status with task_id='{task.id}'" in said for task in runapi.ledger.tasks())
    assert is_protocol_only(host)
    assert "Traceback" not in host.errors.read_text(encoding="utf-8")


@not_on("Windows", "it has no SIGHUP")
async def test_a_server_that_nohup_started_outlives_its_terminal(tmp_path: Path) -> None:
    nohup = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    async with served() as (base_url, _), hosted(tmp_path, base_url, often=True, prelude=nohup) as host:
        host.process.send_signal(signal.SIGHUP)
        answer = await host.answer(await host.call("generate", FOX))

    assert not answer["result"]["isError"]


@not_on("Windows", "it has no such terminals")
async def test_a_person_who_types_the_command_is_told_what_it_waits_for(tmp_path: Path) -> None:
    """A host that starts it reads nothing of this in its log."""
    import pty

    person, terminal = pty.openpty()
    command = [sys.executable, "-m", "flux2_mcp"]
    elsewhere = {**environment(tmp_path, ""), "PATH": os.defpath}
    typed = Path(sys.executable).with_name("flux2-mcp")
    with anyio.fail_after(30):
        async with await anyio.open_process(command, stdin=terminal, env=elsewhere) as process:
            assert process.stderr is not None
            told = await BufferedByteReceiveStream(process.stderr).receive_until(b"\n", 1000)
            os.write(person, b"\x04")  # Ctrl+D
            code = await process.wait()
    async with hosted(tmp_path, "") as host:
        await host.hang_up()
        await host.ending()
    for descriptor in (person, terminal):
        os.close(descriptor)

    assert b"waiting for an MCP host" in told
    assert f"`{typed} install HOST`" in told.decode()
    assert f"`{typed} demo`" in told.decode()
    assert code == 0
    assert host.errors.read_text(encoding="utf-8") == ""


async def test_a_call_in_flight_at_the_end_is_resumed_by_the_next_server(tmp_path: Path) -> None:
    async with served(endless()) as (base_url, runapi):
        async with hosted(tmp_path, base_url) as host:
            await host.call("generate", FOX)
            await ordered(runapi)
            await host.hang_up()
            await host.ending()
        async with hosted(tmp_path, base_url) as host:
            answer = await host.answer(await host.call("generate", {**FOX, "wait_seconds": 0}))

    [task] = runapi.ledger.tasks()
    assert task.id in json.dumps(answer["result"])


@ERAS
async def test_stdout_carries_the_protocol_only(tmp_path: Path, era: Era) -> None:
    """Also when calls fail, when something prints, and when Python warns."""
    chatty = """
import os, sys, warnings
from flux2_mcp import polling
def chatty(*_):
    while True:
        print("on stdout", flush=True); os.write(1, b"raw\\n"); warnings.warn("beware"); print("oops", file=sys.stderr)
        yield 0.05
polling.intervals = chatty
from flux2_mcp.cli import main
main([])
"""
    environ = {"PYTHONWARNINGS": "always", "PYTHONDEVMODE": "1"}
    runapi = Simulator(Script(looks_until_done=3, plain_pictures=True))
    async with (
        served(runapi) as (base_url, _),
        hosted(tmp_path, base_url, era=era, command=["-c", chatty], environ=environ) as host,
    ):
        made = await host.answer(await host.call("generate", FOX, token="t"))
        failed = await host.answer(await host.call("generate", {"prompt": "[simulate: failed]"}))
        refused = await host.answer(await host.call("generate", {"count": 9}))
        unknown = await host.answer(await host.call("no_such_tool", {}))
        wrong = await host.answer(await host.request("no/such/method", {}))
        await host.hang_up()
        await host.ending()

    assert not made["result"]["isError"]
    assert failed["result"]["isError"]
    assert refused["result"]["isError"]
    assert "error" in wrong
    assert unknown
    assert is_protocol_only(host)
    said = host.errors.read_text(encoding="utf-8")
    assert "on stdout" in said
    assert "beware" in said


@ERAS
async def test_progress_goes_to_the_tokens_of_the_client_and_to_nobody_else(tmp_path: Path, era: Era) -> None:
    """Zero is a token; three calls run at once, and one of them has none."""
    runapi = Simulator(Script(looks_until_done=1, plain_pictures=True))
    async with served(runapi) as (base_url, _), hosted(tmp_path, base_url, era=era) as host:
        calls = [await host.call("generate", {"prompt": f"fox {token}"}, token) for token in (0, "fox-1", None)]
        answers = [await host.answer(call) for call in calls]

    assert not any(answer["result"]["isError"] for answer in answers)
    assert {each["progressToken"] for each in host.notifications} == {0, "fox-1"}
    for token in (0, "fox-1"):
        heard = [each for each in host.notifications if each["progressToken"] == token]
        assert all(before["progress"] < after["progress"] for before, after in pairwise(heard))
        assert all(each["message"] for each in heard)


async def test_a_cancelled_call_is_not_answered_and_looks_no_more(tmp_path: Path) -> None:
    async with served(endless()) as (base_url, runapi), hosted(tmp_path, base_url, often=True) as host:
        number = await host.call("generate", FOX)
        fox = await looked_at(runapi, "a fox", times=1)
        cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}
        await host.send(cancelled)
        await host.answer(await host.request("tools/list", {}))
        # The process looks at another task meanwhile, as often as it would look at this one.
        await host.call("generate", {"prompt": "a hare"})
        hare = await looked_at(runapi, "a hare", times=1)
        seen = fox.looks
        await looked_at(runapi, "a hare", times=hare.looks + 6)
        await host.hang_up()
        await host.ending()

    assert fox.looks == seen
    assert number not in [json.loads(line).get("id") for line in host.lines]


async def test_the_first_wait_of_3_s_in_a_new_process_takes_little_more(tmp_path: Path) -> None:
    """What is imported and opened at the first call counts, too: the host's clock runs."""
    runapi = endless()
    runapi.faults.append(Fault(on="look", hang=60, times=99))
    beginning = anyio.current_time()
    async with served(runapi) as (base_url, _), hosted(tmp_path, base_url, alone=True) as host:
        began = anyio.current_time()
        answer = await host.answer(await host.call("generate", {**FOX, "wait_seconds": 3}))
        took = anyio.current_time() - began

    assert not answer["result"]["isError"]
    # As long as the start took, for a machine where others are busy; without the limit it would be a minute.
    assert took < 3 + max(0.5, began - beginning)


async def test_the_key_is_on_no_wire_and_in_no_log(tmp_path: Path) -> None:
    """RunAPI echoes it in headers and bodies; the host's log file keeps what we write to stderr."""
    echo = {"X-Request-Id": KEY, "X-Echo": f"Bearer {KEY}", "Location": f"/?{KEY}", "Set-Cookie": f"key={KEY}"}
    runapi = Simulator(Script(looks_until_done=1, plain_pictures=True))
    runapi.faults += [
        Fault(on="create", status=401, body={"error": f"Unknown key {KEY}"}, headers=echo),
        Fault(on="create", status=500, body=f"<title>{KEY}</title>", headers=echo),
        Fault(on="create", headers=echo),
        Fault(on="look", body={"status": "failed", "error": f"{KEY} was revoked"}, headers=echo),
    ]
    async with served(runapi) as (base_url, _), hosted(tmp_path, base_url) as host:
        for _ in range(3):
            await host.answer(await host.call("generate", FOX, token=1))
        await host.hang_up()
        await host.ending()

    assert not runapi.faults
    secret = KEY.removeprefix("runapi_")
    assert secret.encode() not in b"".join(host.lines)
    assert secret not in host.errors.read_text(encoding="utf-8")
