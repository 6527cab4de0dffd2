"""Section 9: where the key may go, and what may become part of a path."""

from __future__ import annotations

import httpx
import pytest

from flux2_mcp.errors import InsecureBaseUrl, NotFound
from flux2_mcp.runapi.models import Task
from flux2_mcp.runapi.origins import origin_of, proxy_for
from tests.runapi.network import FOX, KEY, Answers, OnlyPaths, runapi, says

SHOWN = says(200, {"id": "t-1", "status": "processing"})


@pytest.mark.parametrize(
    ("base_url", "asked"),
    [
        ("https://runapi.ai", "https://runapi.ai/api/v1/me/balance"),
        ("https://runapi.ai/", "https://runapi.ai/api/v1/me/balance"),
        ("HTTPS://RunAPI.ai", "https://runapi.ai/api/v1/me/balance"),
        ("https://runapi.ai:8443", "https://runapi.ai:8443/api/v1/me/balance"),
        ("https://gateway.test/runapi", "https://gateway.test/runapi/api/v1/me/balance"),
        ("https://gateway.test/runapi/", "https://gateway.test/runapi/api/v1/me/balance"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/api/v1/me/balance"),
        ("http://localhost:8000", "http://localhost:8000/api/v1/me/balance"),
        ("http://[::1]:8000/", "http://[::1]:8000/api/v1/me/balance"),
    ],
)
async def test_a_safe_address_is_used_as_it_is(base_url: str, asked: str) -> None:
    line = Answers(says(200, {"balance_cents": 1}))
    await runapi(line, base_url=base_url).balance()

    assert str(line.requests[0].url) == asked
    assert line.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "base_url",
    [
        "http://runapi.ai",
        "http://127.0.0.1.evil.test",
        "http://127.0.0.1@evil.test",
        "http://localhost.evil.test",
        "http://[::2]",
        "http://[::1]8000",
        "http://0.0.0.0:8000",
        "http://10.0.0.1",
        "https://user:password@runapi.ai",
        "https://runapi.ai?x=1",
        "https://runapi.ai#there",
        "https://runapi.ai:99999",
        "https://runapi.ai:port",
        "https://runapi.ai\\.evil.test",
        "https://runapi.ai\n.evil.test",
        "https://runapi .ai",
        "https://xn--.test",
        "https://[::1",
        "https://",
        "https:///path",
        "https://" + "a" * 70_000,
        "ftp://runapi.ai",
        "file:///etc/passwd",
        "runapi.ai",
        "//runapi.ai",
        "",
    ],
    ids=lambda url: repr(url[:30]),
)
def test_an_unsafe_address_is_refused_before_anything_is_sent(base_url: str) -> None:
    with pytest.raises(InsecureBaseUrl) as caught:
        runapi(Answers(says(200)), base_url=base_url)

    assert "RUNAPI_BASE_URL" in str(caught.value)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.test/api/v1/tasks/t-1",
        "//evil.test/api/v1/tasks/t-1",
        "http://runapi.test/api/v1/tasks/t-1",
        "https://runapi.test:8443/api/v1/tasks/t-1",
        "https://runapi.test.evil.test/x",
        "https://runapi.test@evil.test/x",
        "https://runapi.test\\@evil.test/x",
        "javascript:alert(1)",
        "ftp://runapi.test/x",
        "https://[::1/x",
        "https://runapi.test:port/x",
        "https://runapi.test",
        "/" + "x" * 70_000,
        "/a\x7fb",
        "",
    ],
    ids=lambda location: repr(location[:40]),
)
async def test_the_key_never_leaves_runapi_and_the_id_is_never_lost(location: str) -> None:
    """The task is paid for by the time its Location is read, however odd that is."""
    line = Answers(says(202, {"id": "t-1"}, headers={"location": location}), SHOWN)
    api = runapi(line)
    task = await api.create("text_to_image", FOX, idempotency_key="k-1")
    await api.look(task)

    assert task.id == "t-1"
    assert str(line.requests[1].url) == "https://runapi.test/api/v1/flux_2/text_to_image/t-1"


