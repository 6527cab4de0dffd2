"""Random stories of calls, faults, cancels and crashes; whatever happens, each fingerprint is paid once."""

from __future__ import annotations

import os
import random
import re
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from math import ceil
from pathlib import Path
from typing import Any, Literal, NamedTuple

import anyio
import httpx
import pytest
from anyio.abc import TaskGroup, TaskStatus
from anyio.from_thread import start_blocking_portal
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from mcp import MCPError
from mcp.client import Client
from mcp_types import CallToolResult
from PIL import Image

from flux2_mcp.app_state import Environment
from flux2_mcp.history import utcnow
from flux2_mcp.server.app import build_server
from flux2_mcp.settings import Settings
from flux2_mcp.simulator import Fault, Script, Simulator
from flux2_mcp.studio.deliveries import TIME_TO_READ
from tests.databases import copy, execute, history_in
from tests.paid_once.accounting import ledger_of, ledger_of_runapi
from tests.transports import Wire, creates, fetches, looks
from tests.virtual_time import VirtualTimeLoop
from tests.world import KEY, at_once, no_sleep, text_of

DAILY_CAP = 60
"""US cents."""
CENTS = {"flux-2-pro": 5, "flux-2-flex": 14}
RESUMED_WITHIN = timedelta(minutes=15)
MAY_EXIST = ("It is not known whether", "may still be running", "This order was not sent")
"""In what a host is told of an order that is not over."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
VIRTUAL_TIME = {"loop_factory": VirtualTimeLoop}
BASE_URLS = ("https://one.test", "https://other.test")

TROUBLES = {
    "none": (),
    "order never arrives": (Fault(on="create", lose=True, times=20),),
    "answer to the order lost": (Fault(on="create", after=True, lose=True, times=20),),
    "500 after creation": (Fault(on="create", after=True, status=500, times=20),),
    "503": (Fault(on="create", status=503, times=20),),
    "not JSON": (Fault(on="create", after=True, body="created!", times=20),),
    "401": (Fault(on="create", status=401, times=20),),
    "402": (Fault(on="create", status=402, times=20),),
    "409": (Fault(on="create", status=409, times=20),),
    "429": (Fault(on="create", status=429, times=20),),
    "uploads refused": (Fault(on="prepare", status=403, times=20),),
    "uploads lost": (Fault(on="put", lose=True, times=20),),
    "looks lost": (Fault(on="look", lose=True, times=3),),
    "looks refused": (Fault(on="look", status=401, times=20),),
    "looks in vain": (Fault(on="look", status=404, times=3),),
    "no picture": (Fault(on="picture", status=500, times=20),),
    "picture lost": (Fault(on="picture", lose=True, times=20),),
}
HOLDS: dict[str, Callable[[httpx.Request], bool]] = {
    "upload": lambda request: request.url.path.endswith("/files/prepare"),
    "create": creates,
    "look": looks,
    "picture": fetches,
}

Outcome = Literal["delivered", "failed", "open"]


class Fingerprint(NamedTuple):
    """What makes two calls the same."""

    tool: str
    prompt: str
    model: str
    pictures: int


class Line(Wire):
    """The way from one server process to its RunAPI: it can hold requests, and it can be cut."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)
        self.is_cut = False
        self.holds: Callable[[httpx.Request], bool] = lambda _: False
        self.after = False
        self.arrived = anyio.Event()
        self.opened = anyio.Event()

    def hold(self, what: Callable[[httpx.Request], bool], *, after: bool) -> None:
        self.holds, self.after = what, after
        self.arrived, self.opened = anyio.Event(), anyio.Event()

    def open(self) -> None:
        self.holds = lambda _: False
        self.opened.set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = None
        if not self.is_cut and self.holds(request):
            answer = await super().handle_async_request(request) if self.after else None
            self.arrived.set()
            await self.opened.wait()
        if self.is_cut:
            msg = "this process is dead"
            raise httpx.ConnectError(msg, request=request)
        return answer or await super().handle_async_request(request)


class Order(NamedTuple):
    """An order as the history has it."""

    id: str
    task_id: str | None
    position: int
    state: str
    delivered: bool
    is_prepared: bool
    """Whether it is known what to send."""
    made: datetime
    """Or, if that was later, when its task became known."""


