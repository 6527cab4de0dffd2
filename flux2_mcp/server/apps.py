"""The gallery as an MCP App: its page as a resource, and what of it each client is told.

A client without apps is not told of the tools that only the page calls. One with apps hands them to the page, and not
to its model. They are made when the first such client asks for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import anyio
from mcp.server.apps import APP_MIME_TYPE, Apps, client_supports_apps
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver.resources import FunctionResource
from mcp_types import Tool as ListedTool

from flux2_mcp.server.arguments import Ctx
from flux2_mcp.server.schemas import Json
from flux2_mcp.studio import Job

if TYPE_CHECKING:
    from flux2_mcp.presenters.gallery import Ability
    from flux2_mcp.server.strict import StrictTool

PREFIX: Final = "gallery_"
"""How the names of the page's tools begin."""
URI = "ui://flux2/gallery.html"
SHOWN: Json = {"ui": {"resourceUri": URI}}
"""What a tool carries whose results the page shows."""
FOR_OLDER_HOSTS: Json = {"ui/resourceUri": URI}
"""The same, as the first hosts with apps read it."""
OF_PAGE: Json = {"ui": {"resourceUri": URI, "visibility": ["app"]}}
"""What a tool carries that only the page calls."""
SESSION_WITH_APPS: Final = "with-apps-"
"""How the ids of sessions begin whose clients have apps, where no server keeps sessions; see `legacy_apps`."""
TASK_IDS = "flux2-mcp/task_ids"
"""Which tasks a result is about, in the part of it that is for the page alone."""


def gallery_app() -> Apps:
    """The page as a resource; it is read when a host asks for it."""
    app = Apps()
    resource = FunctionResource.from_function(
        _page,
        uri=URI,
        name="gallery",
        title="Gallery",
        description="Pictures as pictures: the result of a call, what was made before, and what it cost.",
        mime_type=APP_MIME_TYPE,
        meta={"ui": {"permissions": {"clipboardWrite": {}}, "prefersBorder": True}},
    )
    app.add_resource(resource)
    return app


def _page() -> str:
    from flux2_mcp.gallery import page

    return page()


class PageTools:
    """The tools that only the page calls, of a server that can do this with a picture besides showing it."""

    def __init__(self, can: Sequence[Ability]) -> None:
        self._can = can
        self._made: Mapping[str, StrictTool] | None = None

    async def made(self) -> Mapping[str, StrictTool]:
        """All of them, by name."""
        if self._made is None:
            # In a thread: the event loop would stand still meanwhile.
            self._made = await anyio.to_thread.run_sync(self._make)
        return self._made

    def _make(self) -> Mapping[str, StrictTool]:
        from flux2_mcp.server.gallery_tools import gallery_tools

        return {tool.name: tool for tool in gallery_tools(self._can)}

    async def add_to_list(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Middleware: tell clients with apps, and no others, of these tools too."""
        result = await call_next(ctx)
        if ctx.method != "tools/list" or not isinstance(result, dict) or not _has_apps(ctx):
            return result
        tools = [_for_all_hosts(tool) for tool in result["tools"]]
        return {**result, "tools": [*tools, *map(_listed, (await self.made()).values())]}


def about_tasks(ctx: Ctx, jobs: Sequence[Job]) -> Json | None:
    """What the page has to know of a result; None where there is no page."""
    return {TASK_IDS: [job.id for job in jobs]} if _has_apps(ctx.request_context) else None


def _has_apps(ctx: ServerRequestContext[Any, Any]) -> bool:
    if ctx.session.client_capabilities is None and ctx.request is not None:
        return ctx.request.headers.get("mcp-session-id", "").startswith(SESSION_WITH_APPS)
    return client_supports_apps(ctx)


def _for_all_hosts(tool: Mapping[str, Any]) -> Json:
    return {**tool, "_meta": SHOWN | FOR_OLDER_HOSTS} if tool.get("_meta") == SHOWN else dict(tool)


def _listed(tool: StrictTool) -> Json:
    shown = ListedTool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.parameters,
        output_schema=tool.output_schema,
        annotations=tool.annotations,
        _meta=tool.meta,
    )
    return shown.model_dump(mode="json", by_alias=True, exclude_none=True)
