"""Models, what each accepts, what it costs.

All of that is data in `catalogue.json`, one entry per model, from RunAPI's published contract of 2026 and its price
list; current prices come from `price_schedules`, and stay in force while RunAPI is out of reach.
"""

from __future__ import annotations

import difflib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Literal
from urllib.parse import urlsplit

import anyio
from pydantic import BaseModel, ConfigDict

from flux2_mcp.errors import RequestRefused, RunApiError, Wording
from flux2_mcp.invocation import command
from flux2_mcp.runapi.models import Action, PriceSchedules, is_amount

logger = logging.getLogger(__name__)

FRESH_FOR = 3600.0
"""Seconds between two looks at RunAPI's price list."""
AGAIN_AFTER = 60.0
"""Seconds until the next look, when RunAPI named no price of ours."""
PATIENCE_FOR_PRICES = 4.0
"""Seconds that somebody may wait for current prices before the known ones do."""
USUAL_RESOLUTION = "1k"
"""What RunAPI makes when it is told none."""
TOOLS: Mapping[Action, str] = {"text_to_image": "generate", "remix_image": "remix"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """One picture that somebody wants; after `Catalogue.check`, exactly what RunAPI will be asked for.

    Before that, an empty text stands for what was not said.
    """

    action: Action
    prompt: str
    model: str = ""
    aspect_ratio: str | None = None
    output_resolution: str | None = None
    source_image_urls: tuple[str, ...] = ()
    enable_safety_checker: bool | None = None
    callback_url: str | None = None
    service: str = ""
    """RunAPI's service; `Catalogue.check` sets it from the model's entry."""

    @property
    def resolution(self) -> str:
        return self.output_resolution or USUAL_RESOLUTION

    @property
    def body(self) -> dict[str, object]:
        """The JSON of the create request; what was not given is not sent."""
        fields: dict[str, object] = {
            "model": self.model,
            "prompt": self.prompt,
            "aspect_ratio": self.aspect_ratio,
            "output_resolution": self.output_resolution,
            "source_image_urls": list(self.source_image_urls) or None,
            "enable_safety_checker": self.enable_safety_checker,
            "callback_url": self.callback_url,
        }
        return {name: value for name, value in fields.items() if value is not None}


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Price(_Entry):
    """What was published when this version was made."""

    as_of: str
    cents: Mapping[str, int]
    """US cents per image by resolution."""


class Model(_Entry):
    """What one model is called, accepts and costs."""

    name: str
    """The one that we show; RunAPI's own, which differ by action, are the slugs."""
    aliases: tuple[str, ...] = ()
    title: str
    about: str
    in_short: str
    """For the description of an argument, where every character costs each session."""
    service: str
    """RunAPI's service that it belongs to."""
    slugs: Mapping[Action, str]
    prompt_characters: tuple[int, int]
    aspect_ratios: tuple[str, ...]
    auto_ratio: bool
    """Whether it can keep a source's ratio."""
    ratio_required: bool
    """Whether RunAPI has no ratio of its own for it."""
    resolutions: tuple[str, ...]
    most_sources: int
    enable_safety_checker: bool
    """Whether it takes this argument."""
    price: Price | None
    """None where no price is published."""

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that it may be called."""
        return (self.name, *self.aliases, *self.slugs.values())

    @property
    def cents(self) -> Mapping[str, int]:
        """What was published, as in `price`; empty where nothing is."""
        return self.price.cents if self.price else {}

    def ratios(self, action: Action) -> tuple[str, ...]:
        """The aspect ratios that it makes."""
        return self.aspect_ratios + (("auto",) if self.auto_ratio and action == "remix_image" else ())


class _Data(_Entry):
    default: str
    models: tuple[Model, ...]


@dataclass(frozen=True)
class Prices:
    """US cents per image, by full model name and resolution."""

    as_of: str
    source: Literal["RunAPI", "built in"]
    cents: Mapping[str, Mapping[str, int]]

    def of(self, request: Request) -> int | None:
        """What a checked request costs; None when no price is known."""
        return self.cents.get(request.model, {}).get(request.resolution)


class Catalogue:
    """All models.

    Raises:
        ValueError: The data contradicts itself.
    """

    def __init__(self, data: str) -> None:
        found = _Data.model_validate(json.loads(data))
        self.models = found.models
        self._named = {name: model for model in self.models for name in model.names}
        if len(self._named) < sum(len(model.names) for model in self.models):
            msg = "Two models of the catalogue have a name in common, or one has a name twice."
            raise ValueError(msg)
        if found.default not in self._named:
            msg = f"The catalogue's default, {found.default}, is none of its models."
            raise ValueError(msg)
        self.default = self._named[found.default]
        """The model of a request that names none."""

    def named(self, name: str) -> Model | None:
        """The model with this very name, full or short."""
        return self._named.get(name)

    def title_of(self, name: str) -> str:
        """A model in words; its own name where it is none of ours any more, and "Flux 2" where nobody says."""
        model = self.named(name)
        return model.title if model else name or "Flux 2"

    def listed(self, last: str = "and") -> str:
        """The names of all models as words."""
        return listed((model.name for model in self.models), last)

    def check(self, request: Request) -> Request:
        """The same request, complete, with RunAPI's full model name.

        Raises:
            RequestRefused: RunAPI would refuse it; the message names what would be right.
        """
        model = self._model(request)
        _check_prompt(request.prompt, model)
        ratio, resolution = _ratio(request, model), _resolution(request, model)
        if request.enable_safety_checker is not None and not model.enable_safety_checker:
            others = [each.name for each in self.models if each.enable_safety_checker]
            instead = f", or use {others[0]}" if others else ""
            rest = f"neither on nor off. Leave it out{instead}."
            raise RequestRefused(
                Wording(
                    f"{model.name} has no enable_safety_checker, {rest}",
                    f"{model.name} has no --safety-checker, {rest}",
                )
            )
        _check_sources(request, model)
        _check_callback(request.callback_url)
        return replace(
            request,
            service=model.service,
            model=model.slugs[request.action],
            aspect_ratio=ratio,
            output_resolution=resolution,
            callback_url=request.callback_url or None,
        )

    def built_in_prices(self) -> Prices:
        """The published prices that came with this version."""
        # One date for all: the oldest, so that no price is called newer than it is.
        as_of = min((model.price.as_of for model in self.models if model.price), default="")
        cents = {slug: model.cents for model in self.models for slug in model.slugs.values()}
        return Prices(as_of=as_of, source="built in", cents=cents)

    def prices_from(self, schedules: PriceSchedules) -> Prices:
        """What RunAPI's price list says about our models; other models and pricing schemes are left out."""
        cents: dict[str, Mapping[str, int]] = {}
        for schedule in schedules.price_schedules:
            offered = schedule.pricing_status in {"", "available"} and schedule.currency == "USD"
            slug = schedule.model or ""
            model = self.named(slug)
            if model is None or slug not in model.slugs.values() or not offered:
                continue
            config = schedule.billing_config
            overrides: Mapping[str, int] = config.overrides if config and config.key == "output_resolution" else {}
            known = {each: overrides.get(each, schedule.unit_price_cents) for each in model.resolutions}
            cents[slug] = {each: price for each, price in known.items() if price is not None and is_amount(price)}
        return Prices(as_of=schedules.as_of, source="RunAPI", cents=cents)

    def _model(self, request: Request) -> Model:
        asked = request.model.strip().lower()
        model = self.named(asked) if asked else self.default
        if model is None:
            msg = f"There is no model {_quoted(request.model)}.{self._hint(asked)} There are {self.listed()}."
            raise RequestRefused(msg)
        if request.action not in model.slugs:
            able = [each.name for each in self.models if request.action in each.slugs]
            instead = f" Use {listed(able, 'or')}." if able else ""
            msg = f"{model.name} cannot {TOOLS[request.action]}.{instead}"
            raise RequestRefused(msg)
        for action, slug in model.slugs.items():
            if asked == slug and action != request.action:
                words, rest = f"{asked} belongs to {TOOLS[action]}.", f"or use model {model.name} here."
                raise RequestRefused(
                    Wording(f"{words} Call {TOOLS[action]}, {rest}", f"{words} Run `{command(TOOLS[action])}`, {rest}")
                )
        return model

    def _hint(self, asked: str) -> str:
        close = difflib.get_close_matches(_short(asked), self._named, n=1)
        return f" Did you mean {self._named[close[0]].name}?" if close else ""


@cache
def catalogue() -> Catalogue:
    """The catalogue that came with this version."""
    return Catalogue(files("flux2_mcp").joinpath("catalogue.json").read_text(encoding="utf-8"))


class PriceList:
    """Current prices, asked for at most hourly; the last known ones when RunAPI does not answer."""

    def __init__(
        self,
        known: Catalogue,
        fetch: Callable[[str | None], Awaitable[PriceSchedules | None]],
        *,
        clock: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE_FOR_PRICES,
    ) -> None:
        self._patience = patience
        self._catalogue = known
        self._fetch = fetch
        self._clock = clock
        self._prices = known.built_in_prices()
        self._etag: str | None = None
        self._ask_again_at: float | None = None
        self._lock = anyio.Lock()
        self.has_answered = False
        """Whether RunAPI has ever answered, with prices or with an error."""

    @property
    def known(self) -> Prices:
        """The prices as far as they are known without asking."""
        return self._prices

    @property
    def priced(self) -> list[str]:
        """The models whose price is known."""
        return [
            model.name
            for model in self._catalogue.models
            if any(self._prices.cents.get(slug) for slug in model.slugs.values())
        ]

    @property
    def are_fresh(self) -> bool:
        """Whether there is no need to ask now."""
        return self._ask_again_at is not None and self._clock() < self._ask_again_at

    async def current(self) -> Prices:
        """The prices to use now. Never fails: prices of a known date are better than none."""
        async with self._lock:
            if not self.are_fresh:
                # Set only after the answer: if this call is cancelled, the next one asks.
                self._ask_again_at = self._clock() + (FRESH_FOR if await self._refresh() else AGAIN_AFTER)
        return self._prices

    async def _refresh(self) -> bool:
        """Ask RunAPI; whether it named prices of ours, or confirmed those that are known."""
        try:
            with anyio.fail_after(self._patience):
                schedules = await self._fetch(self._etag)
        except (RunApiError, TimeoutError) as error:
            self.has_answered |= isinstance(error, RunApiError) and error.status is not None
            logger.info("Prices stay those of %s: %s", self._prices.as_of, type(error).__name__)
            return False
        self.has_answered = True
        if schedules is not None:
            prices = self._catalogue.prices_from(schedules)
            if not prices.cents:
                return False
            self._prices, self._etag = prices, schedules.etag
        return True


def listed(words: Iterable[str], last: str = "and") -> str:
    """Words as people list them: "a, b and c"."""
    *front, final = words
    return f"{', '.join(front)} {last} {final}" if front else final


def _check_prompt(prompt: str, model: Model) -> None:
    least, most = model.prompt_characters
    if len(prompt.strip()) < least:
        msg = f"The prompt is too short: Flux 2 needs {least} to {most} characters that say what the picture shows."
        raise RequestRefused(msg)
    if len(prompt) > most:
        msg = f"The prompt has {len(prompt)} characters; Flux 2 takes at most {most}."
        raise RequestRefused(msg)


def _ratio(request: Request, model: Model) -> str | None:
    ratios = model.ratios(request.action)
    asked = request.aspect_ratio and request.aspect_ratio.strip().lower()
    if asked and asked not in ratios:
        msg = f"{model.name} cannot make {_quoted(asked)} with {TOOLS[request.action]}. It can make {listed(ratios)}."
        raise RequestRefused(msg)
    if asked or not model.ratio_required:
        return asked or None
    if request.action == "text_to_image":
        return ratios[0]
    rest = f"to remix, as it cannot keep the source's. It can make {listed(ratios)}."
    raise RequestRefused(
        Wording(f"{model.name} needs an aspect_ratio {rest}", f"{model.name} needs an --aspect-ratio {rest}")
    )


def _resolution(request: Request, model: Model) -> str | None:
    asked = request.output_resolution and request.output_resolution.strip().lower()
    if asked and asked not in model.resolutions:
        msg = f"{model.name} cannot make {_short(asked)}. It can make {listed(model.resolutions, 'or')}."
        raise RequestRefused(msg)
    # RunAPI applies its own default; only a model that cannot make that has to be told.
    return asked or (None if USUAL_RESOLUTION in model.resolutions else model.resolutions[0])


def _check_sources(request: Request, model: Model) -> None:
    count = len(request.source_image_urls)
    if request.action != "remix_image":
        if count:
            msg = "generate makes pictures from words alone. Call remix to use source images."
            raise RequestRefused(msg)
        return
    if not 1 <= count <= model.most_sources:
        amount = "exactly 1 source image" if model.most_sources == 1 else f"1 to {model.most_sources} source images"
        msg = f"{model.name} remixes {amount}, not {count}."
        raise RequestRefused(msg)


def _check_callback(url: str | None) -> None:
    if not url:
        return
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        rest = "is not an http(s) address that RunAPI could call."
        raise RequestRefused(Wording(f"callback_url {rest}", f"--callback-url {rest}"))


def _quoted(text: str) -> str:
    return repr(_short(text))


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"
