"""What can be read: prices, models, tasks and their pictures."""

from __future__ import annotations

import json
import re

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import (
    Annotations,
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    ResourceTemplateReference,
)

from flux2_mcp.app_state import AppState
from flux2_mcp.catalogue import TOOLS, Catalogue, Prices
from flux2_mcp.errors import NoSuchTask
from flux2_mcp.presenters.account import entries, money
from flux2_mcp.presenters.results import facts_of
from flux2_mcp.server import prompts
from flux2_mcp.server.arguments import current_studio, studio_without_key
from flux2_mcp.server.completions import MOST_COMPLETIONS
from flux2_mcp.server.state import StateHolder
from flux2_mcp.text import sendable

INDEX = re.compile(r"[0-9]{1,40}")


def add_resources(server: MCPServer[AppState], holder: StateHolder, known: Catalogue) -> None:
    """Offer what can be read."""
    for_models = Annotations(audience=["assistant", "user"], priority=0.6)

    @server.resource(
        "flux2://pricing",
        name="pricing",
        title="Prices",
        description="What one picture costs in US dollars, by model and resolution, and the date of these prices.",
        mime_type="application/json",
        annotations=for_models,
    )
    async def pricing() -> str:
        prices = await (await holder.running.prices()).current()
        return json.dumps(price_facts(known, prices), indent=1)

    @server.resource(
        "flux2://models",
        name="models",
        title="Models",
        description="What each model accepts: aspect ratios, resolutions, number of source images.",
        mime_type="application/json",
        annotations=for_models,
    )
    async def models() -> str:
        return json.dumps(model_facts(known), indent=1)

    @server.resource(
        "flux2://account",
        name="account",
        title="Account",
        description="RunAPI balance, what was spent today, and what the limits leave, in US dollars.",
        mime_type="application/json",
    )
    async def account() -> str:
        studio = await holder.running.studio(without_key=True)
        return money(await studio.account()).model_dump_json(indent=1)

    @server.resource(
        "flux2://tasks",
        name="tasks",
        title="Recent pictures",
        description="The last 20 pictures that were asked for, newest first.",
        mime_type="application/json",
    )
    async def tasks() -> str:
        studio = await holder.running.studio(without_key=True)
        return (await entries(studio)).model_dump_json(indent=1, exclude_none=True)

    @server.resource(
        "flux2://tasks/{task_id}",
        name="task",
        title="One task",
        description="How a task is doing, what it cost, where its pictures are.",
        mime_type="application/json",
    )
    async def task(task_id: str, ctx: Context[AppState]) -> str:
        studio = await current_studio(ctx)
        return json.dumps(sendable(facts_of([await studio.peek(task_id)])), indent=1)

    @server.resource(
        "flux2://tasks/{task_id}/images/{index}",
        name="picture",
        title="One picture",
        description="A finished picture as RunAPI made it, byte for byte; index counts from 0.",
        mime_type="image/png",
    )
    async def picture(task_id: str, index: str, ctx: Context[AppState]) -> bytes:
        studio = await studio_without_key(ctx)
        return (await studio.picture(task_id, _number(index))).data

    @server.completion()
    async def complete(
        ref: PromptReference | ResourceTemplateReference, argument: CompletionArgument, _: CompletionContext | None
    ) -> Completion | None:
        if isinstance(ref, PromptReference):
            return await prompts.completion(ref.name, argument, holder.running)
        if argument.name == "index":
            return Completion(values=["0"])
        state = holder.running
        page = await state.history.recent(await state.owner(), limit=MOST_COMPLETIONS)
        ids = [order.handle for order in page.orders]
        return Completion(values=[id for id in ids if id.startswith(argument.value)])


def _number(index: str) -> int:
    # Declared as a number, the SDK would take anything else for a crash of ours.
    if not INDEX.fullmatch(index):
        msg = f"{index[:40]!r} is not the number of a picture. Pictures are counted from 0."
        raise NoSuchTask(msg)
    return int(index)


def price_facts(known: Catalogue, prices: Prices) -> dict[str, object]:
    """Prices per picture in dollars; null where none is published."""
    models = {
        slug: {
            each: cents / 100 if (cents := prices.cents.get(slug, {}).get(each)) is not None else None
            for each in model.resolutions
        }
        for model in known.models
        for slug in model.slugs.values()
    }
    return {
        "currency": "USD",
        "per": "picture",
        "as_of": prices.as_of,
        "source": "RunAPI's price list"
        if prices.source == "RunAPI"
        else "built into this server; RunAPI did not answer",
        "models": models,
        "notes": [
            "null: no price is published; RunAPI states the cost in the result.",
            "Failed tasks are not charged. Looking at a task is free.",
        ],
    }


def model_facts(known: Catalogue) -> dict[str, object]:
    """What each model accepts, for generate and for remix."""
    return {
        model.name: {
            "title": model.title,
            "about": model.about,
            "output_resolution": model.resolutions,
            "aspect_ratio": {TOOLS[action]: model.ratios(action) for action in model.slugs},
            "aspect_ratio_required": model.ratio_required,
            "source_images": {"least": 1, "most": model.most_sources},
            "enable_safety_checker": model.enable_safety_checker,
            "full_names": list(model.slugs.values()),
        }
        for model in known.models
    }
