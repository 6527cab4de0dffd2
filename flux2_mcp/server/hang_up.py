"""What becomes of calls in flight when their host hangs up, and when this server has to end."""

from __future__ import annotations

import signal
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import anyio
from mcp.server.mcpserver.exceptions import ToolError
from starlette.requests import Request as HttpRequest

from flux2_mcp.app_state import AppState
from flux2_mcp.errors import Flux2Error
from flux2_mcp.server.arguments import Ctx
from flux2_mcp.server.starts import ENDING

TIME_TO_ANSWER = 0.5
"""Seconds in which a call can say how far it has come."""
STOPPED = Flux2Error(
    ENDING,
    charge="What was ordered goes on at RunAPI, and is paid for once.",
    remedy=(
        "Once the server is back, find it with recent_tasks and go on with task_status. "
        "Do not order again, and not with repeat=true, before you have looked."
    ),
)


def ending_signals() -> Sequence[signal.Signals]:
    """The signals that end a server after it has answered; SIGHUP is one, unless nohup or a service has it ignored."""
    usual = [signal.SIGTERM, signal.SIGINT]
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    return usual if hang_up is None or signal.getsignal(hang_up) is signal.SIG_IGN else [*usual, hang_up]


class CallsInFlight:
    """The calls of one server. They can be ended from outside; each still gets an answer then.

    Over stdio the end of stdin is the end of the host, and in the modern era over HTTP the SDK cancels a call whose
    client is gone. What was ordered goes on in either case: `background`.
    """

    def __init__(self) -> None:
        self._calls: dict[anyio.CancelScope, AppState | None] = {}

    @property
    def are_any(self) -> bool:
        """Whether a call is carried out now."""
        return bool(self._calls)

    @contextmanager
    def one(self, state: AppState | None) -> Generator[None]:
        """While a call is carried out.

        Raises:
            ToolError: It was ended, and could not say how far it had come.
        """
        with anyio.CancelScope() as call:
            self._calls[call] = state
            try:
                yield
            finally:
                del self._calls[call]
        if call.cancelled_caught:
            raise ToolError(str(STOPPED))

    async def end(self, *, within: float = 0.0) -> None:
        """Wait for them for so many seconds; then have those that are left answer with what they have.

        Calls that cannot do that in time are told that the server is shutting down.
        """
        with anyio.move_on_after(within):
            await self._all_answered()
        states = [state for state in self._calls.values() if state]
        for state in states:
            state.background.end_patience()
        with anyio.move_on_after(TIME_TO_ANSWER):
            await self._all_answered()
            for state in states:
                # What is on its way to RunAPI may still learn what becomes of it.
                await state.background.all_done()
        for call in self._calls:
            call.cancel()

    async def _all_answered(self) -> None:
        while self._calls:  # noqa: ASYNC110 the last one is not known beforehand
            await anyio.sleep(0.05)


async def has_hung_up(ctx: Ctx) -> bool:
    """Whether the client is gone. Over HTTP in the legacy era, nobody cancels its call then."""
    request = ctx.request_context.request
    return isinstance(request, HttpRequest) and await request.is_disconnected()
