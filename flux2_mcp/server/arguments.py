"""What the tools' arguments are called, mean and accept; each is declared once."""

from __future__ import annotations

from typing import Annotated

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Resolve
from pydantic import BeforeValidator, Field

from flux2_mcp.server.wiring import Wiring, current_studio, visiting_studio
from flux2_mcp.studio import LONGEST_WAIT, MOST_PICTURES, Studio

DEFAULT_EDGE = 1024
"""Pixels: enough to judge a picture by, and small enough for every host."""


def _nothing_as_empty(value: object) -> object:
    return "" if value is None else value


# Free text stays a plain `str` with "" for nothing: the SDK would read other strings as JSON, and Flux 2 takes prompts
# that are JSON. Some hosts send null for what they leave out.
Text = Annotated[str, BeforeValidator(_nothing_as_empty)]

Prompt = Annotated[
    Text, Field(description="What the picture shows, in any language: 3 to 5000 characters. Plain or JSON.")
]
OptionalPrompt = Annotated[Text, Field(description="The prompt; it does not change the price.")]
Model = Annotated[
    Text,
    Field(description="flux-2-pro (fast, default), flux-2-flex (finer) or flux-2-max (best; 1k, no published price)."),
]
Ratio = Annotated[Text, Field(description="1:1 (default), 4:3, 3:4, 16:9, 9:16, 3:2 or 2:3.")]
RemixRatio = Annotated[
    Text,
    Field(description="1:1, 4:3, 3:4, 16:9, 9:16, 3:2, 2:3 or auto (the source's). flux-2-max needs one, not auto."),
]
Resolution = Annotated[Text, Field(description="1k (default) or 2k, which costs more. flux-2-max: 1k.")]
Sources = Annotated[
    list[str],
    Field(
        description="1 to 8 images to start from (flux-2-max: 1): https: URLs, absolute file paths, data: URIs, or "
        "flux2://tasks/…/images/… of earlier results."
    ),
]
OptionalSources = Annotated[
    list[str] | None, Field(description="For what a remix would cost; leave out for generate. Not read.")
]
Count = Annotated[int, Field(ge=1, le=MOST_PICTURES, description="How many different pictures; each is paid for.")]
Safety = Annotated[bool | None, Field(description="RunAPI's content check, on or off; not for flux-2-max.")]
Callback = Annotated[Text, Field(description="URL that RunAPI shall also notify when the picture is done.")]
Wait = Annotated[
    float,
    Field(ge=0, le=LONGEST_WAIT, description="Seconds to wait for the picture before handing back its id; 0: at once."),
]
Repeat = Annotated[bool, Field(description="Order anew even if the same request is still running or undelivered.")]
TaskId = Annotated[Text, Field(description="The id from an earlier result.")]
Index = Annotated[int, Field(ge=0, description="Which picture of the task, from 0.")]
Edge = Annotated[int, Field(ge=64, le=2048, description="Longest edge in pixels; larger shows more detail.")]
SaveTo = Annotated[Text, Field(description="Folder or file to save to, instead of the usual folder.")]
AnyAction = Annotated[Text, Field(description="text_to_image or remix_image; only speeds up finding a foreign task.")]

MostCost = Annotated[
    float | None, Field(ge=0, description="Refuse if the call would cost more US dollars than this; can only tighten.")
]

TheStudio = Annotated[Studio, Resolve(current_studio)]
"""With a key: for what costs money or reads the account."""
AnyStudio = Annotated[Studio, Resolve(visiting_studio)]
"""With a key where there is one."""
Ctx = Context[Wiring]
