"""Our command as many short-lived processes: python -m tests.fork_server.

A process of ours spends a second of computing on its imports and on what it computes once. The fork server does both
and forks for each request, so that a test may start and kill as many as it wants. What is forked does what
`python -m flux2_mcp ARGUMENTS` does, except that its streams are sockets, as Node.js makes them for its children.
There is one fork server for each pytest worker: tests/processes.py.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import pkgutil
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, TypedDict

import anyio
import httpx
from anyio.abc import Process, SocketStream

from flux2_mcp.simulator import Script
from tests.world import world

REPOSITORY = Path(__file__).parents[1]
LARGEST_REQUEST = 65536
NEEDED = (
    "anyio._backends._asyncio",
    "certifi",
    "httpcore._backends.anyio",
    "PIL.BmpImagePlugin",
    "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "PIL.PpmImagePlugin",
    "PIL.WebPImagePlugin",
    "rich.logging",
    "sqlalchemy.dialects.sqlite",
    "uvicorn.lifespan.off",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
)
"""What is imported late, besides our own modules."""


class Wanted(TypedDict):
    arguments: Sequence[str]
    environ: Mapping[str, str]
    folder: str
    often: bool
    prelude: str


@dataclass
class Forked(Process):
    """A process that was forked."""

    number: int
    status: socket.socket
    """The fork server writes the exit code here."""
    into: SocketStream | None
    out: SocketStream | None
    err: SocketStream | None
    code: int | None = None

    @property
    def pid(self) -> int:
        return self.number

    @property
    def stdin(self) -> SocketStream | None:
        return self.into

    @property
    def stdout(self) -> SocketStream | None:
        return self.out

    @property
    def stderr(self) -> SocketStream | None:
        return self.err

    @property
    def returncode(self) -> int | None:
        with suppress(BlockingIOError):
            if self.code is None:
                self.code = int(self.status.recv(16))
        return self.code

    async def wait(self) -> int:
        while (code := self.returncode) is None:
            await anyio.wait_readable(self.status)
        return code

    def send_signal(self, signal: int) -> None:
        """Send it, unless the process is gone: its parent collects it at once, so that even its number is."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.number, signal)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def aclose(self) -> None:
        """Close its streams and wait for its end, or kill it where that is cancelled."""
        async with AsyncExitStack() as stack:
            stack.callback(self.status.close)
            for stream in (self.into, self.out, self.err):
                if stream is not None:
                    stack.push_async_callback(stream.aclose)
            if self.into is not None:
                await self.into.aclose()
            try:
                await self.wait()
            except BaseException:
                self.kill()
                with anyio.CancelScope(shield=True):
                    await self.wait()
                raise


