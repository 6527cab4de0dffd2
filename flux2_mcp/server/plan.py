"""What a call of generate or remix comes to, made once for each request of the host.

What a host is asked for on the way (folders here, consent in `consent`) has to be resolved: in the modern era the host
sends the whole call again with its answers.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import anyio
from mcp.server.mcpserver.resolve import ListRoots, Resolve
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import ListRootsRequest, ListRootsResult
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import ValidationError

from flux2_mcp import telemetry
from flux2_mcp.history import Arrival
from flux2_mcp.server.arguments import Ask, Ctx, TheStudio, request_of
from flux2_mcp.server.progress import ProgressLine
from flux2_mcp.server.starts import begin
from flux2_mcp.studio import Plan

PATIENCE_FOR_ROOTS = 3.0
"""Seconds that a host gets to list its folders."""


async def arrival_of(studio: TheStudio) -> Arrival:
    """When this request came, among the deliveries; resolved before the host is asked for anything."""
    return await studio.arrival()


async def client_roots(ctx: Ctx, studio: TheStudio, ask: Ask) -> ListRootsResult | ListRoots:
    """The folders that the host offers; asked for only when a source lies outside those that are known."""
    capabilities = ctx.client_capabilities
    if not (capabilities and capabilities.roots and studio.reads_elsewhere(ask.source_image_urls)):
        return ListRootsResult(roots=[])
    if is_answered_meanwhile(ctx):
        return await _listed(ctx)
    return ListRoots()


def is_answered_meanwhile(ctx: Ctx) -> bool:
    """Whether a host is asked in the middle of its call; in the modern era it sends the call again instead."""
    return ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS


async def _listed(ctx: Ctx) -> ListRootsResult:
    """Ask as the SDK would, whose way ends the call with a protocol error when the host answers with one."""
    about = ServerMessageMetadata(related_request_id=ctx.request_id)
    with suppress(MCPError, ValidationError), anyio.move_on_after(PATIENCE_FOR_ROOTS):
        return await ctx.session.send_request(ListRootsRequest(), ListRootsResult, metadata=about)
    # A host that has no folders to offer; the refusal of the source says what helps.
    return ListRootsResult(roots=[])


async def progress_line(ctx: Ctx, studio: TheStudio) -> ProgressLine:
    """The one line of this call, from its plan to its pictures."""
    return ProgressLine(ctx, studio)


TheLine = Annotated[ProgressLine, Resolve(progress_line)]


async def plan_of(
    studio: TheStudio,
    ask: Ask,
    arrival: Annotated[Arrival, Resolve(arrival_of)],
    listed: Annotated[ListRootsResult, Resolve(client_roots)],
    line: TheLine,
) -> Plan:
    """What this call would order now; worked out when it is its turn to begin, which is part of its wait."""
    began = anyio.current_time()
    async with line.moving():
        await begin()
        with telemetry.span("plan"):
            return await studio.plan(
                request_of(ask),
                count=ask.count,
                wait=ask.wait_seconds,
                repeat=ask.repeat,
                save_to=ask.save_to or None,
                client_roots=[str(root.uri) for root in listed.roots],
                arrival=arrival,
                began=began,
            )


ThePlan = Annotated[Plan, Resolve(plan_of)]
