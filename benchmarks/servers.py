"""Servers as processes, spoken to line by line, and a RunAPI on a port for them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import anyio
import uvicorn
from anyio.abc import Process

from benchmarks.runapi import PlainRunAPI
from tests.processes import ABOUT, environment

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": ABOUT}
PLAIN = {"FLUX2_PREVIEW": "off", "FLUX2_SAVE": "off"}
"""The official server neither previews nor saves."""

OURS = ("-m", "flux2_mcp")
BARE = ("-m", "benchmarks.bare")
THIN = ("-m", "benchmarks.thin")
THIN_WITH_PICTURES = (*THIN, "--download")

# Everything but the moments of looking stays the same.
_LOOKING = """
from itertools import chain, repeat
from flux2_mcp import polling
intervals = polling.intervals
polling.intervals = lambda durations, elapsed, waited_for: {looks}
from flux2_mcp.__main__ import main
main()
"""
KNOWING_NOTHING = ("-c", _LOOKING.format(looks="intervals((), elapsed, waited_for)"))
"""Ours, which otherwise learns from every task that ends."""

# A callback that is due every two milliseconds notes when it comes late, and by how much.
_BEATING = """
import asyncio, pathlib, time
late = (pathlib.Path.home() / "late").open("w", buffering=1)
run_forever = asyncio.BaseEventLoop.run_forever
def beating(loop):
    def beat(due):
        now = time.monotonic()
        if now - due > 0.005:
            late.write(f"{now} {now - due}\\n")
        loop.call_later(0.002, beat, now + 0.002)
    loop.call_soon(beat, time.monotonic())
    run_forever(loop)
asyncio.BaseEventLoop.run_forever = beating
from flux2_mcp.__main__ import main
main()
"""
BEATING = ("-c", _BEATING)
"""Ours, noting for how long its event loop was held up; see `Server.longest_hold_up`."""

Message = dict[str, Any]


def polling_every(seconds: float) -> tuple[str, ...]:
    """Ours, looking as the vendor's own clients do: once at once, and then at a fixed interval."""
    return ("-c", _LOOKING.format(looks=f"chain([0.0], repeat({seconds}))"))


@dataclass
class Server:
    """A server that has shaken hands."""

    process: Process
    home: Path
    greeting: Message = field(default_factory=Message)
    """What it said of itself."""
    _answers: dict[int, tuple[anyio.Event, list[tuple[float, Message]]]] = field(
        default_factory=dict[int, tuple[anyio.Event, list[tuple[float, Message]]]]
    )

    async def request(self, method: str, params: Message) -> tuple[float, Message]:
        """The answer, and when its line was here, in seconds of the monotonic clock."""
        number = len(self._answers) + 1
        arrived, answer = self._answers[number] = (anyio.Event(), [])
        await self._tell({"id": number, "method": method, "params": params})
        await arrived.wait()
        return answer[0]

    async def call(self, tool: str, arguments: Message) -> tuple[float, Message]:
        """A tool's result, and when it was here."""
        return await self.request("tools/call", {"name": tool, "arguments": arguments})

    async def shake_hands(self) -> None:
        _, answer = await self.request("initialize", HELLO)
        self.greeting = answer["result"]
        await self._tell({"method": "notifications/initialized"})

    async def listen(self) -> None:
        """Take in lines for as long as there are any."""
        assert self.process.stdout
        rest = b""
        async for piece in self.process.stdout:
            now = monotonic()
            *lines, rest = (rest + piece).split(b"\n") if b"\n" in piece else (rest + piece,)
            for line in lines:
                message: Message = json.loads(line)
                if "id" in message:
                    arrived, answer = self._answers[message["id"]]
                    answer.append((now, message))
                    arrived.set()

    def memory(self, what: str = "VmHWM") -> float:
        """MiB; VmHWM is the most so far, VmRSS is now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        [line] = [line for line in status.splitlines() if line.startswith(what)]
        return int(line.split()[1]) / 1024

    def forget_peak(self) -> None:
        """Begin VmHWM anew from what is held now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5", encoding="ascii")

    @property
    def cpu_seconds(self) -> float:
        """What all threads of the process have used so far, of the system's time too."""
        _, _, fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")
        used, of_the_system = fields.split()[11:13]
        return (int(used) + int(of_the_system)) / os.sysconf("SC_CLK_TCK")

    def longest_hold_up(self, *, since: float) -> float:
        """Seconds; for `BEATING`, from a moment of the monotonic clock on."""
        lines = [line.split() for line in (self.home / "late").read_text(encoding="ascii").splitlines()]
        return max((float(late) for moment, late in lines if float(moment) >= since), default=0.0)

    async def _tell(self, message: Message) -> None:
        assert self.process.stdin
        await self.process.stdin.send(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


@asynccontextmanager
async def running(
    command: tuple[str, ...], base_url: str = "http://127.0.0.1:9", environ: Mapping[str, str] = {}
) -> AsyncGenerator[Server, None]:
    """A server with a home of its own."""
    with TemporaryDirectory() as home:
        env = {**environment(Path(home), base_url), "PYTHONPATH": str(Path.cwd()), **environ}
        async with await anyio.open_process([sys.executable, *command], env=env, stderr=None) as process:
            server = Server(process, Path(home))
            async with anyio.create_task_group() as group:
                group.start_soon(server.listen)
                await server.shake_hands()
                yield server
                assert process.stdin
                await process.stdin.aclose()
                await process.wait()


@asynccontextmanager
async def served(runapi: PlainRunAPI) -> AsyncGenerator[str, None]:
    """The address of this RunAPI."""
    server = uvicorn.Server(uvicorn.Config(runapi, host="127.0.0.1", port=0, log_level="critical"))
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve)
        while not server.started:  # noqa: ASYNC110 uvicorn has no event for it
            await anyio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True
