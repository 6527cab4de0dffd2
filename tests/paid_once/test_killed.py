from __future__ import annotations

import re
import signal
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image
from starlette.types import Message, Receive, Scope, Send

from flux2_mcp.simulator import Fault, Script, Simulator
from tests.paid_once.accounting import ledger_of_runapi, ledger_of_server
from tests.paid_once.backdating import time_passes
from tests.paid_once.conftest import Servers
from tests.processes import Host, finished, hosted, served

Json = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """A moment in the life of a call: a request to RunAPI that is on its way, or whose answer is."""

    what: str
    """How the request's method and path begin."""
    after: bool
    """It had its effect already, and its answer never arrives."""

    def __str__(self) -> str:
        return f"{self.what.split('/')[-1].strip('^$')}, {'answered' if self.after else 'asked'}"


CREATE, LOOK, PICTURE = (
    r"POST .*/(text_to_image|remix_image)$",
    r"GET .*/(text_to_image|remix_image)/",
    "GET /generated/",
)
STEPS = {
    "order on its way": Step(CREATE, after=False),
    "answer to the order on its way": Step(CREATE, after=True),
    "look on its way": Step(LOOK, after=False),
    "answer to the look on its way": Step(LOOK, after=True),
    "download begins": Step(PICTURE, after=False),
    "download under way": Step(PICTURE, after=True),
}
UPLOADS = {
    "asking for an upload": Step("POST .*/files/prepare$", after=False),
    "uploading": Step("PUT /temp/", after=False),
    "uploaded": Step("PUT /temp/", after=True),
    "confirming": Step("POST .*/files/confirm$", after=True),
}
NOWHERE = Step("^$", after=False)


class Tollgate(Simulator):
    """Holds every request of one kind, until whoever sent it is dead."""

    def __init__(self, step: Step, *, lets_pass: int = 0) -> None:
        super().__init__(Script(looks_until_done=1, plain_pictures=True))
        self._step = step
        self._lets_pass = lets_pass
        self._reached = anyio.Event()
        self._opened = False

    async def holds_one(self) -> None:
        with anyio.fail_after(30):
            await self._reached.wait()

    def open(self) -> None:
        self._opened = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._holds(f"{scope['method']} {scope['path']}"):
            await super().__call__(scope, receive, send)
            return
        if self._step.after:
            await super().__call__(scope, receive, _nowhere)
        self._reached.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    def _holds(self, request: str) -> bool:
        if self._opened or not re.match(self._step.what, request):
            return False
        self._lets_pass -= 1
        return self._lets_pass < 0


async def _nowhere(_: Message) -> None:
    """Swallow an answer."""


async def killed_at(
    servers: Servers, home: Path, gate: Tollgate, base_url: str, tool: str, arguments: Json, **environ: str
) -> None:
    """Call a tool, and kill the server with SIGKILL as soon as the step is reached."""
    async with servers.server(home, base_url, **environ) as host:
        await host.call(tool, arguments)
        await gate.holds_one()
        host.process.kill()
        await host.process.wait()
    gate.open()


async def saved(home: Path) -> None:
    with anyio.fail_after(30):
        while not list((home / "pictures").glob("*.png")):  # noqa: ASYNC110 a folder has no event for it
            await anyio.sleep(0.005)


async def called(host: Host, tool: str, arguments: Json) -> Json:
    return (await host.answer(await host.call(tool, arguments)))["result"]


async def recent(host: Host) -> list[Json]:
    return (await called(host, "recent_tasks", {"limit": 50}))["structuredContent"]["tasks"]


async def check_ledger(host: Host, runapi: Simulator) -> None:
    """Balance, budget and history agree to the cent with RunAPI's ledger."""
    estimate = await called(host, "estimate_cost", {})
    listed = await called(host, "recent_tasks", {"limit": 50})

    assert ledger_of_server(estimate["structuredContent"], listed["structuredContent"]) == ledger_of_runapi(runapi)


