"""How a simulator behaves: every choice in one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .models import PUBLISHED, Models

Dialect = Literal["sdk", "v1"]

STATUS_PATHS = ("/v1/{action}/{id}", "/v1/tasks/{id}", "/api/v1/tasks/{id}")


@dataclass(frozen=True, kw_only=True)
class Script:
    """How the simulated RunAPI behaves. Times are seconds, money is integer US cents."""

    dialects: tuple[Dialect, ...] | frozenset[Dialect] = ("sdk", "v1")
    """Which create routes exist: the SDKs' `/api/v1/flux_2/…`, the guide's `/v1/…`, or both."""

    status_paths: tuple[str, ...] = STATUS_PATHS
    """Which status routes exist for the `v1` dialect, whose real one nobody has published."""

    queue_seconds: float = 1.0
    """How long a task is `pending`."""

    paint_seconds: float = 8.0
    """How long a task is `processing` after that."""

    paint_spread: float = 0.0
    """How far `paint_seconds` may vary: 0.5 means half as long to one and a half times as long."""

    looks_until_done: int | None = None
    """Ignore the clock: the n-th status look sees the end. 0: the task has ended before the first look."""

    looks_until_painting: int = 1
    """With `looks_until_done`, the first look that sees `processing`; earlier ones see `pending`."""

    keys: Mapping[str, int] | None = None
    """API key to opening balance. None: any key opens its own account, unless it contains "wrong" or "invalid"."""

    opening_cents: int = 1000
    """The opening balance of an account that opens itself, or that a login opens."""

    login_seconds: float = 300
    """How long a login can be decided, and its code exchanged."""

    failure_rate: float = 0.0
    """The share of tasks that fail (and are refunded), 0 to 1."""

    seed: int = 0
    """Feeds `failure_rate` and `paint_spread`, so that a run can be repeated."""

    accepted_with_location: bool = False
    """Answer a create with 202, `Location: /api/v1/tasks/<id>` and `Retry-After: 2` instead of 200."""

    look_retry_after: float | None = None
    """Send this `Retry-After` with every look at a running task."""

    models: Models = field(default_factory=lambda: PUBLISHED)
    """Which models there are; `models_of` reads others from JSON such as `models.json`."""

    prices: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    """Cents per resolution that replace the published ones: `{"flux-2-pro-text-to-image": {"1k": 6, "2k": 8}}`."""

    price_multiplier: float = 1.0
    """Multiplies every price, configured ones included; rounded to whole cents."""

    max_price_cents: int | None = None
    """The price of the models that have none in `models`, which is Max. None: absent from the price list, yet
    `hidden_max_price_cents` is charged."""

    hidden_max_price_cents: int = 20
    """What a picture of such a model costs while its price is not published."""

    public_url: str | None = None
    """Origin of picture and upload addresses. None: the scheme and Host of the request."""

    url_seconds: float = 3600
    """How long an uploaded file, and an unused upload address, lives."""

    picture_seconds: float = 7 * 24 * 3600
    """How long a generated picture can be fetched."""

    upload_headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Headers demanded of an upload, besides the usual `Content-Type`."""

    largest_upload_bytes: int = 32 * 1024 * 1024
    """A bigger file is refused with 413."""

    requests_per_second: float | None = None
    """Per key; more gets 429 with `Retry-After`. A burst of one second's worth is allowed."""

    plain_pictures: bool = False
    """Draw one flat colour in the right size: for test suites that never look at the picture."""

    webhook_secret: str | None = None
    """Signs webhooks: hex HMAC-SHA256 of the raw body, after `sha256=`. None: unsigned."""

    webhook_signature_header: str = "X-Simulator-Signature"
    """Where the signature goes."""

    webhook_pauses: tuple[float, ...] = (1.0, 5.0)
    """The waits before each repeated delivery; their number is the number of repeats."""

    webhook_copies: int = 1
    """How often each webhook is delivered; 0 loses them all."""

    webhook_delay: float = 0.0
    """Seconds from the end of a task to its webhook."""

    forged_webhooks: bool = False
    """Precede each webhook by one of somebody else's making, which says that the task failed."""

    remembered_requests: int = 10_000
    """How many requests `Simulator.requests` keeps."""
