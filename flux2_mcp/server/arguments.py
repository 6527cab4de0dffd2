"""What the tools' arguments are called, mean and accept; each is declared once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Resolve
from pydantic import Field

from flux2_mcp.app_state import AppState
from flux2_mcp.catalogue import Request
from flux2_mcp.runapi.models import Action
from flux2_mcp.server.sdk import Arguments
from flux2_mcp.studio import DEFAULT_WAIT, LONGEST_WAIT, MOST_PICTURES, Studio

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
Callback = Annotated[Text, Field(description="URL that RunAPI notifies too.")]
SaveTo = Annotated[Text, Field(description="Folder or file, instead of the usual folder.")]
Wait = Annotated[float, Field(ge=0, le=LONGEST_WAIT, description="Then the call returns its id; 0: at once.")]
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


class ToGenerate(Arguments):
    """What generate is asked for."""

    action: ClassVar[Action] = "text_to_image"
    source_image_urls: ClassVar[Sequence[str]] = ()

    prompt: Prompt
    model: Model = ""
    aspect_ratio: Ratio = ""
    output_resolution: Resolution = ""
    count: Count = 1
    enable_safety_checker: Safety = None
    callback_url: Callback = ""
    save_to: SaveTo = ""
    wait_seconds: Wait = DEFAULT_WAIT
    max_cost_usd: MostCost = None
    repeat: Repeat = False


class _Explained(Arguments):
    """The same, with sources, where generate has explained what it means."""

    prompt: Text
    source_image_urls: list[str]
    model: Text = ""
    aspect_ratio: Text = ""
    output_resolution: Text = ""
    count: Number = 1
    enable_safety_checker: bool | None = None
    callback_url: Text = ""
    save_to: Text = ""
    wait_seconds: Seconds = DEFAULT_WAIT
    max_cost_usd: Dollars = None
    repeat: bool = False


class ToRemix(_Explained):
    """What remix is asked for."""

    action: ClassVar[Action] = "remix_image"

    source_image_urls: Sources
    aspect_ratio: RemixRatio = ""


class ToEstimate(_Explained):
    """What either would cost; it takes whatever they take, so that a model can send the same arguments."""

    prompt: Text = ""
    source_image_urls: list[str] = Field(default_factory=list)

    @property
    def action(self) -> Action:
        return "remix_image" if self.source_image_urls else "text_to_image"


Ask = ToGenerate | ToRemix


def request_of(ask: Ask | ToEstimate) -> Request:
    """The request to RunAPI, not checked yet."""
    return Request(
        action=ask.action,
        prompt=ask.prompt,
        model=ask.model,
        aspect_ratio=ask.aspect_ratio,
        output_resolution=ask.output_resolution,
        source_image_urls=tuple(ask.source_image_urls),
        enable_safety_checker=ask.enable_safety_checker,
        callback_url=ask.callback_url,
    )


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