def check_pictures(*results: Mapping[str, Any], tasks: list[str]) -> None:
    """Each task's picture was delivered: shown, and lying where the result says."""
    text = "\n".join(block["text"] for result in results for block in result["content"] if block["type"] == "text")
    files = [Path(line) for line in re.findall(r"File: (.+)", text)]
    shown = [block for result in results for block in result["content"] if block["type"] == "image"]

    assert not any(result["isError"] for result in results)
    assert all(task in text for task in tasks)
    assert len(set(files)) == len(shown) == len(tasks)
    for file in files:
        with Image.open(file) as picture:
            assert picture.size == (1024, 1024)


def arguments(home: Path, tool: str) -> Json:
    if tool == "generate":
        return {"prompt": "a fox"}
    source = home / "pictures" / "mine.png"
    source.parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 6), "red").save(source)
    return {"prompt": "as a drawing", "source_image_urls": [str(source)], "aspect_ratio": "1:1"}


@asynccontextmanager
async def tolled(step: Step, *, lets_pass: int = 0) -> AsyncGenerator[tuple[str, Tollgate], None]:
    gate = Tollgate(step, lets_pass=lets_pass)
    async with served(gate) as (base_url, _):
        yield base_url, gate


STEP = pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
UPLOAD = pytest.mark.parametrize("step", UPLOADS.values(), ids=UPLOADS)


@STEP
async def test_the_same_call_after_a_kill_finds_what_was_paid(servers: Servers, tmp_path: Path, step: Step) -> None:
    fox = arguments(tmp_path, "generate")
    async with tolled(step) as (base_url, gate):
        await killed_at(servers, tmp_path, gate, base_url, "generate", fox)
        async with servers.server(tmp_path, base_url) as host:
            result = await called(host, "generate", fox)
            await check_ledger(host, gate)

    [task] = gate.ledger.tasks()
    check_pictures(result, tasks=[task.id])


@STEP
async def test_the_list_of_recent_tasks_after_a_kill_leads_to_what_was_paid(
    servers: Servers, tmp_path: Path, step: Step
) -> None:
    """Where it is not known whether RunAPI has the order, to look says how that is found out, and orders nothing."""
    fox = arguments(tmp_path, "generate")
    async with tolled(step) as (base_url, gate):
        await killed_at(servers, tmp_path, gate, base_url, "generate", fox)
        async with servers.server(tmp_path, base_url) as host:
            [left] = await recent(host)
            before = len(gate.ledger.tasks())
            result = await called(host, "task_status", {"task_id": left["task_id"]})
            assert len(gate.ledger.tasks()) == before
            if left["task_id"].startswith("order-"):
                assert "Send the same call again" in result["content"][0]["text"]
                result = await called(host, "generate", fox)
            await check_ledger(host, gate)

    [task] = gate.ledger.tasks()
    check_pictures(result, tasks=[task.id])


# Ends itself, as by SIGKILL, before or after a transaction of the history with several works is committed, counted from
# the first such one.
MORTAL = """
import os, signal, sys
from itertools import count
from flux2_mcp.history import batches
last, after = {last}, {after}
numbers = count(1)
def mortal(self, run, *, completes, made=batches.Batches.__init__):
    def running(works):
        number = next(numbers) if run.__name__ == "_write" and len(works) > 1 else 0
        if number == last and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        run(works)
        if number == last:
            os.kill(os.getpid(), signal.SIGKILL)
    made(self, running, completes=completes)
batches.Batches.__init__ = mortal
"""


@pytest.mark.parametrize("after", [False, True], ids=["gathered", "committed"])
@pytest.mark.parametrize("last", [1, 2])
async def test_calls_whose_server_dies_within_a_group_commit_are_paid_once(
    servers: Servers, tmp_path: Path, last: int, *, after: bool
) -> None:
    """Before it is committed nobody has heard of anything in it; what was committed and not answered is found again."""
    calls = [
        {"prompt": f"{animal} in the snow"} for animal in ("a fox", "a hare", "an owl", "a lynx", "a wren", "a vole")
    ]
    async with served() as (base_url, runapi):
        async with hosted(tmp_path, base_url, often=True, prelude=MORTAL.format(last=last, after=after)) as host:
            for call in calls:
                await host.call("generate", call)
            with anyio.fail_after(30):
                assert await host.process.wait() == -signal.SIGKILL
        async with servers.server(tmp_path, base_url) as host:
            results = [await called(host, "generate", call) for call in calls]
            await check_ledger(host, runapi)

    check_pictures(*results, tasks=[task.id for task in runapi.ledger.tasks()])
    assert len(runapi.ledger.tasks()) == len(calls)


