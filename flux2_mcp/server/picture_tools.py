"""The tools that make and show pictures: arguments in, a result out; what happens in between is the studio's.

A tool's signature is its schema. What its arguments come to is resolved from them by name: see `arguments`, `consent`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Annotated

from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver.resolve import Resolve
from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult, ToolAnnotations
from starlette.requests import Request as HttpRequest

from flux2_mcp.budget import Agreement
from flux2_mcp.catalogue import Catalogue, Request
from flux2_mcp.errors import PictureUnavailable
from flux2_mcp.presenters.models import ModelHelp
from flux2_mcp.server import account_tools
from flux2_mcp.server.arguments import (
    Callback,
    Count,
    Ctx,
    Dollars,
    Edge,
    Index,
    Model,
    MostCost,
    Number,
    Prompt,
    Ratio,
    RemixRatio,
    Repeat,
    Resolution,
    Safety,
    SaveTo,
    Seconds,
    Sources,
    TaskId,
    Text,
    TheStudio,
    ToGenerate,
    ToRemix,
    Wait,
)
from flux2_mcp.server.consent import (
    Consent,
    OfferToGenerate,
    OfferToRemix,
    Roots,
    check_consent,
    consent_to_generate,
    consent_to_remix,
    folders,
)
from flux2_mcp.server.hosts import wants_structure
from flux2_mcp.server.login_tool import login_tool
from flux2_mcp.server.progress import progress
from flux2_mcp.server.results import picture_result, result_of
from flux2_mcp.server.strict import StrictTool
from flux2_mcp.settings import USUAL_EDGE
from flux2_mcp.studio import DEFAULT_WAIT, Job, Studio


async def generate(
    ctx: Ctx,
    studio: TheStudio,
    request: ToGenerate,
    offer: OfferToGenerate,
    consent: Annotated[ElicitationResult[Consent], Resolve(consent_to_generate)],
    prompt: Prompt,
    model: Model = "",
    aspect_ratio: Ratio = "",
    output_resolution: Resolution = "",
    count: Count = 1,
    enable_safety_checker: Safety = None,
    callback_url: Callback = "",
    save_to: SaveTo = "",
    wait_seconds: Wait = DEFAULT_WAIT,
    max_cost_usd: MostCost = None,
    repeat: Repeat = False,  # noqa: FBT002 arguments arrive by name
) -> CallToolResult:
    """Make a picture from words. Costs money (flux2://pricing), takes 5 to 60 s. Returns preview, file, URL, cost; or,
    when time runs out, the task id to go on with.
    """  # noqa: D205 one paragraph, written for a model
    check_consent(consent)
    return await _made(
        ctx,
        studio,
        request,
        count,
        wait_seconds,
        repeat=repeat,
        most_usd=max_cost_usd,
        agreed=offer.agreement,
        save_to=save_to,
    )


async def remix(
    ctx: Ctx,
    studio: TheStudio,
    request: ToRemix,
    listed: Roots,
    offer: OfferToRemix,
    consent: Annotated[ElicitationResult[Consent], Resolve(consent_to_remix)],
    prompt: Text,
    source_image_urls: Sources,
    model: Text = "",
    aspect_ratio: RemixRatio = "",
    output_resolution: Text = "",
    count: Number = 1,
    enable_safety_checker: bool | None = None,  # noqa: FBT001
    callback_url: Text = "",
    save_to: Text = "",
    wait_seconds: Seconds = DEFAULT_WAIT,
    max_cost_usd: Dollars = None,
    repeat: bool = False,  # noqa: FBT001, FBT002 arguments arrive by name
) -> CallToolResult:
    """Make a picture out of others: edit, restyle, combine. Cost, other arguments, result: as in generate."""
    check_consent(consent)
    return await _made(
        ctx,
        studio,
        request,
        count,
        wait_seconds,
        repeat=repeat,
        most_usd=max_cost_usd,
        save_to=save_to,
        agreed=offer.agreement,
        client_roots=folders(listed),
    )


async def task_status(
    ctx: Ctx, studio: TheStudio, task_id: TaskId, wait_seconds: Seconds = DEFAULT_WAIT
) -> CallToolResult:
    """Wait for a picture ordered before, here or elsewhere with the same key; free. Returns it as generate."""
    async with progress(ctx, studio) as report:
        jobs = await studio.status(task_id.strip(), wait=wait_seconds, report=report)
        return await _result(ctx, studio, jobs)


async def view_image(
    studio: TheStudio, task_id: TaskId, index: Index = 0, max_edge: Edge = USUAL_EDGE
) -> CallToolResult:
    """Show a finished picture again, for you to look at; free."""
    from flux2_mcp.images import previews

    picture = await studio.picture(task_id.strip(), index)
    shown = await previews([picture], edge=max_edge)
    if not shown:
        msg = "This picture cannot be shown: its pixels cannot be converted."
        raise PictureUnavailable(msg, remedy="Give the person its file and URL, which recent_tasks lists.")
    return picture_result(task_id.strip(), index, picture, shown[0])


async def _made(
    ctx: Ctx,
    studio: Studio,
    request: Request,
    count: int,
    wait: float,
    *,
    repeat: bool,
    most_usd: float | None,
    agreed: Agreement | None,
    save_to: str,
    client_roots: Sequence[str] = (),
) -> CallToolResult:
    async with progress(ctx, studio) as report:
        jobs = await studio.make(
            request,
            count=count,
            wait=wait,
            repeat=repeat,
            max_cost_usd=most_usd,
            agreed=agreed,
            save_to=save_to or None,
            client_roots=client_roots,
            report=report,
        )
        return await _result(ctx, studio, jobs)


async def _result(ctx: Ctx, studio: Studio, jobs: Sequence[Job]) -> CallToolResult:
    from flux2_mcp.images import previews

    settings = ctx.request_context.lifespan_context.environment.settings
    pictures = [image.picture for job in jobs for image in job.images if image.picture]
    edge = settings.preview_edge
    shown = [] if edge is None else await previews(pictures, edge=edge)
    structured = wants_structure(ctx, settings.result)
    result = result_of(
        jobs,
        shown,
        known=studio.catalogue,
        structured=structured,
        out_of_sight=any(image.path and studio.destinations.hides(image.path) for job in jobs for image in job.images),
        warning=studio.history.degraded,
    )
    if not await _is_gone(ctx):
        studio.hand_over(jobs)
    return result


async def _is_gone(ctx: Ctx) -> bool:
    """Whether the client hung up. Over HTTP in the legacy era, nobody cancels its call then."""
    request = ctx.request_context.request
    return isinstance(request, HttpRequest) and await request.is_disconnected()


@cache
def tools(known: Catalogue, *, over_stdio: bool) -> tuple[Tool, ...]:
    """All tools, in the order in which they are listed. Only over stdio is the caller's browser on this computer."""
    spends = ToolAnnotations(read_only_hint=False, destructive_hint=False)
    looks = ToolAnnotations(read_only_hint=True)
    made = (
        StrictTool.of(generate, title="Make a picture", annotations=spends),
        StrictTool.of(remix, title="Remix pictures", annotations=spends),
        StrictTool.of(task_status, title="Look at a picture's task", annotations=looks),
        StrictTool.of(view_image, title="View a picture", annotations=looks),
        StrictTool.of(account_tools.recent_tasks, title="Recent pictures", annotations=looks),
        StrictTool.of(account_tools.estimate_cost, title="What it would cost", annotations=looks),
        *([login_tool()] if over_stdio else []),
    )
    models = ModelHelp(known)
    return tuple(tool.model_copy(update={"parameters": models.filled(tool.parameters)}) for tool in made)
