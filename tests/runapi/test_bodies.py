"""What the fact sheet's sections 1.1 to 1.4, 2 and 8 say about task bodies, as tables."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flux2_mcp.runapi.models import Status, Task, task_from

URL = "https://file.runapi.ai/generated/9f2c.png"
IMAGES = [{"url": URL}]


def read(body: object) -> Task:
    task = task_from(body)
    assert task is not None
    return task


@pytest.mark.parametrize(
    "body",
    [
        {"id": "t-1", "status": "completed", "images": IMAGES},
        {"task_id": "t-1", "status": "completed", "images": IMAGES},
        {"id": "t-1", "task_id": "other", "status": "completed", "images": IMAGES},
        {"data": {"id": "t-1", "status": "completed", "images": IMAGES}},
        {"data": {"task_id": "t-1", "state": "completed", "images": IMAGES}},
        {"id": "t-1", "data": {"status": "completed", "images": IMAGES}},
        {"code": 200, "message": "ok", "data": {"task_id": "t-1", "status": "completed", "images": IMAGES}},
        {"id": "t-1", "status": "completed", "images": [URL]},
        {"id": "t-1", "status": "completed", "images": [{"url": URL}, {"url": None}, {}, None, ""]},
        {"id": "t-1", "images": IMAGES},
        {"id": "t-1", "status": "completed", "response": {"status": 200, "body": {"images": IMAGES}}},
        {
            "id": "t-1",
            "status": "completed",
            "response": {
                "status": 200,
                "content_type": "application/json",
                "headers": {},
                "body": {"id": "inner", "status": "completed", "images": IMAGES},
            },
        },
        {"id": "t-1", "status": "completed", "response": {"status": 200, "body": {"data": {"images": IMAGES}}}},
        {"id": "t-1", "status": "completed", "response": {"status": 200, "body": json.dumps({"images": IMAGES})}},
        {"id": "t-1", "status": "completed", "images": IMAGES, "response": {"status": 200, "body": {"images": []}}},
        {"data": {"id": "t-1", "status": "completed", "response": {"status": 200, "body": {"images": IMAGES}}}},
    ],
)
def test_a_finished_task_is_recognised_in_every_shape(body: object) -> None:
    task = read(body)

    assert (task.id, task.status, task.images) == ("t-1", "completed", (URL,))


def test_no_more_addresses_are_read_than_a_task_can_have() -> None:
    images = [URL + "?" + "a" * 4000, *(f"{URL}?{n}" for n in range(100))]
    task = read({"id": "t-1", "status": "completed", "images": images})

    assert task.images == tuple(f"{URL}?{n}" for n in range(8))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"id": "t-1", "status": "failed", "error": "Content policy violation"}, "Content policy violation"),
        ({"id": "t-1", "status": "failed", "error": {"code": "x", "message": "Too spicy"}}, "Too spicy"),
        ({"id": "t-1", "status": "failed", "error": {"code": "policy"}}, "policy"),
        ({"id": "t-1", "status": "failed"}, ""),
        ({"data": {"id": "t-1", "status": "failed", "error": "No"}}, "No"),
        (
            {
                "id": "t-1",
                "status": "failed",
                "error": "outer",
                "response": {"status": 422, "body": {"error": "inner"}},
            },
            "inner",
        ),
        ({"id": "t-1", "status": "failed", "error": "outer", "response": {"status": 422, "body": None}}, "outer"),
        ({"id": "t-1", "status": "completed", "response": {"status": 422, "body": {"error": "inner"}}}, "inner"),
        ({"id": "t-1", "status": "completed", "response": {"status": 302, "body": {"error": "moved"}}}, "moved"),
        ({"id": "t-1", "status": "completed", "response": {"status": 500, "body": {"status": "completed"}}}, ""),
    ],
)
def test_a_failure_keeps_its_reason_in_every_shape(body: object, reason: str) -> None:
    task = read(body)

    assert ("t-1", "failed", reason) == (task.id, task.status, task.error)


def test_completed_without_a_response_is_over_and_shows_nothing() -> None:
    """Section 1.4 calls it an error; the studio turns it into one that keeps the id."""
    task = read({"id": "t-1", "status": "completed"})

    assert task.is_over
    assert task.images == ()


@pytest.mark.parametrize(
    ("word", "status"),
    [
        *((word, "completed") for word in ("completed", "complete", "succeeded", "success", "finished")),
        *((word, "failed") for word in ("failed", "error", "canceled", "cancelled", "timeout")),
        *((word, "failed") for word in ("generate_failed", "create_task_failed")),
        *((word, "pending") for word in ("pending", "queued", "submitted")),
        *((word, "processing") for word in ("processing", "running", "in_progress")),
    ],
)
def test_the_words_of_every_client_are_understood(word: str, status: Status) -> None:
    assert status == read({"id": "t-1", "status": word}).status


@pytest.mark.parametrize("spelled", ["queued", "QUEUED", "Queued", " queued "])
@pytest.mark.parametrize("name", ["status", "state"])
def test_a_word_is_understood_however_it_is_spelled_and_under_either_name(name: str, spelled: str) -> None:
    assert read({"id": "t-1", name: spelled}).status == "pending"


@pytest.mark.parametrize("status", ["upscaling", "moderation_hold", "完成", "", None, 7, True, [], {}])
def test_an_unknown_or_missing_word_means_still_running(status: object) -> None:
    """Never declare a failure, nor a success, that nobody announced."""
    assert read({"id": "t-1", "status": status}).status == "processing"
    assert read({"id": "t-1"}).status == "processing"


def test_an_unknown_word_is_kept_to_be_reported() -> None:
    assert read({"id": "t-1", "status": "Upscaling"}).word == "Upscaling"


@pytest.mark.parametrize(
    ("body", "task_id"),
    [
        ({"id": 12345}, "12345"),
        ({"task_id": 0}, "0"),
        ({"data": {"id": 12345}}, "12345"),
        ({"id": 7, "task_id": "t-1"}, "t-1"),
        ({"id": 7, "data": {"id": "t-1"}}, "t-1"),
    ],
)
def test_an_id_may_be_a_number_where_no_text_names_the_task(body: object, task_id: str) -> None:
    assert read(body).id == task_id


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "text",
        5,
        {},
        {"id": True},
        {"id": 5.0},
        {"id": -5},
        {"id": 10**128},
        {"id": "../../me"},
        {"id": "a" * 129},
    ],
)
def test_a_body_without_a_usable_id_is_no_task(body: object) -> None:
    assert task_from(body) is None


@pytest.mark.parametrize(
    ("bill", "cents"),
    [
        ({"usage": {"cost": 0.05}}, 5),
        ({"usage": {"cost": 0.07, "generated_images": 1}}, 7),
        ({"usage": {"cost": 0.145}}, 15),
        ({"usage": {"cost": 0.29}}, 29),
        ({"usage": {"cost": 1}}, 100),
        ({"usage": {"cost": 0}}, 0),
        ({"usage": {"cost": "0.05"}}, 5),
        ({"usage": {"cost": 0.05}, "billing": {"settlement": {"charged_amount_cents": 9}}, "cost_cents": 8}, 5),
        ({"billing": {"settlement": {"charged_amount_cents": 37, "amount_micro_cents": 37_000_000}}}, 37),
        ({"billing": {"settlement": {"amount_micro_cents": 37_000_000}}}, 37),
        ({"billing": {"settlement": {"charged_amount_cents": None, "amount_micro_cents": 4_500_000}}}, 5),
        ({"billing": {"reservation": {"amount_cents": 5}, "settlement": None, "refund": None}}, None),
        ({"cost_cents": 14}, 14),
        ({"amount_cents": 24}, 24),
        ({"usage": {}}, None),
        ({"usage": None}, None),
        ({"usage": {"cost": None}}, None),
        ({"usage": {"cost": True}}, None),
        ({"usage": {"cost": -1}}, None),
        ({"usage": {"cost": "free"}}, None),
        ({"usage": {"cost": float("nan")}}, None),
        ({"usage": {"cost": float("inf")}}, None),
        ({"usage": {"cost": 1e300}}, None),
        ({"usage": {"cost": 1e17}}, None),
        ({"usage": {"cost": "9e999999"}}, None),
        ({"cost_cents": 10**9}, 10**9),
        ({"cost_cents": 10**9 + 1}, None),
        ({}, None),
    ],
)
def test_the_cost_is_what_runapi_states(bill: dict[str, object], cents: int | None) -> None:
    """Section 2: dollars as a float since September 2026, a settlement in cents before."""
    assert cents == read({"id": "t-1", "status": "completed", "images": IMAGES, **bill}).cost_cents


def test_the_cost_is_found_inside_the_generic_task_result() -> None:
    inner = {"images": IMAGES, "usage": {"cost": 0.24}}
    body = {"id": "t-1", "status": "completed", "response": {"status": 200, "body": inner}}

    assert read(body).cost_cents == 24


NAMES = st.sampled_from(
    [
        "id",
        "task_id",
        "status",
        "state",
        "data",
        "response",
        "body",
        "images",
        "url",
        "error",
        "message",
        "usage",
        "cost",
        "billing",
        "settlement",
        "charged_amount_cents",
        "amount_micro_cents",
        "cost_cents",
    ]
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None, database=None)
@given(JUNK)
def test_no_body_can_break_the_reader(body: object) -> None:
    """It reads what was paid for: an exception here would lose an id."""
    task = task_from(body, fallback_id="t-1")

    assert task is None or task.id