@pytest.mark.parametrize("again", ["generate", "task_status"])
async def test_a_result_that_was_never_read_is_handed_over_after_a_kill(
    servers: Servers, tmp_path: Path, again: str
) -> None:
    """The picture lies in its folder already, and nobody has heard of it."""
    fox = arguments(tmp_path, "generate")
    async with tolled(NOWHERE) as (base_url, gate):
        async with servers.server(tmp_path, base_url) as host:
            await host.call("generate", fox)
            await saved(tmp_path)
            host.process.kill()
        [task] = gate.ledger.tasks()
        async with servers.server(tmp_path, base_url) as host:
            result = await called(host, again, fox if again == "generate" else {"task_id": task.id})
            await check_ledger(host, gate)

    assert len(gate.ledger.tasks()) == 1
    check_pictures(result, tasks=[task.id])


async def test_a_result_that_was_written_at_the_moment_of_the_kill_is_given_again(
    servers: Servers, tmp_path: Path
) -> None:
    """Whether the host still read it, nobody knows; it is delivered a second later."""
    fox = arguments(tmp_path, "generate")
    async with tolled(NOWHERE) as (base_url, gate):
        async with servers.server(tmp_path, base_url) as host:
            await called(host, "generate", fox)
            host.process.kill()
        async with servers.server(tmp_path, base_url) as host:
            result = await called(host, "generate", fox)
            await check_ledger(host, gate)

    [task] = gate.ledger.tasks()
    check_pictures(result, tasks=[task.id])


async def test_a_result_that_was_written_when_the_host_hung_up_is_given_again(servers: Servers, tmp_path: Path) -> None:
    """It may have hung up without reading it."""
    fox = arguments(tmp_path, "generate")
    async with tolled(NOWHERE) as (base_url, gate):
        async with servers.server(tmp_path, base_url) as host:
            await called(host, "generate", fox)
            await host.hang_up()
            await host.process.wait()
        async with servers.server(tmp_path, base_url) as host:
            result = await called(host, "generate", fox)
            await check_ledger(host, gate)

    [task] = gate.ledger.tasks()
    check_pictures(result, tasks=[task.id])


@UPLOAD
async def test_the_same_remix_after_a_kill_finds_what_was_paid(servers: Servers, tmp_path: Path, step: Step) -> None:
    remix = arguments(tmp_path, "remix")
    async with tolled(step) as (base_url, gate):
        await killed_at(servers, tmp_path, gate, base_url, "remix", remix)
        async with servers.server(tmp_path, base_url) as host:
            result = await called(host, "remix", remix)
            await check_ledger(host, gate)

    [task] = gate.ledger.tasks()
    check_pictures(result, tasks=[task.id])


@pytest.mark.parametrize("step", list(STEPS.values())[:3], ids=list(STEPS)[:3])
async def test_a_remix_that_was_sent_is_not_uploaded_again_after_a_kill(
    servers: Servers, tmp_path: Path, step: Step
) -> None:
    """Its Idempotency-Key stands for one body, with the address of the first upload in it."""
    remix = arguments(tmp_path, "remix")
    async with tolled(step) as (base_url, gate):
        await killed_at(servers, tmp_path, gate, base_url, "remix", remix)
        async with servers.server(tmp_path, base_url) as host:
            result = await called(host, "remix", remix)
            await check_ledger(host, gate)

    [task] = gate.ledger.tasks()
    check_pictures(result, tasks=[task.id])
    assert len([seen for seen in gate.requests if seen.method == "PUT"]) == 1


