"""RunAPI may echo the key anywhere; it must not get into anything that a model or a log sees."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from flux2_mcp.errors import Flux2Error
from flux2_mcp.runapi.models import Task
from tests.runapi.network import FOX, KEY, Answer, Answers, breaks, runapi, says

PLAIN_KEY = "0123456789abcdefPLAIN/+="
"""A key that looks like nothing in particular: only its value can be recognised."""


def everything_about(error: BaseException | None) -> str:
    """Message, fields, repr, and the same of all causes."""
    return "" if error is None else f"{error} {error!r} {vars(error)} {everything_about(error.__cause__)}"


def escaped(key: str) -> bytes:
    """JSON in which one digit of the key is spelled as an escape."""
    return json.dumps({"error": key}).replace("0", "\\u0030").encode()


ERRORS: dict[str, Callable[[str], Answer]] = {
    "a string": lambda key: says(401, {"error": f"Invalid key {key}"}),
    "a code and a message": lambda key: says(401, {"error": {"code": key, "message": f"Bearer {key}"}}),
    "field details": lambda key: says(422, {"error": "Invalid", "errors": {key: [f"{key} is odd"]}}),
    "JSON inside a string": lambda key: says(401, {"error": json.dumps({"Authorization": f"Bearer {key}"})}),
    "escapes": lambda key: says(401, content=escaped(key)),
    "plain text": lambda key: says(401, content=f"Authorization: Bearer {key}".encode()),
    "a title": lambda key: says(401, content=f"<html><title>{key}</title></html>".encode()),
    "HTML entities": lambda key: says(401, content=f"<title>{key.replace('0', '&#48;')}</title>".encode()),
    "the request id": lambda key: says(401, {"error": "No"}, headers={"x-request-id": f"req-{key}"}),
    "a long request id": lambda key: says(401, {"error": "No"}, headers={"x-request-id": "r" * 390 + key}),
    "the end of a long message": lambda key: says(401, {"error": "x" * 390 + key}),
    "the end of a long code": lambda key: says(401, {"code": "c" * 390 + key, "error": "No"}),
    "a success without a task": lambda key: says(200, {key: key, "data": [key]}),
    "a success that is no JSON": lambda key: says(200, content=key.encode()),
}

TASKS: dict[str, Callable[[str], dict[str, object]]] = {
    "a string": lambda key: {"status": "failed", "error": f"No credits for {key}"},
    "an object": lambda key: {"status": "failed", "error": {"message": f"Bearer {key}"}},
    "the status": lambda key: {"status": f"odd {key}"},
    "a stored answer": lambda key: {"response": {"status": 422, "body": {"error": [key, {key: key}]}}},
    "stored JSON": lambda key: {"response": {"status": 422, "body": json.dumps({"error": key})}},
    "stored JSON with escapes": lambda key: {"response": {"status": 422, "body": escaped(key).decode()}},
    "an image": lambda key: {"status": "completed", "images": [{"url": f"https://file.runapi.ai/a.png?key={key}"}]},
}


@pytest.mark.parametrize("key", [KEY, PLAIN_KEY])
@pytest.mark.parametrize("place", ERRORS)
async def test_an_echoed_key_is_in_no_error(place: str, key: str) -> None:
    with pytest.raises(Flux2Error) as caught:
        await runapi(Answers(ERRORS[place](key)), key=key).create("text_to_image", FOX, idempotency_key="k")

    assert key[:12] not in everything_about(caught.value)


@pytest.mark.parametrize("key", [KEY, PLAIN_KEY])
@pytest.mark.parametrize("place", TASKS)
async def test_an_echoed_key_is_in_no_task(place: str, key: str) -> None:
    """A failed task is an answer with 200, and its error goes to the model all the same."""
    line = Answers(says(200, {"id": "t-1", **TASKS[place](key)}))
    made = await runapi(line, key=key).create("text_to_image", FOX, idempotency_key="k")
    seen = await runapi(line, key=key).look(Task(id="t-1", status="processing"))

    assert key[:12] not in f"{made!r} {seen!r}"


@pytest.mark.parametrize("secret", ["runapi_somebodyelses1", "sk-abcdef123456", "Bearer abcdef.123456"])
async def test_other_peoples_secrets_are_hidden_as_well(secret: str) -> None:
    with pytest.raises(Flux2Error) as caught:
        await runapi(Answers(says(401, {"error": f"Not {secret}!"}))).balance()

    assert secret not in str(caught.value)
    assert "[hidden]!" in str(caught.value)


@pytest.mark.parametrize("inside", [False, True], ids=["plain", "stored"])
async def test_half_letters_are_in_no_task(inside: bool) -> None:  # noqa: FBT001
    """JSON can spell one half of a surrogate pair, and no wire to a host can carry that."""
    failed = {"status": "bad \ud800", "error": "bad \ud800 prompt", "images": ["https://file.runapi.ai/\ud800.png"]}
    shown = {"response": {"status": 422, "body": json.dumps(failed)}} if inside else failed
    line = Answers(says(200, content=json.dumps({"id": "t-1", **shown}).encode()))
    task = await runapi(line).look(Task(id="t-1", status="processing"))

    assert (task.word, task.error, task.images) == ("bad ?", "bad ? prompt", ("https://file.runapi.ai/?.png",))


async def test_what_runapi_says_about_a_task_is_one_short_line() -> None:
    """Whatever it says goes to a terminal and into a model's context."""
    failed = {"status": "w" * 300_000, "error": "\x1b[31m" + "no\n" * 5000}
    task = await runapi(Answers(says(200, {"id": "t-1", **failed}))).look(Task(id="t-1", status="processing"))

    assert len(task.word) == 60
    assert len(task.error) == 400
    assert task.error.startswith("[31mno no no")
    assert task.error.isprintable()


async def test_a_broken_connection_says_nothing_about_the_request() -> None:
    with pytest.raises(Flux2Error) as caught:
        await runapi(Answers(breaks(httpx.ReadError))).balance()

    assert KEY not in everything_about(caught.value)


async def test_no_key_means_no_header() -> None:
    """Prices may be asked for by anybody, and "Bearer " with nothing after it is a header that some proxies refuse."""
    line = Answers(says(200, {"balance_cents": 1}))
    await runapi(line, key="").balance()

    assert "authorization" not in line.requests[0].headers
