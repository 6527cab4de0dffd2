"""A picture is fetched from where it may be, within limits, and without our key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import anyio
import httpx
import pytest
from PIL import Image

from flux2_mcp.errors import PictureUnavailable
from flux2_mcp.images import Fetcher, FetchLimits, Preview, preview_of
from tests.images.examples import JPEG, PNG, bomb

RUNAPI = "http://127.0.0.1:8787"
PUBLIC = "93.184.216.34"


def fetcher(transport: httpx.AsyncBaseTransport, *addresses: str, limits: FetchLimits | None = None) -> Fetcher:
    """One for which every host name leads to these addresses."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses or [PUBLIC]

    return Fetcher(runapi_origin=RUNAPI, limits=limits or FetchLimits(), transport=transport, resolve=resolve)


async def refusal(of: Fetcher, url: str = "https://cdn.example/1.png") -> str:
    with anyio.fail_after(5), pytest.raises(PictureUnavailable) as caught:
        await of.fetch(url)
    return caught.value.message


class Answers(httpx.AsyncBaseTransport):
    """The same answer to everything; remembers what it was asked."""

    def __init__(self, body: bytes | httpx.AsyncByteStream = PNG, status: int = 200, **headers: str) -> None:
        self.body = body
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        stream = Pieces(self.body) if isinstance(self.body, bytes) else self.body
        return httpx.Response(self.status, headers=self.headers, stream=stream)


class Redirects(httpx.AsyncBaseTransport):
    """Each path leads on to another address; what leads nowhere is a picture."""

    def __init__(self, ways: Mapping[str, str]) -> None:
        self.ways = ways
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.url.scheme}://{request.headers['Host']}{request.url.path}")
        if onward := self.ways.get(request.url.path):
            return httpx.Response(302, headers={"Location": onward, "Set-Cookie": "visited=yes"})
        return httpx.Response(200, content=PNG)


class Fails(Answers):
    """Raises instead of answering, for the first few requests or to some addresses."""

    def __init__(self, error: Exception, *, times: int = 99, at: str = "") -> None:
        super().__init__()
        self.error = error
        self.times = times
        self.at = at

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.times and self.at in request.url.host:
            self.times -= 1
            self.requests.append(request)
            raise self.error
        return await super().handle_async_request(request)


class Hangs(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise NotImplementedError


class Pieces(httpx.AsyncByteStream):
    """A body in pieces of one megabyte that counts what was taken from it."""

    def __init__(self, data: bytes = b"", *, megabytes: int = 0) -> None:
        self.pieces = [data] if data else [bytes(1_000_000)] * megabytes
        self.taken = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            self.taken += len(piece)
            yield piece

    async def aclose(self) -> None:
        self.closed = True


class BreaksOff(Pieces):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield PNG[:40]
        msg = "peer closed connection"
        raise httpx.RemoteProtocolError(msg)


async def test_a_picture_is_decoded_once_for_itself_and_for_its_preview() -> None:
    made: list[Image.Image] = []

    def previewer(image: Image.Image) -> Preview:
        made.append(image)
        return preview_of(image, edge=8)

    of = Fetcher(runapi_origin=RUNAPI, transport=Answers(), previewer=previewer)

    picture = await of.fetch(f"{RUNAPI}/1.png")

    assert [image.size for image in made] == [(30, 20)]
    assert picture.preview
    assert (picture.preview.width, picture.preview.height) == (8, 5)


async def test_a_picture_comes_from_a_public_address() -> None:
    picture = await fetcher(Answers()).fetch("https://cdn.example/1.png?signature=abc")

    assert picture.data == PNG


async def test_the_checked_address_is_the_one_connected_to() -> None:
    """A second look-up could give another address; the name still stands in Host, and TLS still proves it."""
    network = Answers()

    await fetcher(network).fetch("https://cdn.example:8443/1.png?signature=abc")

    (request,) = network.requests
    assert f"https://{PUBLIC}:8443/1.png?signature=abc" == str(request.url)
    assert request.headers["Host"] == "cdn.example:8443"
    assert request.extensions["sni_hostname"] == "cdn.example"


async def test_an_ipv6_address_can_be_connected_to() -> None:
    network = Answers()

    await fetcher(network, "2606:4700::1111").fetch("https://cdn.example/1.png")

    assert str(network.requests[0].url) == "https://[2606:4700::1111]/1.png"


async def test_the_next_address_is_tried_when_the_first_has_no_route() -> None:
    network = Fails(httpx.ConnectError("no route"), at="2606:4700::1111")

    picture = await fetcher(network, "2606:4700::1111", PUBLIC).fetch("https://cdn.example/1.png")

    assert picture.data == PNG
    assert [request.url.host for request in network.requests] == ["2606:4700::1111", PUBLIC]


async def test_runapis_own_origin_may_be_on_loopback_without_tls() -> None:
    network = Answers()

    picture = await fetcher(network, "127.0.0.1").fetch(f"{RUNAPI}/files/1.png")

    assert picture.data == PNG
    assert [f"{RUNAPI}/files/1.png"] == [str(request.url) for request in network.requests]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8788/1.png", "https://127.0.0.1:8787/1.png", "http://localhost:8787"]
)
async def test_another_port_scheme_or_name_is_not_runapis_origin(url: str) -> None:
    network = Answers()

    await refusal(fetcher(network, "127.0.0.1"), url)

    assert network.requests == []


