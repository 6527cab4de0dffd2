"""Serve one host over stdin and stdout, and end cleanly."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable

import anyio
from mcp.server.stdio import stdio_server

from flux2_mcp.server.invalid_messages import Inbox
from flux2_mcp.server.sdk import low_level_server
from flux2_mcp.server.strict import StrictServer

LAST_RESORT = 5.0
"""Seconds after a signal when the process ends whatever is still open."""

TIME_TO_WRITE = 0.1
"""Seconds for the last answers to reach stdout."""


async def serve_stdio(server: StrictServer, *, before_exit: Callable[[], None] = lambda: None) -> None:
    """Serve until stdin ends, or SIGTERM or SIGINT comes; calls in flight are answered first.

    A signal ends the process from in here; `before_exit` is what is left to do then.
    """

    async def answer_all() -> None:
        if server.calls.are_any:
            await server.calls.end()
            await anyio.sleep(TIME_TO_WRITE)

    low = low_level_server(server)
    signals: list[int] = []
    async with anyio.create_task_group() as group:
        group.start_soon(_stop_on_signal, answer_all, group.cancel_scope, signals)
        async with stdio_server() as (read, write):
            try:
                await low.run(Inbox(read, write, at_end=answer_all), write, low.create_initialization_options())
            finally:
                if signals:
                    # stdio_server() would wait for a thread that sits in readline() and cannot be cancelled.
                    before_exit()
                    os._exit(128 + signals[0])
        group.cancel_scope.cancel()


async def _stop_on_signal(
    answer_all: Callable[[], Awaitable[None]], scope: anyio.CancelScope, signals: list[int]
) -> None:
    if sys.platform == "win32":
        return  # a host on Windows ends us by closing stdin
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        async for number in received:
            signals.append(number)
            timer = threading.Timer(LAST_RESORT, os._exit, (128 + number,))
            timer.daemon = True
            timer.start()
            await answer_all()
            scope.cancel()
            return
