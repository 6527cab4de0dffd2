"""The shapes on the wire.

RunAPI's public record shows a task in several shapes and with several words for its state. `task_from` reads all
of them, so that nothing above this module knows that there is more than one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from flux2_mcp.text import one_line

Action = Literal["text_to_image", "remix_image"]
DialectName = Literal["sdk", "v1"]
Status = Literal["pending", "processing", "completed", "failed"]
Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

MOST_CENTS = 10**9
"""What RunAPI can mean by a price; a larger number is a mistake, and too much for a database."""
MOST_IMAGES = 8
LONGEST_URL = 4000
"""Characters."""
LONGEST_WORD = 60
"""Characters of a state, or of a day."""
TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

_WORDS: Mapping[str, Status] = {
    "pending": "pending",
    "queued": "pending",
    "submitted": "pending",
    "completed": "completed",
    "complete": "completed",
    "succeeded": "completed",
    "success": "completed",
    "finished": "completed",
    "failed": "failed",
    "error": "failed",
    "canceled": "failed",
    "cancelled": "failed",
    "timeout": "failed",
    "generate_failed": "failed",
    "create_task_failed": "failed",
}


def _short_line(text: str) -> str:
    return one_line(text, most=LONGEST_WORD)


def _text_or_empty(value: object) -> str:
    return value if isinstance(value, str) else ""


ShortLine = Annotated[str, AfterValidator(_short_line), BeforeValidator(_text_or_empty)]
"""Words that are only shown: what is no text is left out."""


class Wire(BaseModel):
    """A shape on the wire: unknown fields are ignored, so that RunAPI can add some."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Task(Wire):
    """One task, whatever shape RunAPI described it in."""

    id: str
    status: Status
    word: str = ""
    """The state in RunAPI's own word; `status` is "processing" for words that nobody has documented."""
    images: tuple[str, ...] = ()
    """URLs; RunAPI keeps the files for seven days."""
    error: str = ""
    cost_cents: int | None = None
    """What was charged, in US cents; only RunAPI's own statement, never computed from a price."""
    action: Action | None = None
    dialect: DialectName | None = None
    path: str | None = None
    """Where RunAPI shows the task, once that is known."""
    retry_after: float | None = None
    """Seconds that RunAPI asked to wait before the next look."""

    @property
    def is_over(self) -> bool:
        """Whether RunAPI will not work on it any more."""
        return self.status in {"completed", "failed"}


class Balance(Wire):
    """The account's money in US cents; less than none where it owes some."""

    balance_cents: Annotated[int, Field(ge=-MOST_CENTS, le=MOST_CENTS)]


def _numbers_by_word(value: object) -> object:
    """Keep the overrides that are whole cents; other pricing schemes are not ours to guess at."""
    if not isinstance(value, Mapping):
        return {}
    entries = cast("Mapping[object, object]", value).items()
    return {str(word): cents for word, cents in entries if isinstance(cents, int) and not isinstance(cents, bool)}


class BillingConfig(Wire):
    """Prices that depend on one parameter, named by `key`."""

    key: str | None = None
    overrides: Annotated[Mapping[str, int], BeforeValidator(_numbers_by_word)] = {}


def _config_or_nothing(value: object) -> object:
    return cast("Mapping[object, object]", value) if isinstance(value, Mapping) else None


class PriceSchedule(Wire):
    """What one model costs, in US cents per image."""

    model: str | None = None
    pricing_status: str = ""
    currency: str = "USD"
    billing_unit: Literal["per_call", "per_image"] | None = None
    """Any other unit makes the price one of something else, and the schedule useless to us."""
    unit_price_cents: int | None = None
    billing_config: Annotated[BillingConfig | None, BeforeValidator(_config_or_nothing)] = None


