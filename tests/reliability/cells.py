"""The cells of the table, and how one is tried: by a client that does what the words of the last result say."""

from __future__ import annotations

import base64
import io
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import anyio
from PIL import Image

from flux2_mcp.runapi.models import Task
from flux2_mcp.runapi.routes import Routes
from flux2_mcp.simulator import Script, Simulator
from tests.certificates import Authority, self_signed
from tests.reliability.doors import Door, Transport, opened
from tests.reliability.faults import FAULTS, OFTEN, STEPS, Fault, Often
from tests.reliability.gateway import Gateway, Step
from tests.reliability.passing import passes
from tests.world import KEY, text_of

TRANSPORTS: Sequence[Transport] = ("stdio", "http")

PATIENT = 40.0
"""Seconds to wait where the picture is to come all the same."""
IMPATIENT = 6.0
MORE_IMPATIENT = 1.5
SLOW = 300.0
"""Seconds to wait where our own limits have to end what hangs."""
A_WHILE = 1.0
"""Seconds in which an answer has reached our server."""
MOST_CALLS = 6
GRACE = 30.0
"""Seconds that a call may take beyond its wait, on a machine where others are busy."""
IN_MEMORY = Path("/dev/shm")  # noqa: S108 a folder of our own is made in it
HOMES = IN_MEMORY if IN_MEMORY.is_dir() else None

UPLOADING: frozenset[Step] = frozenset({"prepare", "put", "confirm"})


@dataclass(frozen=True)
class Cell:
    """One fault, at one step, so many times, through one door."""

    transport: Transport
    step: Step
    fault: Fault
    often: Often

    def __str__(self) -> str:
        return f"{self.step}, {self.fault.name}, {self.often}, {self.transport}"

    @property
    def is_possible(self) -> bool:
        """Whether it can happen: webhooks come over HTTP, and their connections are RunAPI's business."""
        return self.step != "webhook" or (self.transport == "http" and not self.fault.is_unseen)

    @property
    def is_quick(self) -> bool:
        """Whether it takes none of our longer limits."""
        return not self.fault.is_slow

    @property
    def times(self) -> float:
        """How many requests meet it: a look that is refused at one path is made at all others."""
        paths = len(Routes().look_paths(Task(id="a", status="processing", action="text_to_image")))
        is_tried_elsewhere = self.step == "look" and self.fault.status in {400, 404, 413, 422}
        return OFTEN[self.often] * (paths if is_tried_elsewhere else 1)

    @property
    def passes(self) -> bool:
        """Whether the first call has to bring the picture all the same."""
        return passes(self.step, self.fault, self.often)


def cells() -> Sequence[Cell]:
    """All that can happen."""
    every = (
        Cell(transport, step, fault, often)
        for fault in FAULTS
        for step in STEPS
        for often in OFTEN
        for transport in TRANSPORTS
    )
    return [cell for cell in every if cell.is_possible]


@dataclass(frozen=True)
class Said:
    """What came of one call."""

    tool: str
    arguments: Mapping[str, Any]
    text: str
    is_error: bool
    tasks: int
    """How many RunAPI had by then."""
    known: frozenset[str]
    """The tasks whose id our server had known for a while."""
    seconds: float
    wait: float

    @property
    def is_made(self) -> bool:
        """Whether the picture is there."""
        return "made the picture" in self.text and "\nFile: " in self.text

    @property
    def is_unfinished(self) -> bool:
        """Whether it says that the picture, or its file, is still to come."""
        return "not ready yet" in self.text or "made the picture" in self.text

    @property
    def task_id(self) -> str:
        """The id to go on with; empty where there is none, or the same call is what finds the picture."""
        ids = re.findall(r"task_id='([^']+)'", self.text) if "task_status" in self.text else []
        return "" if not ids or "Send the same call again" in self.text else ids[0]


@dataclass
class Record:
    """All that happened in a cell."""

    cell: Cell
    said: list[Said] = field(default_factory=list[Said])
    estimates: list[Said] = field(default_factory=list[Said])
    last: Said | None = None
    """The call after all of it."""
    paid: int = 0
    task_ids: list[str] = field(default_factory=list[str])
    picture_at_link: bool = False
    leaks: list[str] = field(default_factory=list[str])
    exit_code: int | None = None
    errors: str = ""
    met: int = 0
    """How often the fault was met, at least."""
    crash: str = ""


@cache
def _source() -> str:
    with io.BytesIO() as file:
        Image.new("RGB", (64, 64), "teal").save(file, "PNG")
        return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _first_call(cell: Cell) -> tuple[str, dict[str, Any]]:
    prompt = {"prompt": f"a fox: {cell}"}
    if cell.step in UPLOADING:
        return "remix", {**prompt, "source_image_urls": [_source()]}
    return "generate", {**prompt, "model": "flux-2-max"} if cell.step == "quote" else prompt


async def tried(cell: Cell) -> Record:
    """Try one cell."""
    record = Record(cell)
    with TemporaryDirectory(prefix="flux2-fault-", dir=HOMES, ignore_cleanup_errors=True) as home:
        try:
            await _try(record, Path(home))
        except Exception as crash:  # noqa: BLE001 one cell that cannot be tried must not stop the others
            record.crash = _words(crash)
        record.leaks += await anyio.to_thread.run_sync(partial(_files_with_key, Path(home)))
    return record


def _words(crash: Exception) -> str:
    while isinstance(crash, ExceptionGroup):
        crash = cast("ExceptionGroup[Exception]", crash).exceptions[0]
    return f"{type(crash).__name__}: {crash}"


