"""Section 1.7: prepare, PUT to storage, confirm."""

from __future__ import annotations

import json
from collections.abc import Mapping

import anyio
import httpx
import pytest

from flux2_mcp.errors import RunApiError, Unreachable, UnreadableAnswer
from flux2_mcp.runapi.uploads import ticket_request
from flux2_mcp.simulator import Fault, Script
from tests.runapi.network import KEY, Answer, Answers, breaks, runapi, says, simulated

STORAGE = "https://storage.test/put?signature=abc"
LENT = says(200, {"url": "https://file.test/a.png", "file_name": "a.png", "expires_at": "2026-06-08T11:30:00Z"})


def ticket(url: str = STORAGE, headers: Mapping[str, object] | None = None) -> Answer:
    return says(200, {"signed_id": "signed-1", "upload_url": url, "headers": headers or {}})


@pytest.mark.parametrize(
    ("data", "checksum"),
    [(b"png", "v/E5+gWsWD9oWlI6s9EQoA=="), (b"image-bytes", "+YMUOTeczbIMxroStU64aA==")],
)
def test_the_checksum_is_the_md5_that_runapi_expects(data: bytes, checksum: str) -> None:
    """The golden vectors of section 10."""
    assert ticket_request(data, "a.png") == {"filename": "a.png", "byte_size": len(data), "checksum": checksum}


async def test_a_file_is_lent_to_the_simulator() -> None:
    simulator, api = simulated(Script(upload_headers={"X-Amz-Meta": "demanded"}))
    lent = await api.upload(b"\x89PNG\r\n\x1a\n", filename="a.png")

    assert [seen.method for seen in simulator.requests] == ["POST", "PUT", "POST"]
    assert lent.expires_at is not None


async def test_the_bytes_travel_with_exactly_the_tickets_headers_and_without_the_key() -> None:
    line = Answers(ticket(headers={"Content-Type": "application/octet-stream", "X-Signed": "1"}), says(200), LENT)
    await runapi(line).upload(b"png", filename="a.png")
    prepare, put, confirm = line.requests

    assert (str(put.url), put.content) == (STORAGE, b"png")
    assert put.headers["content-type"] == "application/octet-stream"
    assert put.headers["x-signed"] == "1"
    assert KEY not in str(put.headers.raw)
    assert json.loads(confirm.content) == {"signed_id": "signed-1"}
    assert [each.headers["authorization"] for each in (prepare, confirm)] == [f"Bearer {KEY}"] * 2


class Drips(Answers):
    """A storage whose answer never ends, though it is never silent for long."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            await anyio.sleep_forever()
        return await super().handle_async_request(request)


@pytest.mark.virtual_time
async def test_a_storage_that_never_comes_to_an_end_is_given_up() -> None:
    """Whoever sends the same call again waits for the same upload."""
    began = anyio.current_time()
    with anyio.fail_after(3600), pytest.raises(Unreachable, match="could not be uploaded"):
        await runapi(Drips(ticket())).upload(bytes(2**20), filename="a.png")

    assert anyio.current_time() - began == pytest.approx(120 + 16, abs=1)


async def test_a_ticket_cannot_set_credentials() -> None:
    secrets = {"Authorization": "Bearer other", "cookie": "a=b", "Proxy-Authorization": "Basic abc"}
    line = Answers(ticket(headers=secrets), says(200), LENT)
    await runapi(line).upload(b"png", filename="a.png")

    assert not {name.lower() for name in secrets} & set(line.requests[1].headers)


async def test_a_ticket_cannot_say_how_the_bytes_travel() -> None:
    """A length that is not theirs makes the transport fail in the middle of the body."""
    theirs = {"Content-Length": "1", "transfer-encoding": "chunked", "Host": "evil.test", "Connection": "upgrade"}
    line = Answers(ticket(headers=theirs), says(200), LENT)
    await runapi(line).upload(b"png", filename="a.png")
    headers = line.requests[1].headers

    assert (headers["content-length"], headers["host"]) == ("3", "storage.test")
    assert "transfer-encoding" not in headers
    assert headers["connection"] == "keep-alive"


async def test_a_ticket_that_the_transport_cannot_send_is_unreadable() -> None:
    line = Answers(ticket(headers={"X": "two\r\nlines"}), breaks(httpx.LocalProtocolError), LENT)
    with pytest.raises(UnreadableAnswer):
        await runapi(line).upload(b"png", filename="a.png")

    assert len(line.requests) == 2


@pytest.mark.parametrize(
    "failure",
    [
        *(says(status, headers={"location": "https://evil.test/put"}) for status in (301, 307, 308)),
        *(says(status) for status in (400, 403, 404, 429, 500, 503)),
        breaks(httpx.ReadTimeout),
    ],
    ids=["301", "307", "308", "400", "403", "404", "429", "500", "503", "timeout"],
)
async def test_storage_gets_one_try(failure: Answer) -> None:
    """The address works once. Nothing is confirmed that was not stored."""
    line = Answers(ticket(), failure, says(200), LENT)
    with pytest.raises(Unreachable) as caught:
        await runapi(line).upload(b"png", filename="a.png")

    assert len(line.requests) == 2
    assert "signature" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://storage.test/put",
        "http://127.0.0.1:9000/put",
        "http://runapi.test/put",
        "ftp://storage.test/put",
        "file:///etc/passwd",
        "/put",
        "",
        "https://[::1/put",
        "https://storage.test:port/put",
        "https://stor\nage.test/put",
        "https://storage.test/" + "a" * 70_000,
    ],
    ids=lambda url: repr(url[:30]),
)
async def test_storage_without_tls_or_sense_gets_nothing(url: str) -> None:
    line = Answers(ticket(url), says(200), LENT)
    with pytest.raises(UnreadableAnswer):
        await runapi(line).upload(b"png", filename="a.png")

    assert len(line.requests) == 1


async def test_a_loopback_runapi_may_store_on_its_own_origin() -> None:
    """A simulator on this machine has no TLS."""
    line = Answers(ticket("http://127.0.0.1:8000/put"), says(200), LENT)
    await runapi(line, base_url="http://127.0.0.1:8000").upload(b"png", filename="a.png")

    assert len(line.requests) == 3


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"signed_id": "s", "headers": {}},
        {"upload_url": STORAGE, "headers": {}},
        {"signed_id": "s", "upload_url": STORAGE, "headers": {"X": {"no": "text"}}},
        {"signed_id": "s", "upload_url": STORAGE, "headers": {"X": "schön"}},
        {"signed_id": "s", "upload_url": STORAGE, "headers": {"schön": "x"}},
    ],
    ids=str,
)
async def test_a_useless_ticket_is_an_unreadable_answer(body: object) -> None:
    line = Answers(says(200, body), says(200), LENT)
    with pytest.raises(UnreadableAnswer):
        await runapi(line).upload(b"png", filename="a.png")

    assert len(line.requests) == 1


@pytest.mark.parametrize("body", ["url", {}, {"url": 5}, {"url": None}])
async def test_a_confirmation_without_an_address_is_unreadable(body: object) -> None:
    with pytest.raises(UnreadableAnswer, match=r"url|body"):
        await runapi(Answers(ticket(), says(200), says(200, body))).upload(b"png", filename="a.png")


@pytest.mark.parametrize("on", ["prepare", "put", "confirm"])
async def test_every_step_may_be_refused(on: str) -> None:
    simulator, api = simulated()
    simulator.faults.append(Fault(on=on, status=413))  # pyright: ignore[reportArgumentType]
    with pytest.raises(RunApiError) as caught:
        await api.upload(b"png", filename="a.png")

    assert caught.value.status == 413
