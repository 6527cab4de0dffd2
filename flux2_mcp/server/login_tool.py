"""The tool that gets a key; only for a server that one person has started on their own computer."""

from __future__ import annotations

import anyio
from mcp_types import CallToolResult, TextContent, ToolAnnotations

from flux2_mcp.background import meanwhile
from flux2_mcp.errors import LoginFailed
from flux2_mcp.invocation import command
from flux2_mcp.login import Keyring, Login, opened
from flux2_mcp.login import login as new_login
from flux2_mcp.server.arguments import Ctx
from flux2_mcp.server.progress import AT_LEAST_EVERY
from flux2_mcp.server.strict import StrictTool


def login_tool() -> StrictTool:
    """The tool; it replaces a key that was saved before."""
    promises = ToolAnnotations(read_only_hint=False, destructive_hint=True)
    return StrictTool.of(login, title="Log in to RunAPI", annotations=promises)


async def login(ctx: Ctx) -> CallToolResult:
    """Get a RunAPI key when none works: opens the person's browser to allow it, up to 5 minutes; free."""
    environment = ctx.request_context.lifespan_context.environment
    keyring = Keyring(environment.settings, environment.home, environment.transport)
    async with new_login(keyring) as waiting:
        if not await opened(waiting.url, environment.open_browser) and not _shows_progress(ctx):
            msg = "There is no browser that this server could open."
            remedy = f"Ask the person to run `{command('login')}` in a terminal, or to set RUNAPI_API_KEY."
            raise LoginFailed(msg, remedy=remedy)
        async with meanwhile(_tell, ctx, waiting):
            logged_in = await waiting.finished()
    return CallToolResult(content=[TextContent(text=f"{logged_in} It is used from now on; no restart is needed.")])


def _shows_progress(ctx: Ctx) -> bool:
    return "progress_token" in (ctx.request_context.meta or {})


async def _tell(ctx: Ctx, waiting: Login) -> None:
    """Say where to go, again and again: hosts give up on a call that is silent."""
    began = anyio.current_time()
    message = f"Allow the login that shows {waiting.code}: {waiting.url}"
    while True:
        await ctx.report_progress(round(anyio.current_time() - began, 2), message=message)
        await anyio.sleep(AT_LEAST_EVERY)