def _readable_schedules(value: object) -> object:
    """Without those that cannot be read: one odd schedule says nothing about the others."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return () if value is None else value
    return tuple(each for each in cast("Sequence[object]", value) if _is_schedule(each))


def _is_schedule(value: object) -> bool:
    try:
        PriceSchedule.model_validate(value)
    except ValidationError:
        return False
    return True


class PriceSchedules(Wire):
    """All schedules that a filter matched, and the tag that recognises them unchanged."""

    as_of: ShortLine = ""
    price_schedules: Annotated[tuple[PriceSchedule, ...], BeforeValidator(_readable_schedules)] = ()
    etag: str | None = None


def _amount_or_nothing(cents: int | None) -> int | None:
    return cents if cents is not None and is_amount(cents) else None


class PriceQuote(Wire):
    """What one request would cost; asking creates no task."""

    pricing_status: str = ""
    currency: str = "USD"
    reservation_amount_cents: Annotated[int | None, AfterValidator(_amount_or_nothing)] = None
    as_of: ShortLine = ""


class TemporaryFile(Wire):
    """A file that RunAPI keeps for about an hour, to be used as a source image."""

    url: str
    expires_at: datetime | None = None


class UploadTicket(Wire):
    """Where to put the bytes of a direct upload; the URL works once."""

    signed_id: str
    upload_url: str
    headers: Mapping[str, str] = {}


def is_amount(cents: int | Decimal) -> bool:
    """Whether this can be a price: a negative one would pass every limit."""
    return 0 <= cents <= MOST_CENTS


def is_task_id(text: object) -> bool:
    """Whether this can be a task id: it goes into a path, so nothing else may get there."""
    return isinstance(text, str) and TASK_ID.fullmatch(text) is not None


def task_from(body: object, *, fallback_id: str | None = None) -> Task | None:
    """Read a task from any body that RunAPI is known to send; None when there is no task in it.

    Known shapes: flat (`id` or `task_id`), wrapped in `data`, and the generic task result with the real answer
    in `response.body` (whose `response.status` decides when it is not a success).
    """
    if not isinstance(body, Mapping):
        return None
    outer = cast("Mapping[str, object]", body)
    data = _mapping(outer.get("data"))
    response = _mapping(outer.get("response")) or _mapping(data.get("response"))
    inner = _parsed(response.get("body"))
    layers = [layer for layer in (_mapping(inner.get("data")), inner, data, outer) if layer]
    task_id = _id_in(layers[::-1]) or fallback_id or _number_in(layers[::-1])
    if task_id is None:
        return None
    images = _images_in(layers)
    word = _word_in(layers) or ("completed" if images else "")
    failed_inside = isinstance(status := response.get("status"), int) and status >= 300
    return Task(
        id=task_id,
        status="failed" if failed_inside else _WORDS.get(word.lower(), "processing"),
        word=word,
        images=images,
        error=_error_in(layers),
        cost_cents=_cost_in(layers),
    )


def message_in(error: object) -> str:
    """The words of an error that may be a string or an object with a message or a code."""
    if isinstance(error, str):
        return error.strip()
    described = _mapping(error)
    for name in ("message", "detail", "error", "code"):
        if isinstance(words := described.get(name), str) and words.strip():
            return words.strip()
    return ""


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}


def _parsed(body: object) -> Mapping[str, object]:
    """The stored answer inside a task result; RunAPI's own clients expect it as an object or as JSON text."""
    try:
        return _mapping(json.loads(body) if isinstance(body, str) else body)
    except (ValueError, RecursionError):
        return {}


def _id_in(layers: Sequence[Mapping[str, object]]) -> str | None:
    return next((found for found in _names_in(layers) if isinstance(found, str) and is_task_id(found)), None)


def _number_in(layers: Sequence[Mapping[str, object]]) -> str | None:
    """An id that is a number, which nobody has documented."""
    numbers = (found for found in _names_in(layers) if isinstance(found, int) and not isinstance(found, bool))
    return next((str(number) for number in numbers if number >= 0 and is_task_id(str(number))), None)


def _names_in(layers: Sequence[Mapping[str, object]]) -> list[object]:
    return [layer.get(name) for layer in layers for name in ("id", "task_id")]


def _word_in(layers: Sequence[Mapping[str, object]]) -> str:
    for layer in layers:
        for name in ("status", "state"):
            if isinstance(word := layer.get(name), str) and word.strip():
                return word.strip()
    return ""


def _images_in(layers: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    for layer in layers:
        found = layer.get("images")
        if isinstance(found, Sequence) and not isinstance(found, str):
            entries = cast("Sequence[object]", found)
            shown = [entry if isinstance(entry, str) else _mapping(entry).get("url") for entry in entries]
            if urls := tuple(url for url in shown if isinstance(url, str) and 0 < len(url) <= LONGEST_URL):
                return urls[:MOST_IMAGES]
    return ()


def _error_in(layers: Sequence[Mapping[str, object]]) -> str:
    return next((words for layer in layers if (words := message_in(layer.get("error")))), "")


def _cost_in(layers: Sequence[Mapping[str, object]]) -> int | None:
    """Cents charged: `usage.cost` in dollars, else the older `billing.settlement`, else plain cents."""
    for layer in layers:
        settlement = _mapping(_mapping(layer.get("billing")).get("settlement"))
        for amount, cents_each in (
            (_mapping(layer.get("usage")).get("cost"), 100),
            (settlement.get("charged_amount_cents"), 1),
            (settlement.get("amount_micro_cents"), Decimal("0.000001")),
            (layer.get("cost_cents"), 1),
            (layer.get("amount_cents"), 1),
        ):
            if (cents := _cents(amount, cents_each)) is not None:
                return cents
    return None


def _cents(amount: object, cents_each: int | Decimal) -> int | None:
    if isinstance(amount, bool) or not isinstance(amount, int | float | str):
        return None
    try:
        exact = Decimal(str(amount)) * cents_each
        return int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP)) if is_amount(exact) else None
    except ArithmeticError:
        return None
