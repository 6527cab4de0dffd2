"""The answers that say no, in the shapes RunAPI uses."""

from __future__ import annotations

import math
from collections.abc import Mapping

from starlette.responses import JSONResponse, Response


class Refusal(Exception):
    """The request is answered with an error."""

    def __init__(self, status: int, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The refusal as an HTTP answer."""
        return JSONResponse(self.body, self.status, self.headers)


def coded(status: int, code: str, message: str) -> Refusal:
    """A refusal in the shape `{"error": {"code", "message"}}`."""
    return Refusal(status, {"error": {"code": code, "message": message}})


def bad_request(message: str) -> Refusal:
    """The request cannot be understood."""
    return Refusal(400, {"error": message})


def not_json() -> Refusal:
    """The body cannot be parsed."""
    return bad_request("Request body is not valid JSON")


def unauthorized() -> Refusal:
    """No key, or one that opens nothing."""
    return Refusal(401, {"error": "Unauthorized"})


def insufficient_credits() -> Refusal:
    """The free balance does not cover the reservation."""
    return Refusal(402, {"error": "Insufficient credits"})


def not_found() -> Refusal:
    """Nothing there, or not yours to see."""
    return Refusal(404, {"error": "Not found"})


def request_conflict() -> Refusal:
    """An Idempotency-Key came back with other input."""
    return coded(409, "request_conflict", "Idempotency-Key was already used with different input")


def too_large() -> Refusal:
    """More bytes than the simulator takes."""
    return Refusal(413, {"error": "Payload too large"})


def invalid(errors: Mapping[str, list[str]]) -> Refusal:
    """Fields that break the contract, each with its problems."""
    return Refusal(422, {"error": "Validation failed", "errors": dict(errors)})


def too_many_requests(seconds: float) -> Refusal:
    """Slow down; the wait is told in whole seconds."""
    refusal = coded(429, "rate_limited", "Too many requests")
    refusal.headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    return refusal
