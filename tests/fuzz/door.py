"""A client and our server that live through many examples, and what must hold after each of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import anyio
import hypothesis
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import MCPError
from mcp.client import Client
from mcp_types import CallToolResult

from flux2_mcp.server.app import build_server
from flux2_mcp.simulator import Script, Simulator
from tests.virtual_time import VirtualTimeLoop
from tests.world import APPS, KEY, World, every, text_of

T = TypeVar("T")

LONGEST = 2000.0
"""Seconds of the loop's clock, which moves only while all wait: longer than a call may wait."""
FOX: Mapping[str, object] = {"prompt": "a fox", "wait_seconds": 1}


class CrashLog(logging.Handler):
    """Keeps what only a crash logs, and what tells the key."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        said = logging.Formatter().format(record)
        if record.levelno >= logging.ERROR or "Traceback" in said or KEY in said:
            self.found.append(said)


@dataclass
class Door:
    """The way in that a host has."""

    here: World
    portal: BlockingPortal
    log: CrashLog
    client: Client = field(init=False)

    def call(self, tool: str, arguments: Mapping[str, Any]) -> CallToolResult:
        return self.ask(lambda client: client.call_tool(tool, dict(arguments)))

    def ask(self, what: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """The answer to this; one comes, nothing has crashed for it, and it does not tell the key."""
        refusal: MCPError | None = None
        answer: T | None = None

        async def bounded() -> T:
            with anyio.fail_after(LONGEST):
                return await what(self.client)

        try:
            answer = self.portal.call(bounded)
        except UnicodeEncodeError:
            # This client cannot write half an emoji everywhere; test_lines.py can.
            hypothesis.reject()
        except MCPError as error:
            refusal = error
        assert not self.log.found, self.log.found
        assert KEY not in f"{answer}{refusal and refusal.error}"
        if refusal is not None:
            raise refusal
        assert answer is not None
        return answer

    def still_works(self) -> None:
        """The next ordinary call is answered as ever."""
        estimated = self.call("estimate_cost", {"prompt": "a fox"})
        assert not estimated.is_error, text_of(estimated)


@contextmanager
def opened(
    home: Path, *, mode: Literal["legacy", "auto"] = "auto", environ: Mapping[str, str] | None = None
) -> Generator[Door]:
    """A door to a server whose RunAPI never runs out of money, in time that passes only while all wait."""
    script = Script(looks_until_done=2, plain_pictures=True, opening_cents=10**8)
    here = World(Simulator(script), home, intervals=every(0.5), environ=dict(environ or {}))
    log = CrashLog()
    root = logging.getLogger()
    root.addHandler(log)
    try:
        with start_blocking_portal(backend_options={"loop_factory": VirtualTimeLoop}) as portal:
            door = Door(here, portal, log)
            client = Client(build_server(here.environment()), mode=mode, extensions=[APPS])
            with portal.wrap_async_context_manager(client) as door.client:
                yield door
    finally:
        root.removeHandler(log)
    assert not log.found, log.found
    assert not any(KEY.encode() in path.read_bytes() for path in home.rglob("*") if path.is_file())
