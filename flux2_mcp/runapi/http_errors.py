"""An HTTP error of any shape -> one of our errors, with a short sentence that a person can read.

RunAPI is known to describe errors in nine shapes (`{"error": {…}}`, `{"error": "…"}`, `{"errors": {field: […]}}`,
`message`, `detail`, `errorMessage`, `msg`, an HTML page, nothing); the words are looked up in the order in which the
vendor's own clients do it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import cast

import httpx

from flux2_mcp.errors import (
    KeyRejected,
    KeyReused,
    NotFound,
    OutOfCredits,
    RequestRejected,
    RunApiError,
    Throttled,
    Unavailable,
)
from flux2_mcp.runapi.models import message_in
from flux2_mcp.runapi.retry_after import retry_after
from flux2_mcp.text import one_line

NEXT_STEP = "Check RUNAPI_BASE_URL, and send the request again in a few minutes; if it stays so, ask RunAPI's support."
"""For a status of which no more is known than that it is no success."""
LONGEST_PAGE = 20_000
"""Characters or bytes in which those words are looked for; a page may be of any size."""

_BY_STATUS: Mapping[int, type[RunApiError]] = {
    400: RequestRejected,
    413: RequestRejected,
    415: RequestRejected,
    422: RequestRejected,
    401: KeyRejected,
    403: KeyRejected,
    402: OutOfCredits,
    404: NotFound,
    405: NotFound,
    408: Unavailable,
    425: Unavailable,
    499: Unavailable,
    409: KeyReused,
    429: Throttled,
}


def error_from(response: httpx.Response, *, mask: Callable[[str], str]) -> RunApiError:
    """Describe an unsuccessful answer whose body was read; `mask` hides the key wherever it is echoed."""
    kind = _BY_STATUS.get(response.status_code, Unavailable if response.is_server_error else RunApiError)
    body = _body_of(response)
    request_id = response.headers.get("x-request-id")
    return kind(
        f"RunAPI said: {one_line(mask(_words_of(response, body)))} (HTTP {response.status_code}).",
        status=response.status_code,
        # Masked first: a cut through the middle of a key would hide it from the mask.
        request_id=one_line(mask(request_id)) if request_id else None,
        retry_after=retry_after(response.headers),
        remedy=NEXT_STEP if kind is RunApiError else None,
    )


def _body_of(response: httpx.Response) -> Mapping[str, object]:
    try:
        body: object = response.json()
    except (ValueError, RecursionError):
        return {}
    return cast("Mapping[str, object]", body) if isinstance(body, Mapping) else {}


def _words_of(response: httpx.Response, body: Mapping[str, object]) -> str:
    message = next((words for name in ("error", "message", "detail", "errorMessage", "msg")
                    if (words := message_in(body.get(name)))), "")  # fmt: skip
    error = body.get("error")
    inside = cast("Mapping[str, object]", error).get("errors") if isinstance(error, Mapping) else None
    details = _details_in(body.get("errors") or inside)
    if message or details:
        return ": ".join(part for part in (message, details) if part)[:LONGEST_PAGE]
    return _text_of(response) or _default_words(response.status_code)


def _details_in(errors: object) -> str:
    """`{"prompt": ["is required"]}` -> "prompt is required"."""
    if isinstance(errors, Mapping):
        fields = cast("Mapping[str, object]", errors)
        return "; ".join(f"{field} {', '.join(_strings_in(words))}".strip() for field, words in fields.items())
    return "; ".join(_strings_in(errors))


def _strings_in(value: object) -> list[str]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [words for each in cast("Sequence[object]", value) if (words := message_in(each))]
    words = message_in(value)
    return [words] if words else []


def _text_of(response: httpx.Response) -> str:
    # Not response.text: the charset is only the sender's claim, and Python knows some that raise.
    text = response.content[:LONGEST_PAGE].decode("utf-8", errors="replace").strip("\ufeff \t\r\n")
    if text.startswith(("{", "[")) or "\0" in text or text.count("\ufffd") > len(text) // 10:
        return ""
    if not text.startswith("<"):
        return text
    titles = (_title_in(text, tag) for tag in ("title", "h1"))
    return next((title for title in titles if title), "an HTML page without a title")


def _title_in(page: str, tag: str) -> str:
    # Bounded, because the time for an unbounded one grows with the square of a hostile page.
    found = re.search(rf"<{tag}[^>]{{0,200}}>(.{{0,1000}}?)</{tag}>", page, re.DOTALL | re.IGNORECASE)
    return html.unescape(re.sub(r"<[^>]+>", " ", found[1])).strip() if found else ""


def _default_words(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"
