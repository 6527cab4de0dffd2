"""Our server as many short-lived processes: python -m tests.paid_once.nursery.

A server spends a second of computing on its imports. The nursery imports once and forks a server for each request, so
that a test may kill and start as many as it wants. What is forked does what `python -m flux2_mcp` does, except that it
looks at tasks every 50 ms.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import repeat
from pathlib import Path
from typing import cast

import anyio
from anyio.abc import Process, SocketStream

from tests.processes import Host, environment

REPOSITORY = Path(__file__).parents[2]
NEEDED = (
    "flux2_mcp.cli.serve",
    "flux2_mcp.history.database",
    "flux2_mcp.images",
    "flux2_mcp.images.previewing",
    "flux2_mcp.runapi.client",
    "flux2_mcp.server.stdio",
    "anyio._backends._asyncio",
    "PIL.PngImagePlugin",
    "PIL.JpegImagePlugin",
    "sqlalchemy.dialects.sqlite",
)


@dataclass
class Server:
    """A process that was forked: what `Host` needs of it."""

    pid: int
    stdin: SocketStream
    returncode: int | None = None

    @property
    def stdout(self) -> SocketStream:
        return self.stdin

    def kill(self) -> None:
        """Kill it, unless it is gone already; its parent collects it at once, so that even its number may be."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    async def wait(self) -> None:
        """Wait until there is no such process."""
        with anyio.fail_after(10):
            while _lives(self.pid):  # noqa: ASYNC110 it is not our child
                await anyio.sleep(0.005)
        self.returncode = -signal.SIGKILL


class Nursery:
    """Where servers come from."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line

    @asynccontextmanager
    async def server(self, home: Path, base_url: str, **environ: str) -> AsyncGenerator[Host, None]:
        """A server that has shaken hands; it is killed at the end."""
        ours, theirs = socket.socketpair()
        errors = home / "stderr.txt"
        with anyio.fail_after(30), errors.open("ab") as stderr, theirs:
            wanted = json.dumps({**environment(home, base_url), **environ}).encode()
            socket.send_fds(self._line, [wanted], [theirs.fileno(), stderr.fileno()])
            process = Server(int(self._line.recv(100)), await SocketStream.from_socket(ours))
            theirs.close()
            try:
                yield await Host.of(cast("Process", process), "legacy", errors)
            finally:
                process.kill()
                try:
                    await process.wait()
                finally:
                    await process.stdin.aclose()


@contextmanager
def nursery() -> Generator[Nursery]:
    """A nursery for the tests of a module."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", "tests.paid_once.nursery"]
        with subprocess.Popen(command, cwd=REPOSITORY, stdin=theirs.fileno()):  # noqa: S603
            theirs.close()
            assert ours.recv(5) == b"ready"
            try:
                yield Nursery(ours)
            finally:
                ours.close()  # the end of the line is the end of the nursery


def _often(*_: object) -> Iterator[float]:
    return repeat(0.05)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _attend(line: socket.socket) -> None:
    # Nobody waits for the dead.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    line.send(b"ready")
    while True:
        wanted, fds, _, _ = socket.recv_fds(line, 65536, 2)
        if not wanted:
            return
        pid = os.fork()
        if pid == 0:
            _serve(json.loads(wanted), *fds)
        for fd in fds:
            os.close(fd)
        line.send(str(pid).encode())


def _serve(environ: dict[str, str], wire: int, stderr: int) -> None:
    from flux2_mcp.cli import main

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # The first of these also takes the nursery's own line away from the child.
    for fd, place in ((wire, 0), (wire, 1), (stderr, 2)):
        os.dup2(fd, place)
    os.close(wire)
    os.close(stderr)
    os.environ.clear()
    os.environ.update(environ)
    try:
        main(["serve"])
    finally:
        os._exit(1)


if __name__ == "__main__":
    # First: others take this as the default of an argument.
    import_module("flux2_mcp.polling").intervals = _often  # pyright: ignore[reportAttributeAccessIssue]
    for name in NEEDED:
        import_module(name)
    _attend(socket.socket(fileno=0))