class ForkServer:
    """Where processes come from."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fork_server"],
                cwd=REPOSITORY,
                # The process group of a test is its own: Ctrl-C ends pytest, which ends this.
                start_new_session=True,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
            )
        if self._line.recv(5) != b"ready":
            self.close()
            message = "The fork server did not start: python -m tests.fork_server says why."
            raise RuntimeError(message)

    async def started(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        *,
        stdin: bool = True,
        stdout: IO[Any] | None = None,
        stderr: IO[Any] | None = None,
        often: bool = False,
        prelude: str = "",
    ) -> Forked:
        """A process; it has a stream of ours where it has no file.

        With `often`, it looks at tasks every 50 ms; the code of `prelude` runs in it before anything else.
        """
        folder = os.getcwd()  # noqa: PTH109
        wanted = Wanted(arguments=arguments, environ=environ, folder=folder, often=often, prelude=prelude)
        pairs = {place: socket.socketpair() for place in _streams(stdin=stdin, stdout=stdout, stderr=stderr)}
        status, told = socket.socketpair()
        status.setblocking(False)  # noqa: FBT003 its only argument
        with open(os.devnull, "rb") as nothing:  # noqa: ASYNC230, PTH123 no disk is touched
            given = [pairs[0][1] if stdin else nothing, stdout or pairs[1][1], stderr or pairs[2][1], told]
            socket.send_fds(self._line, [json.dumps(wanted).encode()], [each.fileno() for each in given])
            pid = int(self._line.recv(16))
        for _, theirs in (*pairs.values(), (status, told)):
            theirs.close()
        streams = {place: await SocketStream.from_socket(ours) for place, (ours, _) in pairs.items()}
        return Forked(pid, status, streams.get(0), streams.get(1), streams.get(2))

    def close(self) -> None:
        """End it, and with it whatever it forked."""
        self._line.close()
        self._process.wait()


def _streams(*, stdin: bool, stdout: object, stderr: object) -> list[int]:
    return [place for place, is_stream in enumerate((stdin, stdout is None, stderr is None)) if is_stream]


def _serve_requests(line: socket.socket) -> None:
    children: dict[int, int] = {}
    wake, woken = socket.socketpair()
    for end in (wake, woken):
        end.setblocking(False)  # noqa: FBT003 its only argument
    signal.set_wakeup_fd(woken.fileno())
    signal.signal(signal.SIGCHLD, _only_wake)
    line.send(b"ready")
    while True:
        ready, _, _ = select.select([line, wake], [], [])
        if wake in ready:
            wake.recv(4096)
            _report_the_dead(children)
        if line not in ready:
            continue
        wanted, fds, _, _ = socket.recv_fds(line, LARGEST_REQUEST, 4)
        if not wanted:
            break
        pid = os.fork()
        if pid == 0:
            _run(json.loads(wanted), fds)
        *streams, children[pid] = fds
        for fd in streams:
            os.close(fd)
        line.send(str(pid).encode())
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _only_wake(*_: object) -> None:
    """What a signal is handled with that shall be noticed, and do nothing."""


def _report_the_dead(children: dict[int, int]) -> None:
    for pid, told in list(children.items()):
        ended, how = os.waitpid(pid, os.WNOHANG)
        if ended:
            with suppress(BrokenPipeError):
                os.write(told, str(os.waitstatus_to_exitcode(how)).encode())
            os.close(told)
            del children[pid]


def _run(wanted: Wanted, fds: Sequence[int]) -> None:
    """Be the process that is wanted, and end."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for place in range(3):
        os.dup2(fds[place], place)
    os.closerange(3, max(fds) + 1)
    os.chdir(wanted["folder"])
    os.environ.clear()
    os.environ.update(wanted["environ"])
    time.tzset()
    sys.stdin, sys.stdout, sys.stderr = (
        open(place, mode, encoding=was.encoding, errors=was.errors, closefd=False)  # noqa: SIM115
        for place, mode, was in ((0, "r", sys.stdin), (1, "w", sys.stdout), (2, "w", sys.stderr))
    )
    if wanted["often"]:
        _look_often()
    exec(wanted["prelude"], {})  # noqa: S102 a test wrote it
    logging.root.handlers.clear()  # the one that the picture of below has left
    os._exit(_exit_code_of(wanted["arguments"]))


def _exit_code_of(arguments: Sequence[str]) -> int:
    """What the interpreter would end with; it ends here where the command ends the process itself."""
    ours = import_module("flux2_mcp.__main__")
    sys.argv = [str(ours.__file__), *arguments]
    code: object = 1
    try:
        ours.main()
        code = None
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 as the interpreter does
        traceback.print_exc()
    if isinstance(code, str):
        print(code, file=sys.stderr)  # noqa: T201 as the interpreter does
    with suppress(OSError):
        sys.stdout.flush()
    return code if isinstance(code, int) else int(code is not None)


def _look_often() -> None:
    # Its code, because others have taken the function as the default of an argument.
    intervals = import_module("flux2_mcp.polling").intervals
    intervals.__code__, intervals.__defaults__ = _every_50_ms.__code__, None


def _every_50_ms(*_: object) -> Iterator[float]:
    while True:
        yield 0.05


def _import_all() -> None:
    package = import_module("flux2_mcp")
    for module in pkgutil.walk_packages(package.__path__, "flux2_mcp."):
        import_module(module.name)
    for name in NEEDED:
        import_module(name)


def _read_certificates() -> None:
    """They take 40 ms, a fifth of what a process of ours computes. None of ours is told of others (SSL_CERT_FILE)."""
    ssl.create_default_context = cache(ssl.create_default_context)
    httpx.create_ssl_context(trust_env=False)


def _make_a_picture() -> None:
    """What is computed at its first use is computed by then: schemas, validators, statements."""

    async def make(home: Path) -> None:
        async with world(home, Script(looks_until_done=1, plain_pictures=True)).client() as client:
            await client.call_tool("generate", {"prompt": "a fox"})

    with TemporaryDirectory() as home:
        anyio.run(make, Path(home))
    # A fork has one thread: those that helped here have to be gone.
    while threading.active_count() > 1:
        time.sleep(0.001)


if __name__ == "__main__":
    _import_all()
    _read_certificates()
    _make_a_picture()
    gc.freeze()
    _serve_requests(socket.socket(fileno=0))
