"""Our server as a process of its own, spoken to line by line, and a RunAPI on a port for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import anyio
import uvicorn
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream

from flux2_mcp.simulator import Script, Simulator
from tests.databases import database_setting
from tests.fork_server import ForkServer
from tests.world import KEY

Era = Literal["legacy", "modern"]
Message = dict[str, Any]

ABOUT = {"name": "test", "version": "1"}
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": ABOUT,
    "io.modelcontextprotocol/clientCapabilities": {},
}
LONGEST_LINE = 10_000_000
MODULE = ("-m", "flux2_mcp")
AT_ONCE = 10
"""Seconds in which something has happened that waits for nothing, on a machine where others are busy. What it must not
wait for takes a minute in these tests."""


def cpu_seconds(process: Process) -> float:
    """What it has used so far, of the system's time too; on Linux."""
    fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Host:
    """A host that started our server, and keeps every line it wrote."""

    process: Process
    era: Era
    errors: Path
    _stdout: BufferedByteReceiveStream
    lines: list[bytes] = field(default_factory=list[bytes])
    _answers: dict[int, Message] = field(default_factory=dict[int, Message])
    _last_id: int = 0

    @classmethod
    async def of(cls, process: Process, era: Era, errors: Path) -> Host:
        """A host whose server has answered once; in the legacy era they have shaken hands then."""
        assert process.stdout is not None
        host = cls(process, era, errors, BufferedByteReceiveStream(process.stdout))
        if era == "legacy":
            hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": ABOUT}
            await host.answer(await host.request("initialize", hello))
            await host.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        else:
            await host.answer(await host.request("server/discover", {}))
        return host

    async def send(self, message: Message) -> None:
        await self.write(json.dumps(message).encode())

    async def write(self, line: bytes) -> None:
        """Send a line that need not be a message."""
        assert self.process.stdin is not None
        await self.process.stdin.send(line + b"\n")

    async def request(self, method: str, params: Message) -> int:
        """Send a request; its answer is asked for by the id that this gives."""
        self._last_id += 1
        meta = (MODERN if self.era == "modern" else {}) | params.get("_meta", {})
        with_meta = {**params, "_meta": meta} if meta else params
        await self.send({"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": with_meta})
        return self._last_id

    async def call(self, tool: str, arguments: Message, token: str | int | None = None) -> int:
        """Call a tool, with a progress token unless it is None."""
        params: Message = {"name": tool, "arguments": arguments}
        return await self.request(
            "tools/call", params if token is None else {**params, "_meta": {"progressToken": token}}
        )

    async def answer(self, request_id: int, *, within: float = 30) -> Message:
        """The answer to this request, once it has come."""
        with anyio.fail_after(within):
            while (answer := self._answers.get(request_id)) is None:
                await self.hear()
        return answer

    async def hear(self) -> Message:
        """The next message, an answer or not, once it has come."""
        line = await self._stdout.receive_until(b"\n", LONGEST_LINE)
        self.lines.append(line)
        message: Message = json.loads(line)
        if "id" in message:
            self._answers[message["id"]] = message
        return message

    async def hang_up(self) -> None:
        """Close the server's stdin, as a host does that ends."""
        assert self.process.stdin is not None
        await self.process.stdin.aclose()

    async def ending(self) -> int:
        """The exit code, once everything that was still written is read; a server that waits for something fails."""
        with anyio.fail_after(AT_ONCE):
            code = await self.process.wait()
        self.lines += (await rest_of(self._stdout)).splitlines()
        return code

    @property
    def notifications(self) -> list[Message]:
        """The parameters of all progress that was heard."""
        messages: list[Message] = [json.loads(line) for line in self.lines]
        return [each["params"] for each in messages if each.get("method") == "notifications/progress"]


async def rest_of(stream: ByteReceiveStream) -> bytes:
    return b"".join([piece async for piece in stream])


_fork_servers: list[ForkServer] = []


@contextmanager
def forking() -> Generator[None]:
    """Until this ends, our command is forked by one server that has its modules already."""
    try:
        yield
    finally:
        while _fork_servers:
            _fork_servers.pop().close()


def _fork_server() -> ForkServer:
    if not _fork_servers:
        _fork_servers.append(ForkServer())
    return _fork_servers[0]