@dataclass
class Side:
    """One owner: their RunAPI, their server, and what they are entitled to."""

    base_url: str
    simulator: Simulator
    live: dict[str, int] = field(default_factory=dict[str, int])
    """What each order costs that was not refused: these, and no others, are paid."""
    open: dict[tuple[Fingerprint, int], str] = field(default_factory=dict[tuple[Fingerprint, int], str])
    """The order that the same call would take up again, as long as it is young."""
    seen: set[str] = field(default_factory=set[str])
    read: set[str] = field(default_factory=set[str])
    """The orders whose result the host has."""

    @property
    def owner(self) -> str:
        return f"local {self.base_url}:443"

    def takes_up(self, fingerprint: Fingerprint, *, young: set[str]) -> list[str | None]:
        """The order that each picture of a call would be, or None where it would be a new one."""
        found = [self.open.get((fingerprint, position)) for position in range(fingerprint.pictures)]
        return [order if order in young else None for order in found]

    def end(self, outcomes: Mapping[str, Outcome]) -> None:
        """Draw the conclusions from what the host was told of the orders of one call."""
        for order in [order for order, outcome in outcomes.items() if outcome == "failed"]:
            self.live.pop(order, None)
            self.open = {key: value for key, value in self.open.items() if value != order}
        if "open" in outcomes.values():
            return
        # Until every picture of a call was delivered, the same call finds all of them.
        self.read |= {order for order, outcome in outcomes.items() if outcome == "delivered"}
        fingerprints = {fingerprint for (fingerprint, _), order in self.open.items() if order in outcomes}
        unread = {fingerprint for (fingerprint, _), order in self.open.items() if order not in self.read}
        self.open = {key: value for key, value in self.open.items() if key[0] not in fingerprints - unread}


@dataclass
class Process:
    """One server process and its host."""

    client: Client
    line: Line
    ending: anyio.Event
    ended: anyio.Event


ANY_SIDE = st.integers(0, 1)
ANY_TROUBLE = st.sampled_from(sorted(TROUBLES))
ANY_FINGERPRINT = st.builds(
    Fingerprint,
    st.sampled_from(["generate", "generate", "remix"]),
    st.sampled_from(["a fox", "a fox", "a hare", "a fox [simulate: failed]"]),
    st.sampled_from(["flux-2-pro", "flux-2-pro", "flux-2-flex"]),
    st.integers(1, 2),
)


