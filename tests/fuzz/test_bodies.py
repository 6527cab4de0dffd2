"""A RunAPI that answers with anything, at any step."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path
from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

from flux2_mcp.simulator import Fault
from flux2_mcp.simulator.faults import On
from tests.fuzz.anything import joined, json_values, texts, tried
from tests.fuzz.door import Door, opened
from tests.sources.owner_sources import data_uri, png
from tests.world import text_of

NAMES = st.sampled_from(
    [
        *("id", "task_id", "status", "state", "data", "response", "body", "images", "url", "error", "message", "code"),
        *("usage", "cost", "billing", "settlement", "charged_amount_cents", "amount_micro_cents", "cost_cents"),
        *("price_schedules", "model", "unit_price_cents", "billing_config", "overrides", "key", "as_of", "currency"),
        *("reservation_amount_cents", "pricing_status", "balance_cents", "signed_id", "upload_url", "headers"),
        *("expires_at", "billing_unit", "headers", "detail"),
    ]
)
USUAL: dict[str, dict[str, object]] = {
    "create": {"id": "t-1", "status": "pending"},
    "look": {"id": "t-1", "status": "completed", "images": [{"url": "https://runapi.test/generated/a.png"}]},
    "prices": {"as_of": "2026-11-01", "price_schedules": [{"model": "flux-2-pro-text-to-image", "currency": "USD"}]},
    "quote": {"pricing_status": "priced", "currency": "USD", "reservation_amount_cents": 5},
    "balance": {"balance_cents": 5},
    "prepare": {"signed_id": "s", "upload_url": "https://runapi.test/upload/s", "headers": {}},
    "confirm": {"url": "https://runapi.test/files/s.png", "expires_at": "2026-11-22T10:00:00Z"},
}
odd = json_values(NAMES | NAMES | texts)
STATUSES = (200, 200, 200, 200, 201, 202, 204, 206, 302, 304, 400, 401, 402, 404, 405, 409, 418, 422, 429, 500, 503)
latin = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=12)
headers = st.dictionaries(
    st.sampled_from(["Retry-After", "Location", "ETag", "Content-Type", "X-Request-Id", "Idempotent-Replayed"]),
    latin | st.sampled_from(["-1", "1e400", "9" * 400, "Mon, 31 Feb 2026 99:00:00 GMT", "//elsewhere.example/", "nan"]),
    max_size=2,
)


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    """Some answers of one kind, as anything."""
    on = draw(st.sampled_from(get_args(On)[:-1]))
    usual = st.sampled_from([USUAL.get(on, {})])
    nearly = joined(usual, st.dictionaries(NAMES, odd, max_size=3))
    whole = st.builds(json.dumps, nearly | nearly | odd).map(lambda text: text.encode(errors="surrogatepass"))
    body = draw(whole | whole | st.binary(max_size=40) | st.sampled_from([b"", b"[" * 5000, b'{"a":' * 5000, b"\xff"]))
    return Fault(
        on=on,
        body=body,
        status=draw(st.sampled_from(STATUSES)),
        headers=draw(headers),
        after=draw(st.booleans()),
        times=draw(st.integers(1, 40)),
    )


def test_whatever_runapi_answers_the_call_is_answered_and_what_was_paid_is_found_again(tmp_path: Path) -> None:
    """No crash, no key, no word of nothing charged about a task that exists; and the next call works."""
    numbers = itertools.count()

    @tried(8)
    @given(st.lists(faults(), min_size=1, max_size=3), st.booleans())
    def check(some: list[Fault], remixes: bool) -> None:  # noqa: FBT001
        with tempfile.TemporaryDirectory(dir=tmp_path) as home, opened(Path(home)) as door:
            door.here.simulator.faults[:] = some
            prompt = f"fox {next(numbers)}"
            said = _made(door, prompt, remixes=remixes)

            # What is answered to the order itself may be untrue.
            if door.here.paid and not any(fault.on == "create" for fault in some):
                assert "Nothing was charged" not in said
                assert door.here.paid[0].id in said
            door.call("task_status", {"task_id": door.here.paid[0].id if door.here.paid else "t-1"})
            door.call("recent_tasks", {})
            door.here.simulator.faults.clear()
            assert not door.call("recent_tasks", {}).is_error
            for task in door.here.paid:
                door.call("task_status", {"task_id": task.id})
            assert len(door.here.paid) <= 1

    check()


def _made(door: Door, prompt: str, *, remixes: bool) -> str:
    arguments: dict[str, Any] = {"prompt": prompt, "wait_seconds": 20}
    if remixes:
        arguments |= {"source_image_urls": [data_uri(png())], "aspect_ratio": "1:1"}
    return text_of(door.call("remix" if remixes else "generate", arguments))