@pytest.mark.parametrize("location", ["https://evil.test\\@runapi.test/x", "/pre\\..\\x", "/../../x", "?x=//evil.test"])
async def test_a_location_that_libraries_may_read_in_two_ways_stays_on_runapi(location: str) -> None:
    line = Answers(says(202, {"id": "t-1"}, headers={"location": location}), SHOWN)
    api = runapi(line)
    await api.look(await api.create("text_to_image", FOX, idempotency_key="k-1"))

    assert {origin_of(str(request.url)) for request in line.requests} == {"https://runapi.test:443"}


@pytest.mark.parametrize(
    "location",
    ["/runapihttps://evil.test/steal", "/runapi//evil.test/steal", "https://gateway.test/runapihttp://evil.test/x"],
)
async def test_a_prefix_cut_off_a_path_leaves_no_address_behind(location: str) -> None:
    line = Answers(says(202, {"id": "t-1"}, headers={"location": location}), SHOWN)
    api = runapi(line, base_url="https://gateway.test/runapi")
    await api.look(await api.create("text_to_image", FOX, idempotency_key="k-1"))

    assert {request.url.host for request in line.requests} == {"gateway.test"}


@pytest.mark.parametrize(
    "location",
    [
        "/runapi/api/v1/tasks/t-1?part=1",
        "https://gateway.test/runapi/api/v1/tasks/t-1?part=1",
        "https://gateway.test:443/runapi/api/v1/tasks/t-1?part=1#x",
        "/api/v1/tasks/t-1?part=1",
    ],
)
async def test_a_location_is_followed_behind_a_prefix(location: str) -> None:
    """A gateway may or may not know that it stands in front of RunAPI."""
    line = Answers(says(202, {"id": "t-1"}, headers={"location": location}), SHOWN)
    api = runapi(line, base_url="https://gateway.test/runapi")
    await api.look(await api.create("text_to_image", FOX, idempotency_key="k-1"))

    assert str(line.requests[1].url) == "https://gateway.test/runapi/api/v1/tasks/t-1?part=1"


NO_IDS = [
    "../../me/balance",
    "..",
    ".",
    "",
    " ",
    "a/b",
    "a?b",
    "a#b",
    "%2e%2e",
    "a" * 129,
    "идент",
    "\uff11\uff12",
    "a\n",
    "a\x00",
]


@pytest.mark.parametrize("id", NO_IDS, ids=ascii)
async def test_what_is_no_id_reaches_no_path(id: str) -> None:
    """Section 9: the vendor's Python package really sent the key to /api/v1/me/balance."""
    line = OnlyPaths({})
    for look in (runapi(line).find(id), runapi(line).look(Task(id=id, status="pending"))):
        with pytest.raises(NotFound, match="1 to 128 letters"):
            await look

    assert line.requests == []


@pytest.mark.parametrize("id", ["a", "a" * 128, "550e8400-e29b-41d4-a716-446655440000", "tsk_abc123", "--__"])
async def test_every_known_kind_of_id_is_looked_for(id: str) -> None:
    line = Answers(says(200, {"id": id, "status": "processing"}))

    assert (await runapi(line).find(id)).id == id
    assert line.requests[0].url.path.endswith(f"/{id}")


async def test_a_cookie_of_one_key_is_not_sent_with_another() -> None:
    """Connections are shared by all keys; a session must not be."""
    from flux2_mcp.runapi.client import RunAPI

    line = Answers(says(200, {"balance_cents": 1}, headers={"set-cookie": "session=ann; Path=/; Secure"}))
    ann = runapi(line)
    bob = RunAPI(ann.connection, "runapi_bobskey0123456789")
    await ann.balance()
    await bob.balance()

    assert all("cookie" not in request.headers for request in line.requests)
    assert [request.headers["authorization"][:13] for request in line.requests] == ["Bearer runapi", "Bearer runapi"]


def test_a_loopback_address_needs_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TLS the proxy would read the key, and it could not reach this machine's loopback anyway."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")

    assert proxy_for("http://127.0.0.1:8000") is None
    assert proxy_for("http://[::1]:8000") is None
    assert proxy_for("https://runapi.ai") == "http://proxy.test:3128"


def test_a_proxy_may_be_named_without_a_scheme_or_not_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "proxy.test:3128")
    monkeypatch.setenv("no_proxy", "internal.test")

    assert proxy_for("https://runapi.ai") == "http://proxy.test:3128"
    assert proxy_for("https://internal.test") is None
    assert httpx.Proxy(str(proxy_for("https://runapi.ai"))).url.host == "proxy.test"
