"""Serve one host over stdin and stdout, and end cleanly."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NoReturn

import anyio
from mcp.server.stdio import stdio_server

from flux2_mcp.errors import NOBODY_READS, nobody_reads
from flux2_mcp.server.hang_up import ending_signals
from flux2_mcp.server.invalid_messages import Inbox
from flux2_mcp.server.sdk import low_level_server
from flux2_mcp.server.strict import StrictServer

logger = logging.getLogger(__name__)

LAST_RESORT = 5.0
"""Seconds after a signal when the process ends whatever is still open."""

TIME_TO_WRITE = 0.1
"""Seconds for the last answers to reach stdout."""
GOES_ON = "What was ordered goes on at RunAPI, and is paid for once: recent_tasks lists it, and task_status brings it."
NO_READER = f"The host does not read stdout any more, so no answer reaches it. {GOES_ON}"
FAILED = f"The connection to the host failed (%s), so this server ends. {GOES_ON}"
NO_HOST = (
    "Stdin was closed before a host said anything. Over stdio a host starts this command and speaks with it: "
    "keep stdin open (docker run -i), or serve over HTTP with --http."
)


async def serve_stdio(server: StrictServer, *, before_exit: Callable[[], None] = lambda: None) -> None:
    """Serve until stdin ends, nobody reads stdout, or a signal comes; calls in flight are answered first.

    All but the first end the process from in here; `before_exit` is what is left to do then.
    """

    async def answer_all() -> None:
        if server.calls.are_any:
            await server.end_calls()
            await anyio.sleep(TIME_TO_WRITE)

    def end(code: int) -> NoReturn:
        # stdio_server() would wait for a thread that sits in readline() and cannot be cancelled.
        before_exit()
        os._exit(code)

    low = low_level_server(server)
    signals: list[int] = []
    before, helpers = asyncio.all_tasks(), set[asyncio.Task[Any]]()
    is_typed = sys.stdin.isatty()  # the SDK puts /dev/null there
    async with anyio.create_task_group() as group:
        group.start_soon(_stop_on_signal, answer_all, group.cancel_scope, signals)
        try:
            async with stdio_server() as (read, write):
                helpers |= asyncio.all_tasks() - before
                inbox = Inbox(read, write, at_end=answer_all)
                try:
                    await low.run(inbox, write, low.create_initialization_options())
                except anyio.get_cancelled_exc_class():
                    if not signals and (failure := _failure(helpers)):
                        end(_told(failure))
                    # Where no signal is received, as on Windows, asyncio makes a cancellation of Ctrl-C.
                    end(128 + (signals or [signal.SIGINT])[0])
                if signals:
                    end(128 + signals[0])
                if not inbox.was_used and not is_typed:
                    logger.warning(NO_HOST)
        except BaseExceptionGroup:
            # Stdin ended first, and the last answers could not be written.
            if failure := _failure(helpers):
                end(_told(failure))
            raise
        group.cancel_scope.cancel()


def _failure(helpers: Iterable[asyncio.Task[object]]) -> BaseException | None:
    """What ended one of the tasks that read stdin, write stdout and wait for signals."""
    ended = (each for each in helpers if each.done() and not each.cancelled())
    return next((error for each in ended if (error := each.exception())), None)


def _told(failure: BaseException) -> int:
    """Say what happened, and give the exit code."""
    if nobody_reads(failure):
        logger.warning(NO_READER)
        return NOBODY_READS
    reason = type(failure).__name__
    if isinstance(failure, OSError) and failure.strerror:
        reason += f": {failure.strerror}"
    logger.error(FAILED, reason, exc_info=failure)
    return 1


async def _stop_on_signal(
    answer_all: Callable[[], Awaitable[None]], scope: anyio.CancelScope, signals: list[int]
) -> None:
    if sys.platform == "win32":
        return  # a host on Windows ends us by closing stdin
    with anyio.open_signal_receiver(*ending_signals()) as received:
        async for number in received:
            signals.append(number)
            timer = threading.Timer(LAST_RESORT, os._exit, (128 + number,))
            timer.daemon = True
            timer.start()
            await answer_all()
            scope.cancel()
            return
