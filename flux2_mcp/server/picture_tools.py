"""The tools that make and show pictures: arguments in, a result out; what happens in between is the studio's.

Each call goes through `ask`, its checked arguments (see `arguments`); `plan`, what they come to and for how much; and
`consent`, the person's, where they have to be asked about that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial

from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult, ToolAnnotations

from flux2_mcp import telemetry
from flux2_mcp.catalogue import Catalogue
from flux2_mcp.errors import PictureUnavailable
from flux2_mcp.presenters.models import ModelHelp
from flux2_mcp.server import account_tools
from flux2_mcp.server.apps import SHOWN, about_tasks
from flux2_mcp.server.arguments import (
    AnyStudio,
    Ask,
    Ctx,
    Edge,
    Index,
    Seconds,
    TaskId,
    Text,
    TheStudio,
    ToGenerate,
    ToRemix,
)
from flux2_mcp.server.consent import Consent, TheConsent, plan_after
from flux2_mcp.server.hang_up import has_hung_up
from flux2_mcp.server.hosts import wants_structure
from flux2_mcp.server.login_tool import login_tool
from flux2_mcp.server.plan import TheLine, ThePlan
from flux2_mcp.server.progress import ProgressLine
from flux2_mcp.server.results import picture_result, result_of
from flux2_mcp.server.starts import check_may_order, until_sent
from flux2_mcp.server.strict import StrictTool
from flux2_mcp.server.tickets import ticket_of
from flux2_mcp.settings import USUAL_EDGE
from flux2_mcp.studio import DEFAULT_WAIT, Job, Plan, Studio


async def generate(
    ctx: Ctx, studio: TheStudio, ask: ToGenerate, line: TheLine, plan: ThePlan, consent: TheConsent
) -> CallToolResult:
    """Make a picture from words. Costs money (flux2://pricing), takes 5 to 60 s. Returns preview, file, URL, cost; or,
    when time runs out, the task id to go on with.
    """  # noqa: D205 one paragraph, written for a model
    return await _made(ctx, studio, ask, line, plan, consent)


async def remix(
    ctx: Ctx, studio: TheStudio, ask: ToRemix, line: TheLine, plan: ThePlan, consent: TheConsent
) -> CallToolResult:
    """Make a picture out of others: edit, restyle, combine. Cost, other arguments, result: as in generate."""
    return await _made(ctx, studio, ask, line, plan, consent)


async def task_status(
    ctx: Ctx, studio: TheStudio, task_id: TaskId, wait_seconds: Seconds = DEFAULT_WAIT
) -> CallToolResult:
    """Wait for a picture ordered before, here or elsewhere with the same key; free. Returns it as generate does."""
    async with ProgressLine(ctx, studio).moving() as report:
        jobs = await studio.status(task_id.strip(), wait=wait_seconds, report=report)
        return await _result(ctx, studio, jobs)


async def view_image(studio: AnyStudio, task_id: Text, index: Index = 0, max_edge: Edge = USUAL_EDGE) -> CallToolResult:
    """Show a finished picture again, for you to look at; free."""
    from flux2_mcp.images import previews

    picture = await studio.picture(task_id.strip(), index)
    shown = await previews([picture], edge=max_edge)
    if not shown:
        msg = "This picture cannot be shown: its pixels cannot be converted."
        raise PictureUnavailable(msg, remedy="Give the person its file and URL, which recent_tasks lists.")
    return picture_result(task_id.strip(), index, picture, shown[0])


async def _made(
    ctx: Ctx, studio: Studio, ask: Ask, line: ProgressLine, plan: Plan, consent: ElicitationResult[Consent]
) -> CallToolResult:
    agreed = studio.budget.agreed(plan.new)
    plan = await plan_after(ctx, studio, plan, consent)
    check_may_order()
    async with line.moving() as report:
        jobs = await studio.make(plan, max_cost_usd=ask.max_cost_usd, agreed=agreed, report=until_sent(report))
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
        warning=studio.history.degraded if studio.is_here else "",
    )
    for job in jobs:
        telemetry.PICTURES.add(1, {telemetry.MODEL: job.order.model, telemetry.OUTCOME: _outcome(job)})
    if ticket := ticket_of(ctx):
        ticket.delivered = partial(studio.note_delivery, jobs)
    elif not await has_hung_up(ctx):
        studio.note_delivery(jobs)
    return result.model_copy(update={"meta": about_tasks(ctx, jobs)})


def _outcome(job: Job) -> str:
    if job.is_made:
        return "made" if job.has_pictures else "not_fetched"
    if job.is_lost:
        return "failed"
    return "in_doubt" if job.error else "unfinished"


@cache
def tools(known: Catalogue, *, over_stdio: bool) -> tuple[Tool, ...]:
    """All tools, in the order in which they are listed. Only over stdio is the caller's browser on this computer."""
    spends = ToolAnnotations(read_only_hint=False, destructive_hint=False)
    looks = ToolAnnotations(read_only_hint=True)
    made = (
        StrictTool.of(generate, title="Make a picture", annotations=spends, meta=SHOWN),
        StrictTool.of(remix, title="Remix pictures", annotations=spends, meta=SHOWN),
        StrictTool.of(task_status, title="Look at a picture's task", annotations=looks, meta=SHOWN),
        StrictTool.of(view_image, title="View a picture", annotations=looks),
        StrictTool.of(account_tools.recent_tasks, title="Recent pictures", annotations=looks, meta=SHOWN),
        StrictTool.of(account_tools.estimate_cost, title="What it would cost", annotations=looks),
        *([login_tool()] if over_stdio else []),
    )
    models = ModelHelp(known)
    return tuple(tool.model_copy(update={"parameters": models.filled(tool.parameters)}) for tool in made)
