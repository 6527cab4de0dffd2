"""What a prompt's arguments mean, and what is offered while a person types one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from inspect import signature
from typing import Annotated, get_type_hints

from mcp.server.mcpserver.prompts.base import PromptArgument
from mcp_types import Completion

from flux2_mcp.app_state import AppState
from flux2_mcp.catalogue import Catalogue
from flux2_mcp.presenters.models import ModelHelp
from flux2_mcp.studio import MOST_PICTURES

MOST_COMPLETIONS = 100
"""The protocol's own limit."""

STYLES = (
    "clean commercial photograph",
    "documentary photograph",
    "cinematic still",
    "analogue film photograph, fine grain",
    "black and white photograph",
    "watercolour on rough paper",
    "oil painting with visible brushwork",
    "gouache illustration",
    "ink drawing with cross-hatching",
    "flat vector illustration",
    "risograph print in two colours",
    "claymation figure set",
    "isometric 3D render",
    "pixel art",
)
LIGHTING = (
    "three softboxes, soft even shadows",
    "soft window light from the side",
    "golden hour, low warm sun",
    "overcast daylight, soft shadows",
    "one hard key light, deep shadows",
    "rim light against a dark background",
    "neon light at night, wet reflections",
    "candlelight",
)
LETTERING = (
    "bold condensed sans serif capitals",
    "geometric sans serif",
    "elegant high-contrast serif",
    "slab serif, letterpress texture",
    "hand-painted brush script",
    "chalk lettering",
    "art deco capitals",
    "stencil letters",
    "neon tube letters",
)
SETTINGS = (
    "seamless white studio background",
    "polished concrete",
    "honed marble slab",
    "raw oak table",
    "linen tablecloth",
    "wet slate",
    "moss and ferns",
    "sand with long shadows",
)
PALETTES = (
    "#0B6E4F, #F2E8CF, #C8553D",
    "#1F4E79, #F4EBD9, #E3B23C",
    "#2B2D42, #EDF2F4, #EF233C",
    "#22223B, #9A8C98, #F2E9E4",
    "#FF6B35, #F7C59F, #004E89",
)
LENSES = ("85 mm, f/1.8", "50 mm, f/2", "35 mm, f/4", "105 mm macro", "24 mm wide angle")
MOODS = ("calm and confident", "thoughtful", "laughing", "determined", "dreamy", "proud")
KEEP = (
    "the people, their faces and poses, and the composition",
    "the composition and all proportions",
    "the building's shape and the perspective",
    "the subject; the background may change",
)


@dataclass(frozen=True)
class About:
    """An argument in one sentence, and what to offer for it; `{models}` in it stands for the models' names."""

    sentence: str
    offers: Callable[[Catalogue], Iterable[str]] = lambda _: ()
    recent_pictures: bool = False
    """Whether to offer the pictures that were made last."""


def _ratios(known: Catalogue) -> tuple[str, ...]:
    return ModelHelp(known).ratios


def _ratios_and_auto(known: Catalogue) -> tuple[str, ...]:
    return ("auto", *_ratios(known))


def _models(known: Catalogue) -> list[str]:
    return [model.name for model in known.models]


def counts() -> list[str]:
    """How many pictures one call may make, as words."""
    return [str(number) for number in range(1, MOST_PICTURES + 1)]


PICTURE = "an https: URL, an absolute path, or flux2://tasks/…/images/… of an earlier result"

Style = Annotated[str, About("Style or medium.", lambda _: STYLES)]
Light = Annotated[str, About("Light.", lambda _: LIGHTING)]
Colors = Annotated[str, About("Colours, best as hex codes, with commas between.", lambda _: PALETTES)]
Setting = Annotated[str, About("What it stands on or in.", lambda _: SETTINGS)]
Lettering = Annotated[str, About("Kind of letters.", lambda _: LETTERING)]
Mood = Annotated[str, About("Expression and mood.", lambda _: MOODS)]
Keep = Annotated[str, About("What must stay as it is.", lambda _: KEEP)]
Lens = Annotated[str, About("Lens and aperture.", lambda _: LENSES)]
Ratio = Annotated[str, About("Aspect ratio.", _ratios)]
RemixRatio = Annotated[str, About("Aspect ratio; auto keeps the source's.", _ratios_and_auto)]
Model = Annotated[str, About("{models}.", _models)]
Count = Annotated[str, About("How many to choose from, 1 to 8; each is paid for.", lambda _: counts())]
Photo = Annotated[str, About(f"The photo: {PICTURE}.", recent_pictures=True)]
Image = Annotated[str, About(f"A picture: {PICTURE}.", recent_pictures=True)]
Reference = Annotated[str, About(f"A picture of the character, if there is one: {PICTURE}.", recent_pictures=True)]


def arguments_of(fn: Callable[..., object], known: Catalogue) -> list[PromptArgument]:
    """What the prompt takes; what has no default is required.

    Read from the signature: the SDK's own way makes two pydantic models of each, which a host would wait for.
    """
    about, models = _about(fn), known.listed("or")
    return [
        PromptArgument(
            name=name,
            description=about[name].sentence.replace("{models}", models),
            required=parameter.default is parameter.empty,
        )
        for name, parameter in signature(fn).parameters.items()
    ]


async def completion(fn: Callable[..., object], argument: str, typed: str, state: AppState) -> Completion | None:
    """What fits what was typed so far: first what begins with it, then what contains it."""
    about = _about(fn).get(argument)
    if about is None:
        return None
    values = await _recent_pictures(state) if about.recent_pictures else about.offers(state.environment.catalogue)
    wanted = typed.strip().lower()
    fitting = [value for value in values if wanted in value.lower()]
    fitting.sort(key=lambda value: not value.lower().startswith(wanted))
    return Completion(values=fitting[:MOST_COMPLETIONS], total=len(fitting), has_more=len(fitting) > MOST_COMPLETIONS)


def _about(fn: Callable[..., object]) -> dict[str, About]:
    hints = get_type_hints(fn, include_extras=True)
    return {name: each for name, hint in hints.items() for each in getattr(hint, "__metadata__", ())}


async def _recent_pictures(state: AppState) -> list[str]:
    page = await state.history.recent(await state.owner(), limit=MOST_COMPLETIONS, states=("completed",))
    return [f"flux2://tasks/{order.handle}/images/0" for order in page.orders]
