"""Section 4.3 of the fact sheet: what is sent again, when, and what is known afterwards."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flux2_mcp.errors import NotFound, RunApiError, Unreachable, UnreadableAnswer
from flux2_mcp.runapi.client import RunAPI
from flux2_mcp.runapi.models import Task
from flux2_mcp.runapi.retries import backoff
from flux2_mcp.runapi.retry_after import LONGEST_RETRY_AFTER, retry_after
from flux2_mcp.simulator import Fault
from tests.runapi.network import FOX, Answer, Answers, Naps, breaks, breaks_in_the_middle, runapi, says, simulated

MADE = says(200, {"id": "t-1", "status": "pending"})
RICH = says(200, {"balance_cents": 5})
PASSING = (408, 425, 429, 500, 502, 503, 504)
LOST = (httpx.ReadError, httpx.ReadTimeout, httpx.WriteError, httpx.WriteTimeout, httpx.RemoteProtocolError)
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


async def create(api: RunAPI) -> Task:
    return await api.create("text_to_image", FOX, idempotency_key="k-1")


@pytest.mark.parametrize("status", PASSING)
async def test_a_passing_failure_is_sent_again_with_the_same_key(status: int) -> None:
    line = Answers(says(status), says(status), MADE)
    task = await create(runapi(line))

    assert task.id == "t-1"
    assert [request.headers["idempotency-key"] for request in line.requests] == ["k-1"] * 3
    assert len({request.content for request in line.requests}) == 1


@pytest.mark.parametrize("failure", [says(503), breaks(httpx.ReadError)], ids=["503", "broken"])
async def test_each_retry_waits_longer(failure: Answer) -> None:
    """Not after a 429: then the rate limiter decides, which knows what else is asked with this key."""
    naps = Naps()
    await create(runapi(Answers(failure, failure, MADE), naps=naps))

    assert 0.375 <= naps.seconds[0] <= 0.5
    assert 0.75 <= naps.seconds[1] <= 1.0


@pytest.mark.parametrize("status", PASSING)
async def test_three_tries_are_enough(status: int) -> None:
    for ask in (create, RunAPI.balance):
        line = Answers(says(status))
        with pytest.raises(RunApiError) as caught:
            await ask(runapi(line))

        assert (status, 3) == (caught.value.status, len(line.requests))


@pytest.mark.parametrize("error", [*LOST, *NEVER_SENT])
async def test_a_broken_connection_is_tried_again(error: type[httpx.TransportError]) -> None:
    for ask, good in ((create, MADE), (RunAPI.balance, RICH)):
        line = Answers(breaks(error), breaks(error), good)
        await ask(runapi(line))

        assert len(line.requests) == 3


async def test_an_answer_that_breaks_off_is_asked_for_again() -> None:
    """Its head arrived, so the transport below sees a success; the task exists, its id does not."""
    line = Answers(breaks_in_the_middle, MADE)

    assert (await create(runapi(line))).id == "t-1"


UNREADABLE: dict[str, Answer] = {
    "empty": says(200, content=b""),
    "no content": says(204),
    "cut off": says(200, content=b'{"id": "t-'),
    "a page": says(200, content=b"<html><title>Sign in</title></html>"),
    "no id": says(200, {"status": "pending"}),
    "a list": says(201, []),
}


@pytest.mark.parametrize("answer", UNREADABLE.values(), ids=UNREADABLE)
async def test_a_success_that_names_no_task_is_asked_for_again_with_the_same_key(answer: Answer) -> None:
    naps = Naps()
    line = Answers(answer, answer, MADE)
    task = await create(runapi(line, naps=naps))

    assert task.id == "t-1"
    assert [request.headers["idempotency-key"] for request in line.requests] == ["k-1"] * 3
    assert len({request.content for request in line.requests}) == 1
    assert len(naps.seconds) == 2


@pytest.mark.parametrize("answer", UNREADABLE.values(), ids=UNREADABLE)
async def test_a_success_that_never_names_a_task_stays_in_doubt_after_three_tries(answer: Answer) -> None:
    line = Answers(answer)
    with pytest.raises(UnreadableAnswer) as caught:
        await create(runapi(line))

    assert caught.value.in_doubt
    assert len(line.requests) == 3
    assert {request.url.path for request in line.requests} == {"/api/v1/flux_2/text_to_image"}


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 410, 418, 422, 499, 501, 505, 520, 301])
async def test_a_lasting_failure_is_not_repeated(status: int) -> None:
    for ask in (create, RunAPI.balance):
        line = Answers(says(status))
        with pytest.raises(RunApiError):
            await ask(runapi(line, dialect="sdk"))

        assert len(line.requests) == 1


@pytest.mark.parametrize(
    "failure", [*(says(status) for status in PASSING), breaks(httpx.ReadTimeout)], ids=[*PASSING, "timeout"]
)
async def test_a_post_without_a_key_is_never_repeated(failure: Answer) -> None:
    """A quote, and both halves of an upload."""
    ticket = says(200, {"signed_id": "s", "upload_url": "https://file.test/put", "headers": {}})
    quote, prepare, confirm = Answers(failure), Answers(failure), Answers(ticket, says(200), failure)
    with pytest.raises(RunApiError):
        await runapi(quote).price_quote("text_to_image", FOX)
    with pytest.raises(RunApiError):
        await runapi(prepare).upload(b"png", filename="a.png")
    with pytest.raises(RunApiError):
        await runapi(confirm).upload(b"png", filename="a.png")

    assert [len(line.requests) for line in (quote, prepare, confirm)] == [1, 1, 3]


DOUBTFUL: dict[str, list[Answer]] = {
    **{error.__name__: [breaks(error)] for error in LOST},
    **{str(status): [says(status)] for status in (408, 425, 499, 500, 501, 502, 503, 504, 505, 520)},
    **{str(status): [says(status, headers={"location": "/elsewhere"})] for status in (301, 302, 303, 307, 308)},
    "304": [says(304)],
    "cut off": [breaks_in_the_middle],
    "captive portal": [says(200, content=b"<html>Sign in to the Wi-Fi</html>")],
    "empty": [says(200, content=b"")],
    "no content": [says(204)],
    "nested too deeply": [says(200, content=b"[" * 100_000)],
    "no text": [says(200, content=b"\xff\xfe")],
    "no gzip": [says(200, content=b"plain", headers={"content-encoding": "gzip"})],
    "no id": [says(200, {"status": "pending"})],
    "a list": [says(201, [])],
    "300": [says(300)],
    # Once in doubt, always in doubt, whatever the later tries say.
    "lost, then 429": [breaks(httpx.ReadTimeout), says(429)],
    "lost, then 401": [breaks(httpx.ReadTimeout), says(401)],
    "cut off, then 402": [breaks_in_the_middle, says(402)],
    "500, then 422": [says(500), says(422)],
    "502, then 404": [says(502), says(404)],
    "empty, then 402": [says(200, content=b""), says(402)],
    "a page, then 404": [says(200, content=b"<html>"), says(404)],
    "no id, then 429": [says(200, {}), says(429)],
    "500, then no connection": [says(500), breaks(httpx.ConnectError)],
}


@pytest.mark.parametrize("case", DOUBTFUL)
async def test_a_create_that_may_have_had_an_effect_is_in_doubt(case: str) -> None:
    with pytest.raises(RunApiError) as caught:
        await create(runapi(Answers(*DOUBTFUL[case])))

    assert caught.value.in_doubt


@pytest.mark.parametrize(
    "answer",
    [*(says(status) for status in (400, 401, 402, 403, 404, 409, 410, 418, 422, 429)), *map(breaks, NEVER_SENT)],
    ids=[400, 401, 402, 403, 404, 409, 410, 418, 422, 429, *(error.__name__ for error in NEVER_SENT)],
)
async def test_a_create_that_had_no_effect_is_not_in_doubt(answer: Answer) -> None:
    with pytest.raises(RunApiError) as caught:
        await create(runapi(Answers(answer)))

    assert not caught.value.in_doubt


@pytest.mark.parametrize("body", [{}, {"status": "pending"}, {"id": None}])
async def test_the_header_names_a_task_that_the_body_does_not(body: object) -> None:
    """Section 1.0: `X-RunAPI-Task-Id` is there whenever a task is."""
    task = await create(runapi(Answers(says(200, body, headers={"X-RunAPI-Task-Id": "t-9"}))))

    assert (task.id, task.is_over) == ("t-9", False)


@pytest.mark.parametrize(
    "content",
    [b"", b"Accepted", b"[]", b'{"status": "queued"}', b'{"id": 7}'],
    ids=["empty", "text", "list", "state", "7"],
)
@pytest.mark.parametrize(
    "headers",
    [
        {"X-RunAPI-Task-Id": "t-9"},
        {"X-RunAPI-Task-Id": "t-9", "Location": "/api/v1/tasks/other"},
        {"Location": "/api/v1/flux_2/text_to_image/t-9"},
        {"Location": "https://runapi.test/api/v1/tasks/t-9?wait=1"},
        {"X-RunAPI-Task-Id": "no id", "Location": "t-9"},
    ],
    ids=["header", "header first", "path", "address", "relative"],
)
async def test_an_accepted_order_is_found_by_whatever_names_it(headers: dict[str, str], content: bytes) -> None:
    task = await create(runapi(Answers(says(202, content=content, headers=headers))))

    by_number = b"7" in content and "t-9" not in headers.get("X-RunAPI-Task-Id", "")
    assert task.id == ("7" if by_number else "t-9")
    assert not task.is_over


@pytest.mark.parametrize(
    "location",
    ["https://evil.test/tasks/t-9", "/api/v1/tasks", "/api/v1/flux_2/text_to_image", "/api/v1/tasks/", "/api/v1/a.b"],
)
async def test_a_location_that_names_no_task_is_not_believed(location: str) -> None:
    with pytest.raises(UnreadableAnswer) as caught:
        await create(runapi(Answers(says(202, content=b"", headers={"Location": location}))))

    assert caught.value.in_doubt


async def test_a_header_that_is_no_id_is_not_believed() -> None:
    with pytest.raises(UnreadableAnswer):
        await create(runapi(Answers(says(200, {}, headers={"X-RunAPI-Task-Id": "../../me/balance"}))))


@pytest.mark.parametrize(
    "fault",
    [
        Fault(on="create", after=True, lose=True, times=2),
        Fault(on="create", after=True, status=500, times=2),
        Fault(on="create", after=True, status=429, times=2),
        Fault(on="create", after=True, body=b"cut off"),
    ],
    ids=["lost", "500", "429", "junk"],
)
async def test_no_second_task_is_ever_paid(fault: Fault) -> None:
    """Whatever comes between us and a task, its Idempotency-Key finds it again."""
    simulator, api = simulated()
    simulator.faults.append(fault)
    try:
        task = await create(api)
    except UnreadableAnswer:
        task = await create(api)

    assert [task.id] == [paid.id for paid in simulator.ledger.paid_tasks()]


@pytest.fixture
def in_zone(zone: str) -> Iterator[None]:
    """This computer is in this zone, where it can be moved."""
    if sys.platform == "win32":
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("7", 7.0),
        (" 2.5 ", 2.5),
        ("0", 0.0),
        ("-5", 0.0),
        ("1e9", LONGEST_RETRY_AFTER),
        ("inf", LONGEST_RETRY_AFTER),
        ("-inf", 0.0),
        ("9" * 400, LONGEST_RETRY_AFTER),
        ("nan", None),
        ("", None),
        ("soon", None),
        ("1 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999999", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Sun, 22 Nov 2026 12:00:12 GMT", 12.0),
        ("Sun, 22 Nov 2026 12:00:12 -0000", 12.0),
        ("Sun, 22 Nov 2026 13:00:12 +0100", 12.0),
        ("Wed, 22 Nov 2036 12:00:00 GMT", LONGEST_RETRY_AFTER),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "JST-9"])
@pytest.mark.usefixtures("in_zone")
def test_retry_after_is_read_in_every_form(asked: str, seconds: float | None) -> None:
    """Wherever this computer is."""
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)

    assert seconds == retry_after(httpx.Headers({"retry-after": asked}), now=lambda: noon)


@settings(max_examples=150, deadline=None, database=None)
@given(st.text(max_size=40) | st.from_regex(r"\A\w{3}, \d+ \w{3} \d+ \d+:\d+:\d+ [+-]\d+\Z"))
def test_no_retry_after_can_break_the_wait(asked: str) -> None:
    seconds = retry_after(httpx.Headers({b"retry-after": asked.encode()}))

    assert seconds is None or 0.0 <= seconds <= LONGEST_RETRY_AFTER


@pytest.mark.parametrize("status", PASSING)
async def test_runapi_may_ask_for_a_longer_wait(status: int) -> None:
    """On any of them, not only on 429; never for a shorter one than ours."""
    later = format_datetime(datetime.now(UTC) + timedelta(days=1))
    for asked, least, most in (
        ("7", 7.0, 7.0),
        (later, LONGEST_RETRY_AFTER, LONGEST_RETRY_AFTER),
        ("0.01", 0.375, 0.5),
    ):
        naps = Naps()
        line = Answers(says(status, headers={"retry-after": asked}), RICH)
        await runapi(line, naps=naps).balance()

        assert len(naps.seconds) == 1
        # After a 429 it is the gate that waits, and its clock has ticked meanwhile.
        assert least - 0.1 <= naps.seconds[0] <= most


def test_each_wait_is_twice_the_last_and_up_to_a_quarter_shorter() -> None:
    for _ in range(50):
        for wait, longest in zip(backoff(), (0.5, 1.0), strict=True):
            assert longest * 0.75 <= wait <= longest


async def test_a_single_look_is_a_single_request() -> None:
    """`watch` has a schedule of its own; retries below it would hide how long RunAPI has been silent."""
    line = Answers(says(503))
    with pytest.raises(RunApiError):
        await runapi(line).look(Task(id="t-1", status="pending", action="text_to_image"))

    assert len(line.requests) == 1


async def test_each_try_has_its_time() -> None:
    line = Answers(RICH)
    await runapi(line).balance()

    assert line.requests[0].extensions["timeout"] == {"connect": 5.0, "read": 30.0, "write": 30.0, "pool": 30.0}


async def test_silence_is_no_answer() -> None:
    with pytest.raises(Unreachable, match="did not answer in time"):
        await runapi(Answers(breaks(httpx.ReadTimeout))).balance()


async def test_not_found_after_a_lost_try_is_still_in_doubt() -> None:
    """Falling back to the other dialect now might pay twice."""
    line = Answers(breaks(httpx.ReadTimeout), says(404))
    with pytest.raises(NotFound):
        await create(runapi(line))

    assert {request.url.path for request in line.requests} == {"/api/v1/flux_2/text_to_image"}
