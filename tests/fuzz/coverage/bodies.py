"""A body from RunAPI is a task whose parts we can store and send on, an error in one line, or nothing."""

from __future__ import annotations

import json

import httpx
from pydantic import ValidationError

from flux2_mcp.runapi.http_errors import error_from
from flux2_mcp.runapi.models import (
    LONGEST_URL,
    MOST_CENTS,
    MOST_IMAGES,
    Balance,
    PriceQuote,
    PriceSchedules,
    TemporaryFile,
    UploadTicket,
    is_task_id,
    task_from,
)
from flux2_mcp.text import sendable

LONGEST = 800
SHAPES = (Balance, PriceQuote, PriceSchedules, TemporaryFile, UploadTicket)


def check(data: bytes) -> None:
    """Read this body as a success and as an error of each kind."""
    for status in (402, 429, 500):
        headers = {"retry-after": data[:40].replace(b"\n", b" ").replace(b"\r", b" ")}
        response = httpx.Response(status, content=data, headers=[(b"retry-after", headers["retry-after"])])
        error = error_from(response, mask=str)
        assert "\n" not in error.message
        assert len(error.message) < 600
        assert error.retry_after is None or error.retry_after >= 0
    try:
        body: object = json.loads(data)
    except (ValueError, RecursionError):
        return
    for shape in SHAPES:
        try:
            shape.model_validate(body)
        except ValidationError:
            continue
    _check_task(body)


def _check_task(body: object) -> None:
    task = task_from(body, fallback_id="t-1")
    if task is None:
        return
    assert is_task_id(task.id)
    assert len(task.images) <= MOST_IMAGES
    assert all(0 < len(url) <= LONGEST_URL for url in task.images)
    assert task.cost_cents is None or 0 <= task.cost_cents <= MOST_CENTS
    json.dumps(sendable(task.model_dump()), ensure_ascii=False).encode()