@UPLOAD
async def test_the_status_of_a_remix_that_was_not_sent_says_so(servers: Servers, tmp_path: Path, step: Step) -> None:
    """There is nothing to look at, and only the call itself knows its source images."""
    remix = arguments(tmp_path, "remix")
    async with tolled(step) as (base_url, gate):
        await killed_at(servers, tmp_path, gate, base_url, "remix", remix)
        async with servers.server(tmp_path, base_url) as host:
            [left] = await recent(host)
            status = await called(host, "task_status", {"task_id": left["task_id"]})
            said = status["content"][0]["text"]
            assert gate.ledger.tasks() == []
            result = await called(host, "remix", remix)
            await check_ledger(host, gate)

    assert status["isError"]
    assert "was not sent" in said
    assert "Nothing was charged" in said
    assert "Send the same call" in said
    [task] = gate.ledger.tasks()
    check_pictures(result, tasks=[task.id])


@pytest.mark.parametrize(
    ("by", "hours", "kept"),
    [
        ("task_status", 0.3, "on"),
        ("task_status", 25, "private"),
        ("recover", 0.3, "private"),
        ("recover", 25, "on"),
        ("the next start", 0.3, "on"),
        ("the next start", 25, "private"),
    ],
)
async def test_a_remix_that_no_call_can_take_up_any_more_gives_its_money_back(
    servers: Servers, tmp_path: Path, by: str, hours: float, kept: str
) -> None:
    """Only the call itself could send it, and after a quarter of an hour the same words want another picture."""
    remix, history = arguments(tmp_path, "remix"), {"FLUX2_HISTORY": kept}
    async with tolled(UPLOADS["uploading"]) as (base_url, gate):
        await killed_at(servers, tmp_path, gate, base_url, "remix", remix, **history)
        time_passes(tmp_path, hours=hours)
        recovered = await recover(tmp_path, base_url, **history) if by == "recover" else ""
        async with servers.server(tmp_path, base_url, FLUX2_DAILY_BUDGET="0.05", **history) as host:
            [left] = await recent(host)
            said = recovered or await given_up(host, left["task_id"], by=by)
            again = await called(host, "task_status", {"task_id": left["task_id"]})
            result = await called(host, "remix", remix)
            await check_ledger(host, gate)

    assert said.count(left["task_id"]) <= 1
    if kept == "on" or by != "the next start":
        assert "was never sent" in said
    assert "was never sent" in again["content"][0]["text"]
    assert "Nothing was charged" in again["content"][0]["text"]
    [task] = gate.ledger.tasks()
    check_pictures(result, tasks=[task.id])


@UPLOAD
async def test_a_remix_whose_sources_are_refused_after_a_kill_costs_nothing(
    servers: Servers, tmp_path: Path, step: Step
) -> None:
    """It was ordered before, but never sent, so that there is nothing to be in doubt about."""
    remix = arguments(tmp_path, "remix")
    async with tolled(step) as (base_url, gate):
        await killed_at(servers, tmp_path, gate, base_url, "remix", remix)
        gate.faults.append(Fault(on="prepare", status=403, times=9))
        async with servers.server(tmp_path, base_url) as host:
            refused = await called(host, "remix", remix)
            await check_ledger(host, gate)

    assert refused["isError"]
    assert "Nothing was charged" in refused["content"][0]["text"]
    assert gate.ledger.tasks() == []


@pytest.mark.parametrize("status", [401, 402, 422, 429])
async def test_a_remix_that_is_refused_when_it_is_sent_for_the_first_time_costs_nothing(
    servers: Servers, tmp_path: Path, status: int
) -> None:
    """It was ordered before a kill, and sent after it, so that there is nothing to be in doubt about either."""
    remix = arguments(tmp_path, "remix")
    async with tolled(UPLOADS["uploading"]) as (base_url, gate):
        await killed_at(servers, tmp_path, gate, base_url, "remix", remix)
        gate.faults.append(Fault(on="create", status=status, times=9))
        async with servers.server(tmp_path, base_url) as host:
            refused = await called(host, "remix", remix)
            [left] = await recent(host)
            await check_ledger(host, gate)

    assert refused["isError"]
    assert "Nothing was charged" in refused["content"][0]["text"]
    assert left["status"] == "failed"