def _is_forked(command: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether it need not be an interpreter of its own, which reads some variables when it starts."""
    is_ours = tuple(command[:2]) == MODULE
    return is_ours and hasattr(os, "fork") and not any(name.startswith(("PYTHON", "LC_")) for name in environ)


@asynccontextmanager
async def started(
    *command: str,
    environ: Mapping[str, str],
    stdin: bool = True,
    stdout: IO[Any] | None = None,
    stderr: IO[Any] | None = None,
    often: bool = False,
    prelude: str = "",
    alone: bool = False,
) -> AsyncGenerator[Process, None]:
    """`python COMMAND` with this environment: forked if it is `-m flux2_mcp ...`, unless it shall be `alone`.

    It is killed at the end. One that is forked runs the code of `prelude` first; with `often`, it looks at tasks every
    50 ms.
    """
    if not alone and _is_forked(command, environ):
        process: Process = await _fork_server().started(
            command[2:], environ, stdin=stdin, stdout=stdout, stderr=stderr, often=often, prelude=prelude
        )
    else:
        process = await anyio.open_process(
            [sys.executable, *command],
            env=environ,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=stdout or subprocess.PIPE,
            stderr=stderr or subprocess.PIPE,
        )
    async with process:
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()


@asynccontextmanager
async def hosted(
    home: Path,
    base_url: str,
    *,
    era: Era = "legacy",
    command: Sequence[str] = MODULE,
    environ: Mapping[str, str] | None = None,
    often: bool = False,
    prelude: str = "",
    alone: bool = False,
    within: float = 60,
) -> AsyncGenerator[Host, None]:
    """Our server, started as a host would start it, with a home of its own; it is done with `within` these seconds."""
    errors = home / "stderr.txt"
    everything = database_setting({**environment(home, base_url), **(environ or {})})
    with anyio.fail_after(within), errors.open("ab") as stderr:
        async with started(
            *command, environ=everything, stderr=stderr, often=often, prelude=prelude, alone=alone
        ) as process:
            yield await Host.of(process, era, errors)


def environment(home: Path, base_url: str) -> dict[str, str]:
    """What the process may know: nothing of whoever runs the tests but where programs are."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LANG") if name in os.environ}
    return {
        **kept,
        # Hints name the command alone, as for a person who has it in PATH.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), kept.get("PATH", ""))),
        "HOME": str(home),
        "USERPROFILE": str(home),
        "RUNAPI_API_KEY": KEY,
        "RUNAPI_BASE_URL": base_url,
        "FLUX2_DATA_DIR": str(home / "data"),
        "FLUX2_OUTPUT_DIR": str(home / "pictures"),
    }


async def finished(home: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """What `python COMMAND` printed, and its exit code."""
    return await ended(*command, environ=database_setting({**environment(home, ""), **environ}))


async def ended(
    *command: str, environ: Mapping[str, str], given: bytes | None = None, alone: bool = False
) -> subprocess.CompletedProcess[bytes]:
    """The same with this environment alone; it is given this on stdin."""
    said: dict[str, bytes] = {}

    async def read(name: str, stream: ByteReceiveStream | None) -> None:
        assert stream is not None
        said[name] = await rest_of(stream)

    with anyio.fail_after(60):
        async with started(*command, environ=environ, stdin=given is not None, alone=alone) as process:
            async with anyio.create_task_group() as group:
                group.start_soon(read, "stdout", process.stdout)
                group.start_soon(read, "stderr", process.stderr)
                if process.stdin is not None:
                    await process.stdin.send(given or b"")
                    await process.stdin.aclose()
            code = await process.wait()
            return subprocess.CompletedProcess(command, code, said["stdout"], said["stderr"])


@asynccontextmanager
async def served(simulator: Simulator | None = None) -> AsyncGenerator[tuple[str, Simulator], None]:
    """A RunAPI on a free port of this machine: its address, and what lies behind it."""
    runapi = simulator or Simulator(Script(looks_until_done=1, plain_pictures=True))
    async with on_a_port(runapi) as url:
        yield url, runapi


@asynccontextmanager
async def on_a_port(app: Any) -> AsyncGenerator[str, None]:  # noqa: ANN401 an ASGI app of anybody's
    """The address of this app, as long as it is served by this process."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", timeout_graceful_shutdown=0)
    server = uvicorn.Server(config)
    closed = anyio.Event()

    async def serve() -> None:
        try:
            await server.serve()
        finally:
            closed.set()

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        while not server.started:  # noqa: ASYNC110 uvicorn has no event for it
            await anyio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            with anyio.CancelScope(shield=True):
                await closed.wait()
