"""What the tools' arguments are called, mean and accept; each is declared once."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Resolve
from pydantic import Field

from flux2_mcp.app_state import AppState
from flux2_mcp.catalogue import Request
from flux2_mcp.studio import LONGEST_WAIT, MOST_PICTURES, Studio

DEAREST = 10_000
"""US dollars."""

# Free text is a plain `str` with "" for nothing: the SDK would read other strings as JSON, and Flux 2 takes prompts
# that are JSON.
Text = str

# In braces: what `ModelHelp` says about the models of the catalogue.

Prompt = Annotated[Text, Field(description="What it shows, in any language; plain words or JSON.")]
Model = Annotated[Text, Field(description="{models.models}.")]
Ratio = Annotated[Text, Field(description="{models.ratio}.")]
Resolution = Annotated[Text, Field(description="{models.resolution}.")]
Count = Annotated[int, Field(ge=1, le=MOST_PICTURES, description="Different pictures; each is paid for.")]
Safety = Annotated[bool | None, Field(description="{models.safety}.")]
Callback = Annotated[Text, Field(description="URL that RunAPI shall notify too.")]
SaveTo = Annotated[Text, Field(description="Folder or file, instead of the usual folder.")]
Wait = Annotated[float, Field(ge=0, le=LONGEST_WAIT, description="Then its id is handed back; 0: at once.")]
MostCost = Annotated[float | None, Field(ge=0, le=DEAREST, description="Refuse a dearer call.")]
Repeat = Annotated[bool, Field(description="Order anew, even if the same request still runs.")]

Sources = Annotated[
    list[str],
    Field(
        description="1 to {models.most_sources}{models.fewer_sources}: https: URLs, absolute paths, data: URIs, or "
        "flux2://tasks/…/images/… of earlier results."
    ),
]
RemixRatio = Annotated[Text, Field(description="As in generate, or {models.auto}.")]

TaskId = Annotated[Text, Field(description="From an earlier result.")]
Index = Annotated[int, Field(ge=0, description="Which picture of the task, from 0.")]
Edge = Annotated[int, Field(ge=64, le=2048, description="Longest edge in pixels.")]

# What needs no explanation, because generate explains it.
Number = Annotated[int, Field(ge=1, le=MOST_PICTURES)]
Seconds = Annotated[float, Field(ge=0, le=LONGEST_WAIT)]
Dollars = Annotated[float | None, Field(ge=0, le=DEAREST)]

Ctx = Context[AppState]


async def current_studio(ctx: Ctx) -> Studio:
    """The studio of whoever makes this request; for `Resolve`, so that no schema shows it."""
    return await ctx.request_context.lifespan_context.studio()


async def studio_without_key(ctx: Ctx) -> Studio:
    """The same for what needs no key: prices, and what the history knows."""
    return await ctx.request_context.lifespan_context.studio(without_key=True)


TheStudio = Annotated[Studio, Resolve(current_studio)]
"""With a key: for what costs money or reads the account."""
AnyStudio = Annotated[Studio, Resolve(studio_without_key)]
"""With a key where there is one."""


async def request_to_generate(
    prompt: str,
    model: str,
    aspect_ratio: str,
    output_resolution: str,
    enable_safety_checker: bool | None,  # noqa: FBT001 arguments arrive by name
    callback_url: str,
) -> Request:
    """What a call of generate asks RunAPI for."""
    return Request(
        action="text_to_image",
        prompt=prompt,
        model=model,
        aspect_ratio=aspect_ratio,
        output_resolution=output_resolution,
        enable_safety_checker=enable_safety_checker,
        callback_url=callback_url,
    )


async def request_to_remix(
    prompt: str,
    source_image_urls: list[str],
    model: str,
    aspect_ratio: str,
    output_resolution: str,
    enable_safety_checker: bool | None,  # noqa: FBT001 arguments arrive by name
    callback_url: str,
) -> Request:
    """What a call of remix asks RunAPI for: the same, of sources."""
    request = await request_to_generate(
        prompt, model, aspect_ratio, output_resolution, enable_safety_checker, callback_url
    )
    return replace(request, action="remix_image", source_image_urls=tuple(source_image_urls))


ToGenerate = Annotated[Request, Resolve(request_to_generate)]
ToRemix = Annotated[Request, Resolve(request_to_remix)]
