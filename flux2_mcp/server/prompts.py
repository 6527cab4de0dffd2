"""Common jobs as prompts: what a person picks in their host, and the exact call that their model then makes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template
from typing import Annotated, Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.prompts.base import Message
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, Annotations, Completion, CompletionArgument, InputRequiredResult

from flux2_mcp.app_state import AppState
from flux2_mcp.catalogue import Catalogue, Request
from flux2_mcp.errors import RequestRefused
from flux2_mcp.presenters.models import ModelHelp
from flux2_mcp.runapi.models import Action
from flux2_mcp.server import completions
from flux2_mcp.server.completions import (
    KEEP,
    LENSES,
    LETTERING,
    LIGHTING,
    MOODS,
    PALETTES,
    SETTINGS,
    STYLES,
    About,
    Colors,
    Count,
    Image,
    Keep,
    Lens,
    Lettering,
    Light,
    Model,
    Mood,
    Photo,
    Ratio,
    Reference,
    RemixRatio,
    Setting,
    Style,
    counts,
)
from flux2_mcp.studio import MOST_PICTURES

UNKNOWN_YET = "flux2://tasks/TASK_ID/images/0"


@dataclass(frozen=True)
class Brief:
    """A prompt's text, and what it would have RunAPI asked for."""

    text: str
    requests: Sequence[Request]


def product_shot(
    product: Annotated[str, About('The product, for example "matte black espresso cup".')],
    setting: Setting = SETTINGS[0],
    style: Style = STYLES[0],
    lighting: Light = LIGHTING[0],
    colors: Colors = "",
    aspect_ratio: Ratio = "1:1",
    model: Model = "flux-2-pro",
    count: Count = "1",
) -> Brief:
    """A product in a studio or a setting, described part by part."""
    scene: dict[str, object] = {
        "scene": f"product photograph of {product}",
        "subjects": [{"description": product, "position": "centre, filling two thirds of the frame"}],
        "style": style,
        "color_palette": [each.strip() for each in colors.split(",") if each.strip()],
        "lighting": lighting,
        "background": setting,
        "composition": "clear silhouette, calm space around the product",
        "camera": {"angle": "slightly above eye level", "lens": "85 mm", "depth_of_field": "product sharp throughout"},
    }
    prompt = json.dumps({name: value for name, value in scene.items() if value}, ensure_ascii=False)
    return _generate(
        f"Make a product image with Flux 2: {product}.",
        "The prompt is a JSON object, which Flux 2 reads part by part. To vary it, change one part.",
        "Colours come out best when the hex code stands next to the thing that has it.",
        request=Request(action="text_to_image", prompt=prompt, model=model, aspect_ratio=aspect_ratio),
        count=count,
    )


def poster(
    subject: Annotated[str, About("What the poster shows.")],
    headline: Annotated[str, About("The words of the headline, exactly as they should appear.")],
    small_text: Annotated[str, About("One more line, such as date and place.")] = "",
    lettering: Lettering = LETTERING[0],
    style: Style = "flat vector illustration",
    colors: Colors = PALETTES[0],
    aspect_ratio: Ratio = "2:3",
    model: Model = "flux-2-flex",
    count: Count = "1",
) -> Brief:
    """A poster whose words can be read: lettering in quotes, with its place, kind and colours."""
    lines = [
        f"Poster, {style}: {subject}.",
        f"The headline in the upper third, large, {lettering}, says {_quoted(headline)}.",
        f"At the bottom, small and in the same letters, stands {_quoted(small_text)}." if small_text else "",
        f"Colours: {colors}, with strong contrast between letters and ground." if colors else "",
        "One clear focal point and generous margins. These words are the only lettering.",
    ]
    return _generate(
        f"Make a poster with Flux 2 that says {_quoted(headline)}.",
        "The words stand in quotation marks, because Flux 2 letters those exactly; few words come out best.",
        "flux-2-flex letters best. Compare every letter of the result with the words above before you call it done.",
        request=_words("text_to_image", lines, model=model, aspect_ratio=aspect_ratio),
        count=count,
    )


def portrait(
    person: Annotated[str, About('Who, for example "a violin maker of seventy with a grey beard".')],
    mood: Mood = MOODS[0],
    environment: Annotated[str, About("Where the person is.")] = "a plain, softly lit room",
    style: Style = "documentary photograph",
    lighting: Light = LIGHTING[1],
    lens: Lens = LENSES[0],
    aspect_ratio: Ratio = "3:4",
    model: Model = "flux-2-pro",
    count: Count = "1",
) -> Brief:
    """A portrait with lens, light and mood named, as a photographer would."""
    lines = [
        f"Portrait of {person}, {mood}, in {environment}.",
        f"{_sentence(style)}, {lens}, {lighting}.",
        "Eyes sharp, natural skin with visible texture, background out of focus.",
    ]
    return _generate(
        f"Make a portrait with Flux 2: {person}.",
        "Lens and light steer a portrait more than adjectives do. Flux 2 knows no negative prompt: say what is there.",
        request=_words("text_to_image", lines, model=model, aspect_ratio=aspect_ratio),
        count=count,
    )