async def recover(home: Path, base_url: str, **environ: str) -> str:
    """What the command says. No server is running: it would recover, too, and one of them comes first."""
    recovered = await finished(home, "-m", "flux2_mcp", "recover", RUNAPI_BASE_URL=base_url, **environ)
    assert recovered.returncode == 0
    return recovered.stdout.decode()


async def given_up(host: Host, order_id: str, *, by: str) -> str:
    """What is said of the order once it is given up."""
    if by == "task_status":
        return (await called(host, "task_status", {"task_id": order_id}))["content"][0]["text"]
    while (entry := (await recent(host))[0])["status"] != "failed":  # noqa: ASYNC110 there is no event for it
        await anyio.sleep(0.05)
    return entry.get("error", "")


@pytest.mark.parametrize("kept", ["private", "on"])
@pytest.mark.parametrize("step", list(STEPS.values())[:2], ids=list(STEPS)[:2])
@pytest.mark.parametrize("tool", ["generate", "remix"])
async def test_a_private_history_calls_nothing_unsent_that_may_have_been_sent(
    servers: Servers, tmp_path: Path, tool: str, step: Step, kept: str
) -> None:
    """It has not kept what was sent, only that something was; also for a server that keeps all since."""
    async with tolled(step) as (base_url, gate):
        await killed_at(servers, tmp_path, gate, base_url, tool, arguments(tmp_path, tool), FLUX2_HISTORY="private")
        time_passes(tmp_path, minutes=16)
        async with servers.server(tmp_path, base_url, FLUX2_HISTORY=kept) as host:
            [left] = await recent(host)
            status = await called(host, "task_status", {"task_id": left["task_id"]})
            recovered = await finished(
                tmp_path, "-m", "flux2_mcp", "recover", RUNAPI_BASE_URL=base_url, FLUX2_HISTORY=kept
            )
            estimate = await called(host, "estimate_cost", {})

    assert "It is not known whether RunAPI accepted the order" in status["content"][0]["text"]
    assert recovered.returncode == 5
    now = datetime.now(UTC)
    is_of_today = (now - timedelta(minutes=16)).date() == now.date()
    assert estimate["structuredContent"]["spent_today_usd"] == (0.05 if is_of_today else 0)


@pytest.mark.parametrize("lets_pass", [0, 1, 2])
@STEP
async def test_three_pictures_after_a_kill_are_three_tasks(
    servers: Servers, tmp_path: Path, step: Step, lets_pass: int
) -> None:
    """Also when the kill comes between the first and the second, or the second and the third."""
    foxes = {**arguments(tmp_path, "generate"), "count": 3}
    async with tolled(step, lets_pass=lets_pass) as (base_url, gate):
        await killed_at(servers, tmp_path, gate, base_url, "generate", foxes)
        async with servers.server(tmp_path, base_url) as host:
            result = await called(host, "generate", foxes)
            await check_ledger(host, gate)

    tasks = gate.ledger.tasks()
    assert len(tasks) == 3
    check_pictures(result, tasks=[task.id for task in tasks])


async def test_a_server_that_the_system_started_loses_nothing_either(tmp_path: Path) -> None:
    """The whole way: `python -m flux2_mcp`, twice."""
    fox = arguments(tmp_path, "generate")
    async with tolled(STEPS["answer to the order on its way"]) as (base_url, gate):
        async with hosted(tmp_path, base_url, alone=True) as host:
            await host.call("generate", fox)
            await gate.holds_one()
            host.process.kill()
        gate.open()
        async with hosted(tmp_path, base_url, alone=True) as host:
            result = await called(host, "generate", fox)
            await check_ledger(host, gate)

    [task] = gate.ledger.tasks()
    check_pictures(result, tasks=[task.id])