class Story(RuleBasedStateMachine):
    """Two owners on one machine, with one data folder and two RunAPIs."""

    def __init__(self) -> None:
        super().__init__()
        script = Script(looks_until_done=1, plain_pictures=True)
        self.sides = [Side(base_url, Simulator(script)) for base_url in BASE_URLS]
        self.processes: list[Process] = []
        self.lives = 0
        # A midnight in the middle of the story must not begin a new day of the budget: it begins early tomorrow.
        now = utcnow()
        self.now = datetime.combine(now.date() + timedelta(days=1), time(hour=1), UTC) - now
        self.closing = ExitStack()
        folder = tempfile.TemporaryDirectory(dir=os.environ.get("PYTEST_DEBUG_TEMPROOT"))  # in memory, if there is room
        self.home = Path(self.closing.enter_context(folder))
        self.source = self.home / "pictures" / "mine.png"
        self.source.parent.mkdir()
        Image.new("RGB", (8, 6), "red").save(self.source)
        self.portal = self.closing.enter_context(start_blocking_portal(backend_options=VIRTUAL_TIME))
        self.group = self.closing.enter_context(self.portal.wrap_async_context_manager(_task_group()))
        self.do(self._start)

    def do(self, what: Callable[..., Awaitable[None]], *arguments: object) -> None:
        async def bounded() -> None:
            with anyio.fail_after(20):
                await what(*arguments)

        self.portal.call(bounded)

    # What may happen.

    @rule(
        side=ANY_SIDE,
        fingerprint=ANY_FINGERPRINT,
        repeat=st.sampled_from([False, False, False, True]),
        wait=st.sampled_from([45, 45, 0]),
        trouble=ANY_TROUBLE,
    )
    def order(self, *, side: int, fingerprint: Fingerprint, repeat: bool, wait: int, trouble: str) -> None:
        self.do(self._order, side, fingerprint, {"repeat": repeat, "wait_seconds": wait}, trouble)

    @rule(side=ANY_SIDE, fingerprint=ANY_FINGERPRINT)
    def order_twice_at_once(self, *, side: int, fingerprint: Fingerprint) -> None:
        self.do(self._order_twice, side, fingerprint)

    @rule(
        side=ANY_SIDE,
        fingerprint=ANY_FINGERPRINT,
        at=st.sampled_from(sorted(HOLDS)),
        after=st.booleans(),
        crash=st.booleans(),
    )
    def interrupt(self, *, side: int, fingerprint: Fingerprint, at: str, after: bool, crash: bool) -> None:
        """Cancel a call in the middle, or let the process die there."""
        self.do(self._interrupt, side, fingerprint, at, after, crash)

    @rule(side=ANY_SIDE, position=st.integers(0, 9), trouble=ANY_TROUBLE)
    def ask(self, *, side: int, position: int, trouble: str) -> None:
        self.do(self._ask, side, position, trouble)

    @rule(minutes=st.sampled_from([6, 16]))
    def pass_time(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule(crash=st.booleans())
    def restart(self, *, crash: bool) -> None:
        self.do(self._restart, crash)

    # What holds at any time, and in the end.

    @invariant()
    def spending_never_passes_the_cap(self) -> None:
        for side in self.sides:
            assert sum(task.cost_cents for task in side.simulator.ledger.paid_tasks()) <= DAILY_CAP

    @invariant()
    def nothing_is_paid_that_nobody_ordered(self) -> None:
        for side in self.sides:
            assert len(side.simulator.ledger.paid_tasks()) <= len(side.live)

    def teardown(self) -> None:
        with self.closing:
            try:
                self.do(self._settle)
            finally:
                self.do(self._stop)

    async def _settle(self) -> None:
        """Ask for everything that is open; then all sides agree to the cent, and everybody finds their own.

        What is in doubt, because no call asked in time what became of it, stays reserved.
        """
        for nth in range(len(self.sides)):
            await self._resolve_doubts(nth)
        # Orders that were never sent are given up once no call can take them up.
        self.now += RESUMED_WITHIN + timedelta(minutes=1)
        for side, process in zip(self.sides, self.processes, strict=True):
            doubts: set[str] = set()
            for order in self._orders(side):
                result = await process.client.call_tool("task_status", {"task_id": order.id})
                [outcome] = _outcomes(result, 1)
                if outcome == "open":
                    assert "It is not known whether RunAPI accepted the order" in text_of(result)
                    doubts.add(order.id)
                side.end({order.id: outcome})
            lost = [task for task in side.simulator.ledger.paid_tasks() if task.id not in self._known_tasks(side)]
            assert len(lost) <= len(doubts)
            assert len(side.simulator.ledger.paid_tasks()) == len(side.live) - len(doubts) + len(lost)
            ours, runapis = await ledger_of(process.client), ledger_of_runapi(side.simulator)
            for task in lost:
                del runapis.costs[task.id]
            reserved = sum(side.live[order] for order in doubts)
            # RunAPI calls spent what is finished, and nobody has looked at these.
            spent = runapis.spent - sum(task.cost_cents for task in lost if task.money == "settled") + reserved
            assert ours == replace(runapis, spent=spent)
        known = {task_id for side in self.sides for task_id in self._known_tasks(side)}
        one, other = [{task.id for task in side.simulator.ledger.paid_tasks()} for side in self.sides]
        for process, theirs, foreign in ((self.processes[0], one, other), (self.processes[1], other, one)):
            listed = {entry["task_id"] for entry in await _recent(process)}
            assert theirs & known <= listed
            assert not foreign & listed
            for task_id in sorted(foreign)[:1]:
                assert (await process.client.call_tool("task_status", {"task_id": task_id})).is_error

    async def _resolve_doubts(self, nth_side: int) -> None:
        """Send again what is in doubt and young enough to be found out about."""
        side = self.sides[nth_side]
        doubts = self._doubts(side)
        for fingerprint in {fingerprint for (fingerprint, _), order in side.open.items() if order in doubts}:
            await self._order(nth_side, fingerprint, {"repeat": False, "wait_seconds": 45}, "none")

    def _doubts(self, side: Side) -> set[str]:
        return {
            order.id for order in self._orders(side) if order.is_prepared and order.state in {"intended", "unknown"}
        }

    def _takes_up(self, side: Side, fingerprint: Fingerprint) -> list[str | None]:
        now = utcnow() + self.now
        young = {order.id for order in self._orders(side) if now - order.made <= RESUMED_WITHIN}
        return side.takes_up(fingerprint, young=young)

    # How it happens.

    async def _order(self, nth_side: int, fingerprint: Fingerprint, more: dict[str, Any], trouble: str) -> None:
        side = self.sides[nth_side]
        expected = [None] * fingerprint.pictures if more["repeat"] else self._takes_up(side, fingerprint)
        side.simulator.faults[:] = TROUBLES[trouble]
        result = await self._call(nth_side, fingerprint, more)
        side.simulator.faults.clear()
        self._learn(side, fingerprint, expected, result)

    async def _order_twice(self, nth_side: int, fingerprint: Fingerprint) -> None:
        """Both calls are one fingerprint; but what has failed before the second one orders is ordered anew."""
        side = self.sides[nth_side]
        expected = self._takes_up(side, fingerprint)
        results: list[CallToolResult] = []

        async def call() -> None:
            results.append(await self._call(nth_side, fingerprint, {}))

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            group.start_soon(call)
        orders, new = self._orders(side), self._new(side)
        taken_up = {order for position, order in enumerate(expected) if order and position in new}
        unknown = {order.id for order in orders if order.id not in side.seen} - {*new.values()}
        replaced = [order for order in orders if order.id in taken_up | unknown]
        assert all(order.state == "failed" for order in replaced)
        side.seen |= unknown
        side.end({order.id: "failed" for order in replaced})
        expected = [None if position in new else order for position, order in enumerate(expected)]
        for result in results[1:] if replaced else results:
            expected = self._learn(side, fingerprint, expected, result) or expected

    async def _interrupt(self, nth_side: int, fingerprint: Fingerprint, at: str, after: bool, crash: bool) -> None:  # noqa: FBT001
        side, line = self.sides[nth_side], self.processes[nth_side].line
        expected = self._takes_up(side, fingerprint)
        results: list[CallToolResult] = []
        was_in_the_middle = False
        orders: Sequence[str] = ()
        line.hold(HOLDS[at], after=after)

        async def call() -> None:
            # To a host whose server dies, the connection is closed.
            with suppress(MCPError) if crash else nullcontext():
                results.append(await self._call(nth_side, fingerprint, {}))
            line.arrived.set()

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await line.arrived.wait()
            # What arrived first may be of an earlier call, whose order goes on.
            while not results and len(self._new(side)) < expected.count(None):  # noqa: ASYNC110 there is no event for it
                await anyio.sleep(0.005)
            was_in_the_middle = not results
            if was_in_the_middle:
                orders = self._learn_orders(side, fingerprint, expected)
                if crash:
                    await self._die()
                group.cancel_scope.cancel()
        line.open()
        if not was_in_the_middle:
            self._learn(side, fingerprint, expected, results[0])
        elif crash:
            await self._start()
        else:
            await self._sent(side, orders)

    async def _sent(self, side: Side, orders: Sequence[str]) -> None:
        """Wait until the orders of a cancelled call, which go on, are not mistaken for those of the next one."""
        while any(order.state == "intended" for order in self._orders(side) if order.id in orders):  # noqa: ASYNC110 there is no event for it
            await anyio.sleep(0.005)
        # What still waited for its source images is not ordered any more.
        side.end({order.id: "failed" for order in self._orders(side) if order.id in orders and order.state == "failed"})

    async def _ask(self, nth_side: int, position: int, trouble: str) -> None:
        side, process = self.sides[nth_side], self.processes[nth_side]
        if not (orders := self._orders(side)):
            return
        order, task_id = orders[position % len(orders)][:2]
        side.simulator.faults[:] = TROUBLES[trouble]
        ordered = len(side.simulator.ledger.tasks())
        result = await process.client.call_tool("task_status", {"task_id": task_id or order})
        assert len(side.simulator.ledger.tasks()) == ordered, "to look orders nothing"
        side.simulator.faults.clear()
        [outcome] = _outcomes(result, 1)
        side.end({order: outcome})

    async def _call(self, nth_side: int, fingerprint: Fingerprint, more: dict[str, Any]) -> CallToolResult:
        arguments = {"prompt": fingerprint.prompt, "model": fingerprint.model, "count": fingerprint.pictures, **more}
        if fingerprint.tool == "remix":
            arguments |= {"source_image_urls": [str(self.source)], "aspect_ratio": "1:1"}
        return await self.processes[nth_side].client.call_tool(fingerprint.tool, arguments)

    def _learn(
        self, side: Side, fingerprint: Fingerprint, expected: Sequence[str | None], result: CallToolResult
    ) -> Sequence[str]:
        """Compare what a call did with what it should have done, and note what the host knows now."""
        if "of today's limit" in text_of(result):
            new = sum(order is None for order in expected) * CENTS[fingerprint.model]
            assert sum(side.live.values()) + new > DAILY_CAP
            return []
        orders = self._learn_orders(side, fingerprint, expected)
        side.end(dict(zip(orders, _outcomes(result, fingerprint.pictures), strict=True)))
        return orders

    def _learn_orders(self, side: Side, fingerprint: Fingerprint, expected: Sequence[str | None]) -> Sequence[str]:
        new = self._new(side)
        assert sorted(new) == [position for position, order in enumerate(expected) if order is None]
        side.seen |= set(new.values())
        side.live |= dict.fromkeys(new.values(), CENTS[fingerprint.model])
        side.open |= {(fingerprint, position): order for position, order in new.items()}
        return [order or new[position] for position, order in enumerate(expected)]

    def _new(self, side: Side) -> dict[int, str]:
        """The orders that nobody here knows yet, by the number of their picture."""
        return {order.position: order.id for order in self._orders(side) if order.id not in side.seen}

    # Processes.

    async def _start(self) -> None:
        self.processes = [await self.group.start(self._live, side) for side in self.sides]
        for side in self.sides:
            await self._recovered(side)

    async def _recovered(self, side: Side) -> None:
        """Wait until everything was looked at that an earlier process had left open, and learn what failed."""
        while any(order.state == "accepted" or self._is_abandoned(order) for order in self._orders(side)):  # noqa: ASYNC110 there is no event for it
            await anyio.sleep(0.005)
        side.end({order.id: "failed" for order in self._orders(side) if order.state == "failed"})

    def _is_abandoned(self, order: Order) -> bool:
        return order.state == "intended" and not order.is_prepared and utcnow() + self.now - order.made > RESUMED_WITHIN

    async def _live(self, side: Side, *, task_status: TaskStatus[Process]) -> None:
        environ = {
            "RUNAPI_API_KEY": KEY,
            "RUNAPI_BASE_URL": side.base_url,
            "FLUX2_OUTPUT_DIR": str(self.source.parent),
            "FLUX2_DAILY_BUDGET": f"{DAILY_CAP / 100}",
            "FLUX2_RESULT": "structured",
            "FLUX2_PREVIEW": "off",
        }
        line = Line(side.simulator)
        environment = Environment(
            settings=Settings.from_environ(environ),
            home=self.home,
            transport=line,
            history=history_in(self._data, now=lambda: utcnow() + self.now),
            intervals=at_once,
            sleep=hardly_any_sleep,
        )
        ending, ended = anyio.Event(), anyio.Event()
        async with Client(build_server(environment)) as client:
            # The first question makes the database. (What recent_tasks gives, the client would check against a schema
            # first, which takes longer than a story's step.)
            await client.call_tool("task_status", {"task_id": "none"})
            task_status.started(Process(client, line, ending, ended))
            await ending.wait()
        ended.set()

    async def _restart(self, crash: bool) -> None:  # noqa: FBT001
        if crash:
            await self._die()
        else:
            await self._deliveries_are_written_down()
            await self._stop()
            self._forget_what_nobody_noted()
        await self._start()

    async def _die(self) -> None:
        """What the disk holds at this instant is all that is left; what the dying do afterwards reaches nobody."""
        await self._deliveries_are_written_down()
        before = self._data
        self.lives += 1
        copy(before, self._data)
        self._forget_what_nobody_noted()
        for process in self.processes:
            process.line.is_cut = True
            process.line.open()
        await self._stop()

    def _forget_what_nobody_noted(self) -> None:
        """Of a call that is not over, some pictures may have been read a moment ago: nobody knows of that any more."""
        for side in self.sides:
            side.read -= {order.id for order in self._orders(side) if not order.delivered}

    async def _stop(self) -> None:
        for process in self.processes:
            process.ending.set()
            await process.ended.wait()

    async def _deliveries_are_written_down(self) -> None:
        """The second is over that a host gets to read a result."""
        open_ones = {order for side in self.sides for order in side.open.values()}
        read = {order for side in self.sides for order in side.read} - open_ones
        while not all(order.delivered for side in self.sides for order in self._orders(side) if order.id in read):  # noqa: ASYNC110 there is no event for it
            await anyio.sleep(0.005)

    # The disk.

    @property
    def _data(self) -> Path:
        return self.home / f"data-{self.lives}"

    def _known_tasks(self, side: Side) -> set[str | None]:
        return {order.task_id for order in self._orders(side)}

    def _orders(self, side: Side) -> list[Order]:
        query = """
            SELECT id, task_id, position, state, delivered, request IS NOT NULL, COALESCE(accepted_at, created_at)
            FROM orders WHERE owner = ? ORDER BY created_at
        """
        rows = execute(self._data, query, side.owner)
        return [Order(*row[:-1], made=EPOCH + timedelta(microseconds=row[-1])) for row in rows]


async def hardly_any_sleep(seconds: float) -> None:
    """Two calls at once need the time that a host has for reading a result; nothing else takes any."""
    await (anyio.sleep(seconds) if seconds == TIME_TO_READ else no_sleep(seconds))


@asynccontextmanager
async def _task_group() -> AsyncGenerator[TaskGroup, None]:
    async with anyio.create_task_group() as group:
        yield group


async def _recent(process: Process) -> list[dict[str, Any]]:
    result = await process.client.call_tool("recent_tasks", {"limit": 50})
    assert result.structured_content is not None
    return result.structured_content["tasks"]


def _outcomes(result: CallToolResult, count: int) -> list[Outcome]:
    """What the host was told of each picture of a call."""
    if result.is_error:
        text = re.sub(r"^Error executing tool \w+: ", "", text_of(result))
        sentences = re.split(r"^\d\. ", text, flags=re.MULTILINE)[1:] or [text]
        return [_outcome_of(error) for error in (sentences if len(sentences) == count else sentences * count)]
    facts = result.structured_content
    assert facts is not None
    return [_outcome_in(picture) for picture in facts["pictures"]]


def _outcome_in(picture: dict[str, Any]) -> Outcome:
    if picture["status"] == "failed":
        return _outcome_of(picture["error"])
    images = picture.get("images", [])
    return "delivered" if images and all("width" in image for image in images) else "open"


def _outcome_of(error: str) -> Outcome:
    return "open" if any(words in error for words in MAY_EXIST) else "failed"


SAME = settings(max_examples=3, stateful_step_count=12, deadline=None, derandomize=True)
"""For the stories that every run tells."""
NEW = settings(SAME, max_examples=5, derandomize=False, database=None, print_blob=True)
AT_A_TIME = 10
"""New stories in one test, of those that `make stories` asks for."""
ASKED_FOR = int(os.environ.get("STORIES", "0"))

TestStory = Story.TestCase
TestStory.settings = SAME


@pytest.mark.parametrize("nth", range(ceil(ASKED_FOR / AT_A_TIME) or 1))
def test_new_stories(nth: int) -> None:
    """Others in every run. A failure prints the story, and `@reproduce_failure` for the class Story above."""
    number = random.getrandbits(32)  # of the seed that pytest prints, and of nth
    story = seed(number)(type(Story.__name__, (Story,), {}))
    many = settings(NEW, max_examples=AT_A_TIME, stateful_step_count=15)
    run_state_machine_as_test(story, settings=many if ASKED_FOR else NEW)
