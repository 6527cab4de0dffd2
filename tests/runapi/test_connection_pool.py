from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.lowlevel
import httpx
import pytest
from anyio.abc import AnyByteStream, SocketAttribute
from anyio.streams.tls import TLSListener

from flux2_mcp.runapi.connection_pool import PooledTransport
from tests.certificates import self_signed
from tests.platforms import only_on

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Web:
    """A server on a port of this machine that says what it is told to say, and counts who comes."""

    says: bytes = OK
    closes: bool = False
    """After each answer."""
    connections: int = 0
    open: int = 0
    at_once: int = 0
    """The most that were open at the same time."""
    url: str = ""
    held: anyio.Event = field(default_factory=anyio.Event)
    """No answer is given before this is set."""

    _streams: list[AnyByteStream] = field(default_factory=list[AnyByteStream])

    async def hang_up(self) -> None:
        """Close every connection."""
        for stream in self._streams:
            await stream.aclose()

    async def say(self, unasked: bytes) -> None:
        """Send this to everybody."""
        for stream in self._streams:
            await stream.send(unasked)

    async def serve(self, stream: AnyByteStream) -> None:
        self.connections += 1
        self._streams.append(stream)
        self.open += 1
        self.at_once = max(self.at_once, self.open)
        async with stream:
            try:
                while True:
                    await stream.receive()
                    await self.held.wait()
                    await stream.send(self.says)
                    if self.closes:
                        return
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass
            finally:
                self.open -= 1


@asynccontextmanager
async def web(
    says: bytes = OK, *, closes: bool = False, holds: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Web, None]:
    here = Web(says, closes)
    if not holds:
        here.held.set()
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 nothing of Django's
        here.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/"
        secure = TLSListener(listener, tls, standard_compatible=False) if tls else listener
        group.start_soon(secure.serve, here.serve)
        yield here
        group.cancel_scope.cancel()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a certificate for localhost that nobody has signed, and its key."""
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    file.write_bytes(self_signed())
    return file


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    """What a server with this certificate needs."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@asynccontextmanager
async def opened(*, most: int = 100, kept: int = 10) -> AsyncGenerator[PooledTransport, None]:
    pool = PooledTransport(max_connections=most, max_keepalive_connections=kept)
    yield pool
    await pool.aclose()


