"""Reading a request: its JSON, its origin, its key."""

from __future__ import annotations

import json
from typing import NoReturn, cast

from starlette.requests import Request

from .refusals import bad_request, not_json

JsonObject = dict[str, object]


async def json_object(request: Request) -> JsonObject:
    """The request body as a JSON object.

    Raises:
        Refusal: 400, when it is anything else.
    """
    try:
        value: object = json.loads(await request.body(), parse_constant=_no_such_number)
    except (ValueError, RecursionError):
        raise not_json() from None
    found = as_object(value)
    if found is None:
        msg = "Request body must be a JSON object"
        raise bad_request(msg)
    return found


def as_object(value: object) -> JsonObject | None:
    """`value` when it is a JSON object."""
    return cast("JsonObject", value) if isinstance(value, dict) else None


def as_list(value: object) -> list[object] | None:
    """`value` when it is a JSON array."""
    return cast("list[object]", value) if isinstance(value, list) else None


def text(value: object) -> str:
    """`value` when it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def bearer(request: Request) -> str:
    """The API key of the request, or an empty string."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def own_origin(request: Request) -> str:
    """The scheme and host the client reached us by."""
    return f"{request.url.scheme}://{request.headers.get('host') or request.url.netloc}"


def _no_such_number(name: str) -> NoReturn:
    raise ValueError(name)
