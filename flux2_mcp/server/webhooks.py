"""Where RunAPI says that a task has ended."""

from __future__ import annotations

from http import HTTPStatus

from mcp.server.mcpserver import MCPServer
from starlette.requests import Request
from starlette.responses import Response

from flux2_mcp.app_state import AppState
from flux2_mcp.server.state import StateHolder
from flux2_mcp.webhooks import PATH, Webhooks


def add_webhooks(server: MCPServer[AppState], holder: StateHolder, webhooks: Webhooks) -> None:
    """Take webhooks, and tell other servers. Their bodies are not read: what they say is not believed anyway."""

    @server.custom_route(f"{PATH}/{{name}}", methods=["POST"], include_in_schema=False)
    async def arrive(request: Request) -> Response:
        name: str = request.path_params["name"]
        if not webhooks.arrived(name):
            return Response(status_code=HTTPStatus.NOT_FOUND)
        if broadcast := holder.running.broadcast:
            broadcast.tell(name)
        return Response(status_code=HTTPStatus.NO_CONTENT)