async def test_no_key_and_no_cookie_is_ever_sent() -> None:
    network = Answers(set_cookie="session=1; Path=/")
    fetch = fetcher(network).fetch

    for url in (f"{RUNAPI}/1.png", f"{RUNAPI}/2.png", "https://cdn.example/1.png", "https://cdn.example/2.png"):
        await fetch(url)

    sent = {name for request in network.requests for name in request.headers}
    assert len(network.requests) == 4
    assert {"host", "accept", "accept-encoding", "user-agent"} == sent


@pytest.mark.parametrize("url", ["https://xn--.test/", "https://xn--a.example/1.png"])
async def test_a_name_that_cannot_be_one_is_refused(url: str) -> None:
    network = Answers()

    assert "not a usable address" in await refusal(fetcher(network), url)
    assert network.requests == []


@pytest.mark.parametrize("url", ["https://user:secret@cdn.example/1.png", "https://user@cdn.example/1.png"])
async def test_an_address_with_credentials_is_refused(url: str) -> None:
    network = Answers()

    said = await refusal(fetcher(network), url)

    assert network.requests == []
    assert "secret" not in said


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.0.8",
        "0.0.0.0",  # noqa: S104 - nothing is bound
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::1",
        "2001:0:4136:e378::1",
        "fc00::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff0e::1",
        "not an address",
    ],
)
async def test_a_name_that_leads_to_a_private_address_is_refused(address: str) -> None:
    network = Answers()

    said = await refusal(fetcher(network, address))

    assert said == "cdn.example is not on the public internet, so the picture was not fetched."
    assert network.requests == []


@pytest.mark.parametrize("address", [PUBLIC, "2606:4700::1111", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"])
async def test_public_addresses_in_every_dress_are_accepted(address: str) -> None:
    picture = await fetcher(Answers(), address).fetch("https://cdn.example/1.png")

    assert picture.data == PNG


async def test_one_private_address_among_public_ones_is_refused() -> None:
    network = Answers()

    await refusal(fetcher(network, PUBLIC, "127.0.0.1"))

    assert network.requests == []


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:10.0.0.1]", "169.254.169.254"])
async def test_a_private_address_in_the_url_itself_is_refused(host: str) -> None:
    network = Answers()

    await refusal(fetcher(network), f"https://{host}/1.png")

    assert network.requests == []


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "localhost", "localhost."])
async def test_the_real_resolver_sees_through_other_spellings_of_loopback(host: str) -> None:
    network = Answers()

    await refusal(Fetcher(runapi_origin=RUNAPI, transport=network), f"https://{host}/1.png")

    assert network.requests == []


async def test_a_name_without_an_address_is_said_to_have_none() -> None:
    async def nowhere(host: str, port: int) -> Sequence[str]:
        msg = "Name or service not known"
        raise OSError(msg)

    said = await refusal(Fetcher(runapi_origin=RUNAPI, transport=Answers(), resolve=nowhere))

    assert said == "There is no address for cdn.example."


@pytest.mark.parametrize(
    "onward",
    ["https://10.0.0.1/secret", "https://[::1]/secret", "http://169.254.169.254/latest/meta-data/", "//127.0.0.1/x"],
)
@pytest.mark.parametrize("start", [f"{RUNAPI}/start", "https://cdn.example/start"])
async def test_a_redirect_to_a_private_address_is_not_followed(start: str, onward: str) -> None:
    network = Redirects({"/start": onward})

    await refusal(fetcher(network), start)

    assert [start] == network.asked


async def test_a_redirect_from_runapi_to_a_private_name_is_not_followed() -> None:
    network = Redirects({"/start": "https://internal.example/1.png"})

    await refusal(fetcher(network, "10.0.0.1"), f"{RUNAPI}/start")

    assert [f"{RUNAPI}/start"] == network.asked


async def test_a_redirect_away_from_tls_is_not_followed() -> None:
    network = Redirects({"/start": "http://cdn.example/1.png"})

    said = await refusal(fetcher(network), "https://cdn.example/start")

    assert said == "The picture's address is not an https address, so it was not fetched."
    assert network.asked == ["https://cdn.example/start"]


@pytest.mark.parametrize("onward", ["file:///etc/passwd", "data:image/png;base64,AAAA", "gopher://cdn.example/"])
async def test_a_redirect_to_another_kind_of_address_is_not_followed(onward: str) -> None:
    network = Redirects({"/start": onward})

    await refusal(fetcher(network), "https://cdn.example/start")

    assert network.asked == ["https://cdn.example/start"]


async def test_three_redirects_are_followed() -> None:
    network = Redirects({"/0": "/1", "/1": "https://other.example/2", "/2": "3"})

    picture = await fetcher(network).fetch("https://cdn.example/0")

    assert picture.data == PNG
    assert network.asked == [
        "https://cdn.example/0",
        "https://cdn.example/1",
        "https://other.example/2",
        "https://other.example/3",
    ]


