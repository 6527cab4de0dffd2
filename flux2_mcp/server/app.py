"""build_server(): put it together."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from mcp.server.caching import CacheHint
from mcp.server.mcpserver import MCPServer
from mcp.server.request_state import RequestStateSecurity

from flux2_mcp import __version__
from flux2_mcp.app_state import AppState, Environment, app_state
from flux2_mcp.presenters.models import ModelHelp
from flux2_mcp.server import picture_tools, prompts, resources
from flux2_mcp.server.apps import PageTools, gallery_app
from flux2_mcp.server.state import StateHolder
from flux2_mcp.server.strict import StrictServer
from flux2_mcp.server.tasks_extension import Tasks

INSTRUCTIONS = """\
Makes pictures with RunAPI's Flux 2 models. generate makes one from words; remix makes one from 1 to {most} source \
images.
flux2://guide says how to write prompts for Flux 2.
Every picture costs money: flux2://pricing says how much, and every result says what was charged.
A picture takes about 5 to 60 seconds. When a call runs out of time the picture is still being made and paid for: call \
task_status with the id in the result, and do not generate again.
An identical call within 15 minutes of a lost or unfinished one resumes it instead of paying again; repeat=true asks \
for another.
Give the person the file path and the URL of a finished picture. Do not describe a picture that you cannot see.
"""


def build_server(
    environment: Environment,
    *,
    over_stdio: bool = False,
    for_gallery: bool = False,
    state_key: bytes | None = None,
    tasks: Tasks | None = None,
) -> StrictServer:
    """Make a server. Nothing is opened, read or sent before it is needed.

    One `for_gallery` serves the gallery's page in this person's browser, and nobody else.
    With the `state_key`, of 32 bytes, it seals what hosts bring back with their answers; replicas need the same one.
    Without `tasks`, the tools that wait have tickets, and no others.
    """

    @asynccontextmanager
    async def lifespan(_: MCPServer[AppState]) -> AsyncGenerator[AppState, None]:
        async with app_state(environment) as state:
            holder.state = state
            yield state

    known = environment.catalogue
    tools = picture_tools.tools(known, over_stdio=over_stdio)
    page_tools = PageTools(("open", "forget") if for_gallery else ("open",) if over_stdio else ())
    holder = StateHolder()
    tasks = tasks or Tasks()
    server = StrictServer(
        "flux2",
        title="Flux 2 pictures",
        description="Pictures by RunAPI's Flux 2 models, with progress, files and costs.",
        instructions=INSTRUCTIONS.format(most=ModelHelp(known).most_sources),
        website_url="https://github.com/flux2-mcp/flux2-mcp",
        version=__version__,
        tools=list(tools),
        extensions=[gallery_app(), tasks],
        middleware=[page_tools.add_to_list],
        lifespan=lifespan,
        # They stay as they are while the process lives. Which tools there are depends on what the client can show.
        cache_hints={
            "tools/list": CacheHint(ttl_ms=3_600_000, scope="private"),
            "prompts/list": CacheHint(ttl_ms=3_600_000, scope="public"),
        },
        log_level="WARNING",
        # Nothing that happens here is told to subscribers, and their number would be for all callers together.
        subscriptions=False if environment.current_caller else None,
        request_state_security=RequestStateSecurity(keys=[state_key]) if state_key else None,
    )
    server.page_tools = page_tools
    tasks.server = server
    server.tool_names = frozenset(tool.name for tool in tools)
    if environment.current_caller:
        from flux2_mcp.server.admission import Admission

        settings = environment.settings
        server.admission = Admission(settings.max_calls, settings.max_calls_per_caller, environment.current_caller)
    resources.add_resources(server, holder, known)
    prompts.add_prompts(server, known)
    if not over_stdio:
        from flux2_mcp.server.health import add_health_checks

        add_health_checks(server, holder)
    if environment.webhooks:
        from flux2_mcp.server.webhooks import add_webhooks

        add_webhooks(server, holder, environment.webhooks)
    return server