async def _try(record: Record, home: Path) -> None:
    cell = record.cell
    inside = home / "inside"
    await anyio.Path(inside).mkdir()
    by_clock = {"queue_seconds": 0.1, "paint_seconds": 0.6} if cell.step == "webhook" else {"looks_until_done": 1}
    simulator = Simulator(Script(plain_pictures=True, **by_clock))  # pyright: ignore[reportArgumentType]
    fault = cell.fault
    gateway = Gateway(
        simulator=simulator,
        step=cell.step,
        act=fault.act,
        names=fault.names,
        certificate=fault.certificate,
        jump=fault.jump,
        left=cell.times,
        inside=inside,
        contexts=await anyio.to_thread.run_sync(partial(_contexts, home)) if fault.certificate else {},
    )
    environ = {"FLUX2_ALLOW_UNKNOWN_PRICE": "true", "FLUX2_PREVIEW": "off", "FLUX2_LOG_LEVEL": "debug"}
    if fault.certificate:
        environ["SSL_CERT_FILE"] = str(home / "authority.pem")
    async with gateway.open(), anyio.create_task_group() as group:
        if cell.step == "webhook":
            environ["FLUX2_PUBLIC_URL"] = f"http://127.0.0.1:{gateway.port}"
        async with opened(cell.transport, home, gateway.url, inside=inside, environ=environ) as door:
            gateway.server_port = door.port
            if cell.step == "webhook":
                group.start_soon(_deliver_webhooks, simulator)
            await _Client(record, gateway, door).go()
            record.exit_code = door.process.returncode
        group.cancel_scope.cancel()
    record.paid = len(simulator.ledger.paid_tasks())
    record.task_ids = [task.id for task in simulator.ledger.tasks()]
    record.leaks += gateway.leaks
    record.leaks += ["another origin" for data in gateway.strayed if KEY.encode() in data]
    record.errors = await anyio.Path(home / "stderr.txt").read_text(encoding="utf-8", errors="replace")


async def _deliver_webhooks(simulator: Simulator) -> None:
    async with anyio.create_task_group() as group:
        while True:
            group.start_soon(simulator.deliver_webhooks)
            await anyio.sleep(0.2)


@dataclass
class _Client:
    """Does what the words say, until it has the picture."""

    record: Record
    gateway: Gateway
    door: Door

    async def go(self) -> None:
        cell = self.record.cell
        if cell.step == "balance":
            self.record.estimates.append(await self._call("estimate_cost", {}))
        tool, arguments = _first_call(cell)
        first = SLOW if cell.fault.is_slow and cell.passes else PATIENT if cell.passes else IMPATIENT
        said = await self._order(tool, arguments, first)
        later = SLOW if cell.fault.is_slow else PATIENT
        for nth in range(MOST_CALLS):
            if nth == 1 and cell.often == "always":
                await self._met()
                await self.gateway.lift()
            if said.is_made:
                break
            if "open that link" in said.text:
                self.record.picture_at_link = await self._is_at_link(said.text)
            wait = MORE_IMPATIENT if nth == 0 and cell.often == "always" else later
            if said.task_id:
                said = await self._order("task_status", {"task_id": said.task_id}, wait)
            else:
                said = await self._order(tool, arguments, wait)
        await self._met()
        await self.gateway.lift()
        self.record.met = self.gateway.met
        if cell.step == "balance":
            self.record.estimates.append(await self._call("estimate_cost", {}))
        self.record.last = await self._call("recent_tasks", {})

    async def _met(self) -> None:
        """Wait until the fault was met, where that can be seen: a webhook may come after the picture."""
        with anyio.move_on_after(GRACE):
            while not self.gateway.met and not self.record.cell.fault.names:  # noqa: ASYNC110 it has no event for it
                await anyio.sleep(0.05)

    async def _order(self, tool: str, arguments: Mapping[str, Any], wait: float) -> Said:
        said = await self._call(tool, {**arguments, "wait_seconds": wait}, wait)
        self.record.said.append(said)
        return said

    async def _call(self, tool: str, arguments: Mapping[str, Any], wait: float = 10.0) -> Said:
        began = time.monotonic()
        with anyio.fail_after(wait + GRACE):
            result = await self.door.call(tool, arguments)
        now = time.monotonic()
        known = frozenset(each for each, since in self.gateway.told.items() if now - since > A_WHILE)
        tasks = len(self.gateway.simulator.ledger.tasks())
        return Said(tool, arguments, text_of(result), bool(result.is_error), tasks, known, now - began, wait)

    async def _is_at_link(self, text: str) -> bool:
        """Whether the link that is named leads to the picture, for a person with a browser."""
        found = re.search(r"^URL: \S*/generated/(\S+)\.png", text, re.MULTILINE)
        tasks = self.gateway.simulator.ledger.tasks()
        return bool(found) and any(task.picture_name == found[1] for task in tasks)


def _contexts(home: Path) -> dict[str, ssl.SSLContext]:
    authority = Authority.new()
    (home / "authority.pem").write_bytes(authority.pem)
    held = {
        "good": authority.signed("localhost"),
        "expired": authority.signed("localhost", days=-1),
        "other name": authority.signed("elsewhere.example"),
        "stranger": self_signed(),
    }
    contexts: dict[str, ssl.SSLContext] = {}
    for name, pem in held.items():
        file = home / f"{name}.pem"
        file.write_bytes(pem)
        contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[name].load_cert_chain(file)
    return contexts


def _files_with_key(home: Path) -> list[str]:
    files = (file for file in home.rglob("*") if file.is_file())
    return [file.relative_to(home).as_posix() for file in files if KEY.encode() in file.read_bytes()]
