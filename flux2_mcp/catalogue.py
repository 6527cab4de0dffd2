"""Models, what each accepts, what it costs.

The contract and the built-in prices are data in `catalogue.json`, from RunAPI's published contract of 2026 and its
price list; current prices come from `price_schedules`, and stay in force while RunAPI is out of reach.
"""

from __future__ import annotations

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

from flux2_mcp.errors import RequestRefused, RunApiError
from flux2_mcp.runapi.models import Action, PriceSchedules, is_amount

logger = logging.getLogger(__name__)

TierName = Literal["pro", "flex", "max"]
FRESH_FOR = 3600.0
"""Seconds between two looks at RunAPI's price list."""
AGAIN_AFTER = 60.0
"""Seconds until the next look, when RunAPI named no price of ours."""
PATIENCE_FOR_PRICES = 4.0
"""Seconds that somebody may wait for current prices before the known ones do."""

_SUFFIX: Mapping[Action, str] = {"text_to_image": "text-to-image", "remix_image": "remix-image"}
_TOOL: Mapping[Action, str] = {"text_to_image": "generate", "remix_image": "remix"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """One picture that somebody wants; after `Catalogue.check`, exactly what RunAPI will be asked for.

    Before that, an empty text stands for what was not said.
    """

    action: Action
    prompt: str
    model: str = "flux-2-pro"
    aspect_ratio: str | None = None
    output_resolution: str | None = None
    source_image_urls: tuple[str, ...] = ()
    enable_safety_checker: bool | None = None
    callback_url: str | None = None

    @property
    def resolution(self) -> str:
        """RunAPI's own default is 1k."""
        return self.output_resolution or "1k"

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


class Tier(BaseModel):
    """What one of the three models accepts and costs."""

    model_config = ConfigDict(frozen=True)

    title: str
    about: str
    resolutions: tuple[str, ...]
    ratio_required: bool
    auto_ratio: bool
    most_sources: int
    safety_switch: bool
    cents: Mapping[str, int]
    """US cents per image by resolution; empty where no price is published."""


class _Data(BaseModel):
    priced_on: str
    tiers: Mapping[TierName, Tier]
    aspect_ratios: tuple[str, ...]
    prompt_characters: tuple[int, int]


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
    """The six models: three tiers, each to make a picture from words and to remix pictures."""

    def __init__(self, data: str) -> None:
        self._data = _Data.model_validate(json.loads(data))

    @property
    def tiers(self) -> Mapping[TierName, Tier]:
        return self._data.tiers

    @property
    def slugs(self) -> list[str]:
        """RunAPI's full names."""
        return [_slug(name, action) for name in self.tiers for action in _SUFFIX]

    def tier_of(self, model: str) -> Tier:
        """The tier of a full or short model name that was checked before."""
        return next(tier for name, tier in self.tiers.items() if model.startswith(f"flux-2-{name}"))

    def ratios(self, tier: Tier, action: Action) -> tuple[str, ...]:
        """The aspect ratios that this tier makes."""
        return self._data.aspect_ratios + (("auto",) if tier.auto_ratio and action == "remix_image" else ())

    def check(self, request: Request) -> Request:
        """The same request, complete, with RunAPI's full model name.

        Raises:
            RequestRefused: RunAPI would refuse it; the message names what would be right.
        """
        name = self._tier_name(request)
        tier = self.tiers[name]
        self._check_prompt(request.prompt)
        ratio = self._ratio(request, name)
        resolution = request.output_resolution and request.output_resolution.strip().lower()
        if resolution and resolution not in tier.resolutions:
            msg = f"flux-2-{name} cannot make {_short(resolution)}. It can make {_or(tier.resolutions)}."
            raise RequestRefused(msg)
        if request.enable_safety_checker is not None and not tier.safety_switch:
            msg = f"flux-2-{name} has no enable_safety_checker, neither on nor off. Leave it out, or use flux-2-pro."
            raise RequestRefused(msg)
        _check_sources(request, name, tier)
        _check_callback(request.callback_url)
        return replace(
            request,
            model=_slug(name, request.action),
            aspect_ratio=ratio,
            output_resolution=resolution or None,
            callback_url=request.callback_url or None,
        )

    def built_in_prices(self) -> Prices:
        """The published prices that came with this version."""
        cents = {_slug(name, action): tier.cents for name, tier in self.tiers.items() for action in _SUFFIX}
        return Prices(as_of=self._data.priced_on, source="built in", cents=cents)

    def prices_from(self, schedules: PriceSchedules) -> Prices:
        """What RunAPI's price list says about our models; other models and pricing schemes are left out."""
        cents: dict[str, Mapping[str, int]] = {}
        for schedule in schedules.price_schedules:
            offered = schedule.pricing_status in {"", "available"} and schedule.currency == "USD"
            if schedule.model not in self.slugs or not offered:
                continue
            config = schedule.billing_config
            overrides: Mapping[str, int] = config.overrides if config and config.key == "output_resolution" else {}
            resolutions = self.tier_of(schedule.model).resolutions
            known = {each: overrides.get(each, schedule.unit_price_cents) for each in resolutions}
            cents[schedule.model] = {
                each: price for each, price in known.items() if price is not None and is_amount(price)
            }
        return Prices(as_of=schedules.as_of, source="RunAPI", cents=cents)

    def _tier_name(self, request: Request) -> TierName:
        asked = request.model.strip().lower()
        for name in self.tiers:
            if asked in {name, f"flux-2-{name}", _slug(name, request.action)}:
                return name
            for action, tool in _TOOL.items():
                if asked == _slug(name, action):
                    msg = f"{asked} belongs to {tool}. Call {tool}, or use model flux-2-{name} here."
                    raise RequestRefused(msg)
        msg = f"There is no model {_quoted(request.model)}. There are {_and(f'flux-2-{name}' for name in self.tiers)}."
        raise RequestRefused(msg)

    def _check_prompt(self, prompt: str) -> None:
        least, most = self._data.prompt_characters
        if len(prompt.strip()) < least:
            msg = f"The prompt is too short: Flux 2 needs {least} to {most} characters that say what the picture shows."
            raise RequestRefused(msg)
        if len(prompt) > most:
            msg = f"The prompt has {len(prompt)} characters; Flux 2 takes at most {most}."
            raise RequestRefused(msg)

    def _ratio(self, request: Request, name: TierName) -> str | None:
        tier = self.tiers[name]
        ratios = self.ratios(tier, request.action)
        asked = request.aspect_ratio and request.aspect_ratio.strip().lower()
        if asked and asked not in ratios:
            msg = (
                f"flux-2-{name} cannot make {_quoted(asked)} with {_TOOL[request.action]}. It can make {_and(ratios)}."
            )
            raise RequestRefused(msg)
        if asked or not tier.ratio_required:
            return asked or None
        if request.action == "text_to_image":
            return "1:1"
        msg = (
            f"flux-2-{name} needs an aspect_ratio to remix, as it cannot keep the source's. It can make {_and(ratios)}."
        )
        raise RequestRefused(msg)


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
        self._named_at: float | None = None
        self._ask_again_at: float | None = None
        self._lock = anyio.Lock()

    @property
    def known(self) -> Prices:
        """The prices as far as they are known without asking."""
        return self._prices

    @property
    def is_current(self) -> bool:
        """Whether RunAPI has named or confirmed these prices within the last hour."""
        return self._named_at is not None and self._clock() - self._named_at < FRESH_FOR

    async def current(self) -> Prices:
        """The prices to reckon with now. Never fails: prices of a known date are better than none."""
        async with self._lock:
            if self._ask_again_at is None or self._clock() >= self._ask_again_at:
                # Only after the answer: who is cancelled meanwhile leaves the question to the next.
                self._ask_again_at = self._clock() + (FRESH_FOR if await self._refresh() else AGAIN_AFTER)
        return self._prices

    async def _refresh(self) -> bool:
        """Ask RunAPI; whether it named prices of ours, or confirmed those that are known."""
        try:
            with anyio.fail_after(self._patience):
                schedules = await self._fetch(self._etag)
        except (RunApiError, TimeoutError) as error:
            logger.info("Prices stay those of %s: %s", self._prices.as_of, type(error).__name__)
            return False
        if schedules is not None:
            prices = self._catalogue.prices_from(schedules)
            if not prices.cents:
                return False
            self._prices, self._etag = prices, schedules.etag
        self._named_at = self._clock()
        return True


def _slug(tier: TierName, action: Action) -> str:
    return f"flux-2-{tier}-{_SUFFIX[action]}"


def _check_sources(request: Request, name: TierName, tier: Tier) -> None:
    count = len(request.source_image_urls)
    if request.action != "remix_image":
        if count:
            msg = "generate makes pictures from words alone. Call remix to use source images."
            raise RequestRefused(msg)
        return
    if not 1 <= count <= tier.most_sources:
        amount = "exactly 1 source image" if tier.most_sources == 1 else f"1 to {tier.most_sources} source images"
        msg = f"flux-2-{name} remixes {amount}, not {count}."
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
        msg = "callback_url is not an http(s) address that RunAPI could call."
        raise RequestRefused(msg)


def _quoted(text: str) -> str:
    return repr(_short(text))


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"


def _and(words: Iterable[str], last: str = "and") -> str:
    *front, final = words
    return f"{', '.join(front)} {last} {final}" if front else final


def _or(words: Iterable[str]) -> str:
    return _and(words, "or")