def restyle_photo(
    photo: Photo,
    style: Style,
    keep: Keep = KEEP[0],
    aspect_ratio: RemixRatio = "auto",
    model: Model = "flux-2-pro",
) -> Brief:
    """A photo in another style, with everything that matters kept."""
    lines = [
        f"Turn image 1 into this style: {style}.",
        f"Keep {keep} exactly as in image 1.",
        "Change only materials, line, texture and light as the style demands, over the whole picture.",
    ]
    request = _words("remix_image", lines, model=model, aspect_ratio=aspect_ratio, sources=[photo])
    return _brief(
        "Restyle a photo with Flux 2.",
        "What the prompt does not say may change, so it names what stays. It does not describe what the photo shows.",
        calls=[_call("remix", request)],
    )


def combine_references(
    idea: Annotated[
        str,
        About('What to make of them, by number: "The woman of image 1 wears the coat of image 2."'),
    ],
    image_1: Image,
    image_2: Image,
    image_3: Image = "",
    image_4: Image = "",
    aspect_ratio: Ratio = "1:1",
    model: Model = "flux-2-pro",
) -> Brief:
    """Several pictures become one: a person, a garment, a place, a style, each from its own source."""
    sources = [image for image in (image_1, image_2, image_3, image_4) if image]
    lines = [
        idea,
        "Take what is named from each image exactly as it looks there: identity, shape, material and colours.",
        "One light, one perspective and one scale for the whole picture, so that everything belongs together.",
    ]
    request = _words("remix_image", lines, model=model, aspect_ratio=aspect_ratio, sources=sources)
    return _brief(
        f"Combine {len(sources)} pictures into one with Flux 2.",
        "The order of source_image_urls is what image 1, image 2 … in the prompt mean. If the prompt does not say what "
        "to take from which image, ask me before the call.",
        calls=[_call("remix", request)],
    )


def consistent_character(
    character: Annotated[str, About("Who it is: looks, clothes, what is unmistakable.")],
    scenes: Annotated[str, About("The scenes, with semicolons between; one picture each, at most 8.")],
    reference: Reference = "",
    style: Style = "gouache illustration",
    aspect_ratio: Ratio = "4:3",
    model: Model = "flux-2-pro",
) -> Brief:
    """The same character in several scenes, each remixed from one first picture."""
    wanted = [scene.strip() for scene in scenes.split(";") if scene.strip()]
    others = 0 if reference else 1  # the picture that all start from
    if not 1 <= len(wanted) <= MOST_PICTURES - others:
        msg = f"scenes has {len(wanted)} scenes; 1 to {MOST_PICTURES - others} can be made, with semicolons between."
        raise RequestRefused(msg)
    source = reference or UNKNOWN_YET
    remixes = [
        _words(
            "remix_image",
            [
                f"The character of image 1: {scene.rstrip('.')}.",
                "Same face, hair, proportions and clothes as in image 1.",
                f"{_sentence(style)}.",
            ],
            model=model,
            aspect_ratio=aspect_ratio,
            sources=[source],
        )
        for scene in wanted
    ]
    return _brief(
        f"Show one character in {len(wanted)} scenes with Flux 2: {character}.",
        "Every scene starts from the same picture, not from the scene before: small changes would add up.",
        *([] if reference else [f"TASK_ID in {source} stands for the task_id of the first picture."]),
        calls=[
            *([] if reference else [_call("generate", _first_picture(character, style, model))]),
            *(_call("remix", remix) for remix in remixes),
        ],
        estimate=_estimate(remixes[0], len(wanted) + others),
    )


def _first_picture(character: str, style: str, model: str) -> Request:
    lines = [f"{_sentence(style)} of {character}.", "Whole figure, facing the viewer, plain background, even light."]
    return _words("text_to_image", lines, model=model, aspect_ratio="3:4")


PROMPTS: Sequence[tuple[Callable[..., Brief], str]] = (
    (product_shot, "Product image"),
    (poster, "Poster with lettering"),
    (portrait, "Portrait"),
    (restyle_photo, "Restyle a photo"),
    (combine_references, "Combine pictures"),
    (consistent_character, "One character, several scenes"),
)


