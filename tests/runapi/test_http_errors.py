"""Section 4 of the fact sheet: statuses, and the shapes in which RunAPI describes an error."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flux2_mcp import errors
from flux2_mcp.errors import RunApiError
from flux2_mcp.runapi.http_errors import error_from
from flux2_mcp.text import LONGEST_LINE
from tests.runapi.network import Answers, runapi, says

GATEWAY_PAGE = "<!doctype html><html><head><title>502 Bad Gateway</title></head><body>secret guts</body></html>"


async def refusal(
    status: int, body: object = None, *, content: bytes | None = None, headers: Mapping[str, str] | None = None
) -> RunApiError:
    """What a look at the balance is answered with, after all retries."""
    answer = says(status, body, content=content, headers=headers)
    with pytest.raises(RunApiError) as caught:
        await runapi(Answers(answer)).balance()
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, errors.RequestRejected) for status in (400, 413, 415, 422)),
        *((status, errors.KeyRejected) for status in (401, 403)),
        (402, errors.OutOfCredits),
        *((status, errors.NotFound) for status in (404, 405)),
        (409, errors.KeyReused),
        (429, errors.Throttled),
        *((status, errors.Unavailable) for status in (408, 425, 499, 500, 501, 502, 503, 504, 505, 520)),
        *((status, RunApiError) for status in (300, 301, 302, 303, 307, 308, 406, 407, 410, 418, 451)),
    ],
)
async def test_every_status_has_its_error(status: int, kind: type[RunApiError]) -> None:
    error = await refusal(status, {"error": "So it is"}, headers={"x-request-id": "req_1"})

    assert type(error) is kind
    assert (status, "req_1") == (error.status, error.request_id)
    assert f"RunAPI said: So it is (HTTP {status})." in str(error)
    assert "(RunAPI request id: req_1)" in str(error)


@pytest.mark.parametrize("status", [301, 307, 408, 410, 418, 425, 499])
async def test_a_rare_status_names_a_next_step_as_well(status: int) -> None:
    assert (await refusal(status)).remedy


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"code": "rate_limited", "message": "Slow down"}}, "Slow down"),
        ({"error": "Insufficient credits"}, "Insufficient credits"),
        ({"error": "Insufficient credits."}, "Insufficient credits"),
        ({"error": "Gone", "code": "not_found"}, "Gone"),
        ({"error": {"code": "only_a_code"}}, "only_a_code"),
        ({"message": "m"}, "m"),
        ({"detail": "d"}, "d"),
        ({"errorMessage": "e"}, "e"),
        ({"msg": "g"}, "g"),
        ({"error": "", "message": "m"}, "m"),
        ({"error": None, "message": "m", "detail": "d"}, "m"),
        ({"errors": ["first", "second"]}, "first; second"),
        (
            {"error": "Validation failed", "errors": {"prompt": ["is required"], "model": ["is odd", "is old"]}},
            "Validation failed: prompt is required; model is odd, is old",
        ),
        ({"errors": {"prompt": "is required"}}, "prompt is required"),
        (
            {"error": {"message": "Validation failed", "errors": {"prompt": ["is required"]}}},
            "Validation failed: prompt is required",
        ),
        ({}, "Unprocessable"),
        ([], "Unprocessable"),
        ("just a string", '"just a string"'),
        ({"error": 5}, "Unprocessable"),
        ({"error": "two\r\nlines\x00\x1b[31m\tand \u202e a trick"}, "two lines [31m and a trick"),
    ],
)
async def test_the_words_are_found_in_every_shape(body: object, words: str) -> None:
    error = await refusal(422, body)

    assert error.message.startswith(f"RunAPI said: {words}")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (GATEWAY_PAGE.encode(), "502 Bad Gateway"),
        (b"\xef\xbb\xbf" + GATEWAY_PAGE.encode(), "502 Bad Gateway"),
        (b"<html><h1 class='a'>Down &amp; <b>out</b></h1>", "Down & out"),
        (b"<html><body>nothing to quote</body></html>", "an HTML page without a title"),
        (b"No active channel available", "No active channel available"),
        (b"", "Bad Gateway"),
        (b"   \n ", "Bad Gateway"),
        (b"\x00\x01\x02\x03", "Bad Gateway"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)) * 9, "Bad Gateway"),
        (b"\xff\xfe\xfd\xfc", "Bad Gateway"),
        (b'{"error": "cut off', "Bad Gateway"),
        (b'{"error": %s}' % (b"9" * 5000), "Bad Gateway"),
        (b"[" * 100_000, "Bad Gateway"),
        (b'{"error":' * 100_000, "Bad Gateway"),
    ],
    ids=lambda value: repr(value[:20]),
)
async def test_a_body_that_is_no_json_is_reduced_to_a_line(content: bytes, words: str) -> None:
    error = await refusal(502, content=content)

    assert error.message == f"RunAPI said: {words} (HTTP 502)."


@pytest.mark.parametrize("charset", ["utf-16", "hex", "rot13", "zip", "idna", "no-such-charset"])
async def test_a_false_charset_breaks_nothing(charset: str) -> None:
    error = await refusal(503, content=b"Try later", headers={"content-type": f"text/plain; charset={charset}"})

    assert error.message == "RunAPI said: Try later (HTTP 503)."


@pytest.mark.parametrize(
    "content",
    [b"word " * 1_500_000, b"<" + b"<title" * 1_300_000, b'{"error": "%s"}' % (b"x" * 8_000_000)],
    ids=["text", "titles that never end", "json"],
)
async def test_eight_megabytes_become_one_short_line(content: bytes) -> None:
    error = await refusal(400, content=content)

    assert len(error.message) < LONGEST_LINE + 60


async def test_a_foreign_status_without_words_still_makes_a_sentence() -> None:
    assert (await refusal(599)).message == "RunAPI said: no reason given (HTTP 599)."


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_never_followed(status: int) -> None:
    """Wherever it points: what follows a redirect takes the key with it, sooner or later."""
    line = Answers(says(status, headers={"location": "https://evil.test/me"}), says(200, {"balance_cents": 1}))
    with pytest.raises(RunApiError):
        await runapi(line).balance()

    assert [str(request.url) for request in line.requests] == ["https://runapi.test/api/v1/me/balance"]


@settings(max_examples=150, deadline=None, database=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), st.integers(300, 599), st.text(max_size=20))
def test_no_answer_can_break_the_description(content: bytes, status: int, retry_after: str) -> None:
    headers = {b"retry-after": retry_after.encode(), b"content-type": b"text/html; charset=utf-7"}
    error = error_from(httpx.Response(status, content=content, headers=headers), mask=str)

    assert str(error).isprintable()
