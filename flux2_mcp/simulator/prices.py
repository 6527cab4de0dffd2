"""What a picture costs: the price list with its ETag, and quotes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import get_args

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .clock import Timestamps
from .models import Action, Models, slugs
from .parsing import JsonObject, as_object, json_object, text
from .refusals import invalid
from .script import Script

SERVICE = "flux_2"
ACTIONS: tuple[Action, ...] = get_args(Action)
_BY_NAME: Mapping[str, Action] = {action: action for action in ACTIONS}


class Prices:
    """The prices of a script, in cents per picture."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def published(self, model: str) -> dict[str, int] | None:
        """Cents by resolution, or None when nobody has said what the model costs."""
        known = self._script.models[model]
        cents = self._script.prices.get(model) or known.cents
        if cents is None and self._script.max_price_cents is not None:
            cents = dict.fromkeys(known.output_resolution, self._script.max_price_cents)
        return None if cents is None else {size: self._multiplied(price) for size, price in cents.items()}

    def cost_cents(self, model: str, resolution: object) -> int:
        """What a task costs, published or not."""
        cents = self.published(model)
        if cents is None:
            return self._multiplied(self._script.hidden_max_price_cents)
        usual = self._script.models[model].output_resolution[0]
        return cents.get(text(resolution) or usual, cents[usual])

    def schedules(self) -> list[JsonObject]:
        """The price list: one entry for every model with a published price."""
        return [
            _schedule(action, slug, cents)
            for action in ACTIONS
            for slug in slugs(self._script.models, action)
            if (cents := self.published(slug)) is not None
        ]

    def quote(self, action: Action, model: str, params: JsonObject) -> JsonObject:
        """What a task would reserve; zero with a status of its own when the price is not published."""
        # Asked without a model, the answer is for the cheapest one and says that it is an estimate.
        priced = model or slugs(self._script.models, action)[0]
        known = self.published(priced) is not None
        cents = self.cost_cents(priced, params.get("output_resolution")) if known else 0
        return {
            "service": SERVICE,
            "action": action,
            **({"model": model} if model else {}),
            "pricing_status": "available" if known else "unavailable",
            "currency": "USD",
            "reservation_amount_cents": cents,
            "estimate_basis": ("exact" if model else "estimate") if known else "unknown",
        }

    def _multiplied(self, cents: int) -> int:
        return round(cents * self._script.price_multiplier)


class PriceEndpoints:
    """The price endpoints, which need no key."""

    def __init__(self, script: Script, prices: Prices, timestamps: Timestamps) -> None:
        self._models = script.models
        self._prices = prices
        self._timestamps = timestamps
        self._as_of = timestamps.microseconds()

    async def list_schedules(self, request: Request) -> Response:
        """`GET /api/v1/price_schedules`, filtered, with an ETag."""
        wanted = {name: request.query_params.get(name, "") for name in ("service", "action", "model")}
        found = [
            schedule
            for schedule in self._prices.schedules()
            if all(value in {"", schedule[name]} for name, value in wanted.items())
        ]
        headers = {"ETag": _etag(found)}
        if _matches(request.headers.get("if-none-match", ""), headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return JSONResponse({"as_of": self._as_of, "price_schedules": found}, headers=headers)

    async def create_quote(self, request: Request) -> Response:
        """`POST /api/v1/price_quotes`; creates no task."""
        body = await json_object(request)
        # Some clients send an empty list when there are no parameters.
        params = as_object(body.get("params")) or {}
        model = text(body.get("model")) or text(params.get("model"))
        action = _action(self._models, body, model)
        quote = self._prices.quote(action, model, params)
        return JSONResponse({"price_quote": {**quote, "as_of": self._timestamps.microseconds()}})


def _action(models: Models, body: JsonObject, model: str) -> Action:
    errors: dict[str, list[str]] = {}
    if body.get("service") != SERVICE:
        errors["service"] = [f"must be one of: {SERVICE}"]
    action = _BY_NAME.get(text(body.get("action")))
    if action is None:
        errors["action"] = [f"must be one of: {', '.join(ACTIONS)}"]
    elif model and model not in (known := slugs(models, action)):
        errors["model"] = [f"must be one of: {', '.join(known)}"]
    if errors or action is None:
        raise invalid(errors)
    return action


def _schedule(action: Action, model: str, cents: Mapping[str, int]) -> JsonObject:
    return {
        "service": SERVICE,
        "action": action,
        "model": model,
        "pricing_status": "available",
        "catalog_status": "active",
        "currency": "USD",
        "billing_unit": "per_call",
        "billing_strategy": "flat",
        "unit_price_cents": next(iter(cents.values())),
        "billing_config": {"key": "output_resolution", "overrides": dict(cents)},
    }


def _etag(schedules: list[JsonObject]) -> str:
    digest = hashlib.sha256(json.dumps(schedules, sort_keys=True).encode()).hexdigest()
    return f'"{digest[:32]}"'


def _matches(if_none_match: str, etag: str) -> bool:
    known = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
    return etag in known or "*" in known