class CarefulPrompt(Prompt):
    """A prompt that says what is wrong with its arguments; the SDK would call that an internal error."""

    @classmethod
    def of(cls, fn: Callable[..., Brief], known: Catalogue, *, title: str) -> CarefulPrompt:
        """Make the prompt; its description is the function's docstring."""

        def written(**arguments: str) -> str:
            brief = fn(**arguments)
            for request in brief.requests:
                known.check(request)
            return brief.text

        return cls(
            name=fn.__name__,
            title=title,
            description=fn.__doc__,
            arguments=completions.arguments_of(fn, known),
            fn=written,
            context_kwarg=None,
        )

    async def render(
        self, arguments: dict[str, Any] | None, context: Context[Any, Any]
    ) -> list[Message] | InputRequiredResult:
        """Write the prompt. An argument left blank counts as not given: hosts send what a form holds.

        Raises:
            MCPError: With a sentence about the argument that is missing, unknown or impossible.
        """
        given = {name: value for name, value in (arguments or {}).items() if str(value).strip()}
        if problem := self._problem_with(given):
            raise MCPError(INVALID_PARAMS, problem)
        try:
            return await super().render(given, context)
        except ValueError as crash:
            if isinstance(refused := crash.__cause__, RequestRefused):
                raise MCPError(INVALID_PARAMS, refused.message) from refused
            raise

    def _problem_with(self, given: dict[str, Any]) -> str:
        known = {argument.name: argument for argument in self.arguments or []}
        if unknown := [name for name in given if name not in known]:
            return f"{self.name} has no argument {unknown[0][:60]!r}. It takes {', '.join(known)}."
        missing = [argument for argument in known.values() if argument.required and argument.name not in given]
        return " ".join(f"{self.name} needs {argument.name}: {argument.description}" for argument in missing)


@cache
def _prompts(known: Catalogue) -> tuple[CarefulPrompt, ...]:
    return tuple(CarefulPrompt.of(fn, known, title=title) for fn, title in PROMPTS)


def add_prompts(server: MCPServer[AppState], known: Catalogue) -> None:
    """Offer the prompts, and the guide that they follow."""
    for prompt in _prompts(known):
        server.add_prompt(prompt)

    @server.resource(
        "flux2://guide",
        name="guide",
        title="Prompting Flux 2",
        description="How to write prompts for Flux 2: models, structure, JSON, hex colours, lettering, source images.",
        mime_type="text/markdown",
        annotations=Annotations(audience=["assistant", "user"], priority=0.7),
    )
    async def guide() -> str:
        return await anyio.to_thread.run_sync(_guide, known)


async def completion(prompt: str, argument: CompletionArgument, state: AppState) -> Completion | None:
    """What to offer for what a person has typed of an argument."""
    fn = next((fn for fn, _ in PROMPTS if fn.__name__ == prompt), None)
    return await completions.completion(fn, argument.name, argument.value, state) if fn else None


@cache
def _guide(known: Catalogue) -> str:
    text = files("flux2_mcp.server").joinpath("guide.md").read_text(encoding="utf-8")
    return Template(text).substitute(ModelHelp(known).for_the_guide)


def _generate(title: str, *advice: str, request: Request, count: str) -> Brief:
    number = _number(count)
    call = _call("generate", request, {"count": number} if number > 1 else {})
    return _brief(title, *advice, calls=[call], estimate=_estimate(request, number) if number > 1 else None)


def _words(
    action: Action, lines: Iterable[str], *, model: str, aspect_ratio: str, sources: Sequence[str] = ()
) -> Request:
    return Request(
        action=action,
        prompt=" ".join(line for line in lines if line),
        model=model,
        aspect_ratio=aspect_ratio,
        source_image_urls=tuple(sources),
    )


@dataclass(frozen=True)
class _Call:
    tool: str
    arguments: dict[str, object]
    request: Request | None = None
    """What RunAPI has to accept."""

    def __str__(self) -> str:
        return f"{self.tool}:\n\n```json\n{json.dumps(self.arguments, ensure_ascii=False, indent=2)}\n```"


def _call(tool: str, request: Request, more: dict[str, object] | None = None) -> _Call:
    # The short model name and the words as they were given; `check` has only to agree.
    return _Call(tool, request.body | (more or {}), request)


def _estimate(request: Request, count: int) -> _Call:
    asked = {name: value for name, value in request.body.items() if name != "prompt"}
    return _Call("estimate_cost", {**asked, "count": count})


def _brief(title: str, *advice: str, calls: Sequence[_Call], estimate: _Call | None = None) -> Brief:
    """The prompt's text: what is wanted, what to know, and the calls, which come last."""
    parts = [title, "\n".join(f"- {each}" for each in advice)]
    if estimate:
        parts.append(f"Several pictures are made, and each costs. First call {estimate}")
        parts.append("Tell me the cost, and go on only if I agree.")
    parts.append("Use these arguments as they are; ask me only if something is unclear.")
    first, *rest = calls
    parts.append(f"{'Then call' if estimate else 'Call'} {first}")
    parts += [f"Then call {call}" for call in rest]
    return Brief("\n\n".join(parts), [call.request for call in calls if call.request])


def _number(count: str) -> int:
    if (text := count.strip()) in counts():
        return int(text)
    msg = f"count is a number from 1 to {MOST_PICTURES}."
    raise RequestRefused(msg)


def _quoted(words: str) -> str:
    """In the marks that Flux 2 takes for lettering; marks inside would end them."""
    inner = words.strip()
    if len(inner) > 2 and inner[0] in '"“' and inner[-1] in '"”':
        inner = inner[1:-1]
    return '"' + inner.replace('"', "’") + '"'


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]