async def got(pool: PooledTransport, url: str, *, name: str | None = None, patience: float = 30.0) -> bytes:
    timeouts = {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": patience}
    extensions = {"timeout": timeouts} | ({} if name is None else {"sni_hostname": name})
    response = await pool.handle_async_request(httpx.Request("GET", url, extensions=extensions))
    try:
        return await response.aread()
    finally:
        await response.aclose()


async def test_the_next_request_uses_the_same_connection() -> None:
    async with web() as here, opened() as pool:
        assert [await got(pool, here.url) for _ in range(5)] == [b"ok"] * 5

    assert here.connections == 1


async def test_requests_at_the_same_time_have_connections_of_their_own_of_which_some_are_kept() -> None:
    async with web(holds=True) as here, opened(kept=3) as pool:
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(got, pool, here.url)
            while here.connections < 8:
                await anyio.lowlevel.checkpoint()
            here.held.set()
        with anyio.fail_after(5):
            while here.open > 3:
                await anyio.lowlevel.checkpoint()
        for _ in range(5):
            await got(pool, here.url)

    assert here.connections == 8


@pytest.mark.parametrize("closes", [True, False], ids=["at once", "later"])
async def test_a_connection_that_the_server_has_closed_is_not_used_again(*, closes: bool) -> None:
    async with web(closes=closes) as here, opened() as pool:
        for _ in range(3):
            assert await got(pool, here.url) == b"ok"
            await here.hang_up()

    assert here.connections == 3


async def test_what_nobody_asked_for_is_no_answer_to_the_next_request() -> None:
    """Some load balancers say 408 to an idle connection, and some servers give a body of which they said nothing."""
    async with web() as here, opened() as pool:
        assert await got(pool, here.url) == b"ok"
        await here.say(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 5\r\n\r\nstale")
        await anyio.wait_all_tasks_blocked()
        assert await got(pool, here.url) == b"ok"

    assert here.connections == 2


async def test_a_connection_is_used_for_one_name_only() -> None:
    """TLS has proved no other."""
    async with web() as here, opened() as pool:
        for name in ("one.example", "two.example", "one.example", None, "two.example"):
            await got(pool, here.url, name=name)

    assert here.connections == 3


async def test_no_more_connections_are_open_than_allowed() -> None:
    async with web(holds=True) as here, opened(most=2) as pool, anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(got, pool, here.url)
        await anyio.wait_all_tasks_blocked()
        here.held.set()

    assert here.at_once == 2


async def test_who_waits_too_long_for_a_connection_is_told_that_nothing_was_sent() -> None:
    async with web(holds=True) as here, opened(most=1) as pool, anyio.create_task_group() as group:
        group.start_soon(got, pool, here.url)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(httpx.PoolTimeout):
            await got(pool, here.url, patience=0.01)
        here.held.set()


async def test_a_request_that_is_cancelled_leaves_its_place_to_the_next() -> None:
    async with web(holds=True) as here, opened(most=1) as pool:
        with anyio.move_on_after(0.05):
            await got(pool, here.url)
        here.held.set()

        assert await got(pool, here.url, patience=5.0) == b"ok"

    assert here.connections == 2


@pytest.mark.parametrize(
    ("says", "error"),
    [
        (b"", httpx.RemoteProtocolError),
        (b"not HTTP at all\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\ncut off", httpx.RemoteProtocolError),
    ],
    ids=["nothing", "nonsense", "half an answer"],
)
async def test_what_goes_wrong_is_one_of_the_errors_of_httpx_and_costs_the_connection(
    says: bytes, error: type[httpx.TransportError]
) -> None:
    async with web(says, closes=True) as here, opened(most=1) as pool:
        for _ in range(2):
            with pytest.raises(error):
                await got(pool, here.url)

    assert here.connections == 2


async def test_a_server_that_is_not_there_is_a_connect_error() -> None:
    async with web() as here:
        pass
    async with opened() as pool:
        with pytest.raises(httpx.ConnectError):
            await got(pool, here.url)


async def test_nothing_stays_open_once_it_is_closed() -> None:
    async with web() as here:
        async with opened() as pool:
            await got(pool, here.url)
        with anyio.fail_after(5):
            while here.open:
                await anyio.lowlevel.checkpoint()


async def test_tls_proves_the_name_once_for_each_connection(
    tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment names the certificate; the address alone is not what it is for."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with (
        web(OK.replace(b": 2", b": 300000").replace(b"ok", b"x" * 300_000), tls=tls) as here,
        opened() as pool,
    ):
        for _ in range(3):
            assert len(await got(pool, here.url, name="localhost")) == 300_000
        assert here.connections == 1
        for name in ("elsewhere.example", None):
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await got(pool, here.url, name=name)


async def test_a_certificate_that_nobody_vouches_for_is_refused(tls: ssl.SSLContext) -> None:
    async with web(tls=tls) as here, opened() as pool:
        with pytest.raises(httpx.ConnectError, match="self-signed"):
            await got(pool, here.url, name="localhost")


@only_on("Linux", "it lists what a process has open")
async def test_a_server_that_hangs_keeps_no_connection_of_ours(
    tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS would wait for it to say good-bye."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with web(holds=True, tls=tls) as here, opened(most=1) as pool:
        before = open_files()
        for _ in range(3):
            with anyio.move_on_after(0.3):
                await got(pool, here.url, name="localhost")
        await anyio.wait_all_tasks_blocked()

        assert open_files() - before == here.open > 0, "the server's ends"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