async def test_a_redirect_loop_ends() -> None:
    network = Redirects({"/1": "/1"})

    said = await refusal(fetcher(network), "https://cdn.example/1")

    assert said == "The picture's address was redirected more than 3 times."
    assert len(network.asked) == 4


async def test_a_100_mb_body_is_left_after_the_limit() -> None:
    body = Pieces(megabytes=100)

    said = await refusal(fetcher(Answers(body)))

    assert said == "The file has more than 40 MB, the limit here."
    assert body.taken == 41_000_000
    assert body.closed


async def test_a_body_is_measured_whatever_content_length_says() -> None:
    body = Pieces(megabytes=100)

    await refusal(fetcher(Answers(body, content_length="5"), limits=FetchLimits(max_bytes=2_000_000)))

    assert body.taken == 3_000_000


async def test_an_announced_100_mb_are_not_even_begun() -> None:
    body = Pieces(megabytes=100)

    await refusal(fetcher(Answers(body, content_length="100000000")))

    assert body.taken == 0
    assert body.closed


async def test_a_body_of_exactly_the_limit_is_accepted() -> None:
    picture = await fetcher(Answers(), limits=FetchLimits(max_bytes=len(PNG))).fetch("https://cdn.example/1.png")

    assert picture.data == PNG


async def test_a_packed_body_is_not_unpacked() -> None:
    """It could be small on the way and large here."""
    network = Answers(PNG, content_encoding="gzip")

    picture = await fetcher(network).fetch("https://cdn.example/1.png")

    assert picture.data == PNG
    assert network.requests[0].headers["Accept-Encoding"] == "identity"


async def test_content_type_is_not_believed() -> None:
    picture = await fetcher(Answers(JPEG, content_type="image/png")).fetch("https://cdn.example/1.png")

    assert picture.media_type == "image/jpeg"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<!doctype html><title>Sign in</title>", "a web page (HTML)"),
        (b"", "empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (PNG[:-30], "cut off or damaged"),
        (bomb(), "million pixels"),
    ],
)
async def test_an_answer_that_is_no_picture_is_refused(body: bytes, said: str) -> None:
    assert said in await refusal(fetcher(Answers(body, content_type="image/png")))


@pytest.mark.parametrize("status", [204, 206, 302, 304, 401, 403, 404, 410])
async def test_another_status_is_told(status: int) -> None:
    network = Answers(status=status)

    said = await refusal(fetcher(network), "https://cdn.example/1.png?signature=abc")

    assert f"cdn.example answered with HTTP status {status}; the link may have expired." == said
    assert len(network.requests) == 1


async def test_a_server_error_is_tried_once_more() -> None:
    network = Answers(status=503)

    said = await refusal(fetcher(network))

    assert said == "cdn.example answered with HTTP status 503."
    assert len(network.requests) == 2


async def test_a_lost_connection_is_made_once_more() -> None:
    network = Fails(httpx.ReadError("reset"), times=1)

    picture = await fetcher(network).fetch("https://cdn.example/1.png")

    assert picture.data == PNG


async def test_a_connection_that_stays_lost_is_told_without_the_signed_link() -> None:
    network = Fails(httpx.ConnectError("https://cdn.example/1.png?signature=abc refused"))

    said = await refusal(fetcher(network), "https://cdn.example/1.png?signature=abc")

    assert said == "The connection to cdn.example failed (ConnectError)."


async def test_half_a_picture_is_not_a_picture() -> None:
    network = Answers(BreaksOff())

    said = await refusal(fetcher(network))

    assert said == "The connection to cdn.example failed (RemoteProtocolError)."
    assert len(network.requests) == 2


async def test_waiting_ends() -> None:
    said = await refusal(fetcher(Hangs(), limits=FetchLimits(seconds=0.01)))

    assert said == "The picture did not arrive within 0.01 seconds."


@pytest.mark.parametrize(
    "url", ["", "1.png", "ftp://cdn.example/1.png", "https://", "https://cdn.example:99999/", "https://a\nb/"]
)
async def test_what_is_no_address_is_refused(url: str) -> None:
    network = Answers()

    await refusal(fetcher(network), url)

    assert network.requests == []


async def test_closing_closes_the_connections() -> None:
    class Closes(Answers):
        closed = False

        async def aclose(self) -> None:
            self.closed = True

    network = Closes()
    pictures = fetcher(network)
    await pictures.fetch("https://cdn.example/1.png")

    await pictures.aclose()

    assert network.closed


async def test_closing_what_was_never_used_opens_nothing() -> None:
    await Fetcher(runapi_origin=RUNAPI).aclose()


async def test_the_real_network_is_opened_when_it_is_first_needed() -> None:
    """Nobody listens on port 1."""
    pictures = Fetcher(runapi_origin="http://127.0.0.1:1")

    said = await refusal(pictures, "http://127.0.0.1:1/1.png")

    await pictures.aclose()
    assert said == "The connection to 127.0.0.1 failed (ConnectError)."
