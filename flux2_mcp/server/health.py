"""What a load balancer asks: /healthz, whether the process lives; /readyz, whether it can do its work."""

from __future__ import annotations

from http import HTTPStatus

import anyio
from mcp.server.mcpserver import MCPServer
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from flux2_mcp.app_state import AppState
from flux2_mcp.errors import Flux2Error
from flux2_mcp.server.state import StateHolder

PATIENCE = 2.0
"""Seconds that RunAPI's price list and the history get to answer."""


def add_health_checks(server: MCPServer[AppState], holder: StateHolder) -> None:
    """Answer at /healthz and /readyz; they are for everybody, and tell nothing of anybody."""

    @server.custom_route("/healthz", methods=["GET"], include_in_schema=False)
    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    @server.custom_route("/readyz", methods=["GET"], include_in_schema=False)
    async def readyz(_: Request) -> Response:
        state = holder.running
        history, runapi = await _history(state), await _runapi(state)
        status = HTTPStatus.OK if history == runapi == "ok" else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse({"history": history, "runapi": runapi}, status)


async def _runapi(state: AppState) -> str:
    """Whether RunAPI has ever answered: a server that cannot reach it is set up wrongly.

    Later failures are told in the results. Here they would take all servers from their load balancer at once.
    """
    prices = await state.prices()
    if not prices.has_answered:
        with anyio.move_on_after(PATIENCE):
            # In the background: it may take longer than this, and must not begin anew each time.
            await state.background.run("first prices", prices.current, matters=False)
    return "ok" if prices.has_answered else "not reached yet"


async def _history(state: AppState) -> str:
    try:
        with anyio.fail_after(PATIENCE):
            await state.history.deliveries("")
    except TimeoutError:
        return "no answer"
    except Flux2Error:
        return "cannot be used"  # the log and the results of calls say why
    return "ok"
