"""Faults on request: an answer replaced, delayed or lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, cast, get_args

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .parsing import JsonObject, as_object
from .refusals import (
    Refusal,
    coded,
    insufficient_credits,
    invalid,
    not_found,
    request_conflict,
    too_many_requests,
    unauthorized,
)

On = Literal["create", "look", "file", "prepare", "put", "confirm", "prices", "quote", "balance", "picture", "exchange"]
Endpoint = Callable[[Request], Awaitable[Response]]

BAD_GATEWAY_PAGE = (
    "<!doctype html>\n<html><head><title>502 Bad Gateway</title></head>"
    "<body><center><h1>502 Bad Gateway</h1></center><hr></body></html>\n"
)


class AnswerLost(ConnectionError):
    """The connection broke before the answer came."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that goes wrong, for the next `times` requests of its kind.

    With a `status` or a `body` the answer is replaced; with neither, the usual answer comes, with `headers`
    added. Unless `after` is set, a replaced or lost request has had no effect.
    """

    on: On
    status: int | None = None
    body: bytes | Mapping[str, object] | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    after: bool = False
    """The effect happens first: the task is created and its money reserved, then the answer goes wrong."""
    lose: bool = False
    """No answer at all."""
    hang: float | None = None
    """Seconds of silence before the answer; after the effect if `after` is set."""
    times: int = 1

    @property
    def replaces(self) -> bool:
        """Whether the usual answer is not given."""
        return self.lose or self.status is not None or self.body is not None

    def answer(self) -> Response:
        """The answer given instead.

        Raises:
            AnswerLost: there is none.
        """
        if self.lose:
            msg = f"The answer to this {self.on} request was lost, as a fault said."
            raise AnswerLost(msg)
        response = _response(self.body, self.status or 200)
        response.headers.update(self.headers)
        return response


def _take(faults: list[Fault], on: On) -> Fault | None:
    """The first fault for this kind of request, used up by one."""
    for index, fault in enumerate(faults):
        if fault.on == on:
            faults[index : index + 1] = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
            return fault
    return None


def with_faults(endpoint: Endpoint, faults: list[Fault], on: On) -> Endpoint:
    """An endpoint with the faults meant for it."""

    async def answer(request: Request) -> Response:
        fault = _take(faults, on)
        return await endpoint(request) if fault is None else await _applied(fault, endpoint, request)

    return answer


async def _applied(fault: Fault, endpoint: Endpoint, request: Request) -> Response:
    usual = await endpoint(request) if fault.after else None
    if fault.hang:
        await anyio.sleep(fault.hang)
    if fault.replaces:
        return fault.answer()
    response = usual or await endpoint(request)
    response.headers.update(fault.headers)
    return response


def fault_from_json(data: JsonObject) -> Fault:
    """A fault as it arrives at `/simulator/faults`.

    Raises:
        Refusal: 422, when a field is unknown or of the wrong type.
    """
    errors = {name: ["is unknown"] for name in data if name not in _TYPES}
    for name, types in _TYPES.items():
        if name in data and not isinstance(data[name], types):
            errors[name] = ["has the wrong type"]
    status = data.get("status")
    if isinstance(status, int) and not 200 <= status <= 599:
        errors["status"] = ["must be between 200 and 599"]
    if data.get("on") not in get_args(On):
        errors["on"] = [f"must be one of: {', '.join(get_args(On))}"]
    if errors:
        raise invalid(errors)
    headers = {name: str(value) for name, value in (as_object(data.get("headers")) or {}).items()}
    return Fault(
        on=cast("On", data["on"]),
        status=cast("int | None", data.get("status")),
        body=cast("JsonObject | str | None", data.get("body")),
        headers=headers,
        after=bool(data.get("after")),
        lose=bool(data.get("lose")),
        hang=cast("float | None", data.get("hang")),
        times=cast("int", data.get("times", 1)),
    )


_TYPES: Mapping[str, tuple[type, ...]] = {
    "on": (str,),
    "status": (int, type(None)),
    "body": (dict, str, type(None)),
    "headers": (dict,),
    "after": (bool,),
    "lose": (bool,),
    "hang": (int, float, type(None)),
    "times": (int,),
}

_REFUSALS: Mapping[int, Callable[[], Refusal]] = {
    401: unauthorized,
    402: insufficient_credits,
    404: not_found,
    409: request_conflict,
    422: lambda: invalid({"prompt": ["is not acceptable"]}),
    429: lambda: too_many_requests(1),
    500: lambda: coded(500, "internal_error", "Internal server error"),
}


def _response(body: bytes | Mapping[str, object] | str | None, status: int) -> Response:
    if body is None:
        return _usual_error(status)
    if isinstance(body, bytes):
        return Response(body, status, media_type="application/octet-stream")
    if isinstance(body, str):
        return Response(body, status, media_type="text/html" if body.lstrip().startswith("<") else "text/plain")
    return JSONResponse(dict(body), status)


def _usual_error(status: int) -> Response:
    """What RunAPI is known to say with this status."""
    if status in _REFUSALS:
        return _REFUSALS[status]().response()
    if status == 502:
        return Response(BAD_GATEWAY_PAGE, status, media_type="text/html")
    if status == 503:
        return Response("No active channel available", status, media_type="text/plain")
    if status in {204, 304} or status < 200:
        return Response(status_code=status)
    return JSONResponse({"error": "Request failed"}, status)
