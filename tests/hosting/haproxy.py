"""HAProxy as deploy/haproxy.cfg sets it up."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx

from tests.processes import AT_ONCE
from tests.world import NO_CERTIFICATES

HAPROXY = shutil.which("haproxy")
CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "haproxy.cfg"


@asynccontextmanager
async def load_balancer(*replicas: str) -> AsyncGenerator[str, None]:
    """HAProxy in front of two servers, once it has looked at them: its address."""
    addresses = {f"LB_REPLICA_{number}": urlsplit(url).netloc for number, url in enumerate(replicas, 1)}
    with ExitStack() as stack:
        callers, operators = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
        # It takes the sockets over, so that no other program can have their ports.
        environ = {**addresses, "LB_LISTEN": f"fd@{callers.fileno()}", "LB_STATS": f"fd@{operators.fileno()}"}
        process = await anyio.open_process(
            [str(HAPROXY), "-f", str(CONFIG)],
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[callers.fileno(), operators.fileno()],
        )
        async with process:
            try:
                with anyio.fail_after(AT_ONCE):
                    await _have_been_looked_at(operators.getsockname()[1])
                yield f"http://127.0.0.1:{callers.getsockname()[1]}"
            finally:
                process.kill()


async def _have_been_looked_at(port: int) -> None:
    async with httpx.AsyncClient(verify=NO_CERTIFICATES) as http:
        while True:
            shown = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
            checks = [line for line in shown.splitlines() if line.startswith("haproxy_server_check_status{")]
            if sum(line.endswith(" 1") and 'state="INI' not in line for line in checks) == 2:
                return
            await anyio.sleep(0.05)
