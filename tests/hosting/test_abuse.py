"""Clients that break the rules, on purpose or not: the server lives, and nobody else's calls suffer."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from flux2_mcp.simulator import Script, Simulator
from tests.hosting.abuse import (
    FEW_BUFFERS,
    IMPATIENT,
    abused,
    message,
    modern,
    received,
    request,
    status,
    will_reset,
)
from tests.hosting.world import ADA
from tests.platforms import only_on
from tests.processes import AT_ONCE, cpu_seconds, started

pytestmark = only_on("Linux", "what a process holds is read in /proc")

LIST = message("tools/list")
CHUNKED = "Transfer-Encoding: chunked"
NOT_HTTP: dict[str, tuple[bytes, int]] = {
    "two lengths": (request(LIST, "Content-Length: 5", "Content-Length: 6"), 400),
    "a length and chunks": (request(b"0\r\n\r\n", "Content-Length: 5", CHUNKED), 400),
    "another encoding": (request(b"0\r\n\r\n", "Transfer-Encoding: xchunked"), 400),
    "two encodings": (request(b"0\r\n\r\n", CHUNKED, "Transfer-Encoding: identity"), 400),
    "a negative length": (request(b"", "Content-Length: -5"), 400),
    "a signed length": (request(LIST, "Content-Length: +5"), 400),
    "a length without end": (request(b"", f"Content-Length: {'9' * 5000}"), 400),
    "a space before the colon": (request(LIST, "X : y"), 400),
    "a bad chunk": (request(b"5\r\nhello\r\nZZZ\r\n", CHUNKED), 400),
    "a NUL in a header": (request(LIST, "X: a\0b"), 400),
    "a huge header": (request(LIST, f"X: {'x' * 300_000}"), 400),
    "headers without end": (request(LIST, *["X: y"] * 100_000), 400),
    "no version": (b"GET /healthz\r\n\r\n", 400),
    "bytes in the path": (b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), 400),
    "NULs": (bytes(1000), 400),
    "empty lines": (b"\r\n" * 50_000, 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404),
    "an absurd method": (request(b"", start=f"{'B' * 3000} /mcp HTTP/1.1"), 405),
    "another's name": (request(LIST, start="CONNECT evil.example:443 HTTP/1.1"), 404),
    "an odd path": (request(LIST, start="GET /%ff%00/..%c0%af../etc/passwd HTTP/1.1"), 404),
    "a websocket": (request(b"", "Connection: Upgrade", "Upgrade: websocket", start="GET /mcp HTTP/1.1"), 405),
    "two hosts": (request(LIST, "Host: evil.example"), 400),
    "bytes for a credential": (request(LIST, key="\xff\xfe"), 401),
}


async def test_what_is_no_http_is_refused_and_forgotten(tmp_path: Path) -> None:
    async with abused(tmp_path) as server:
        before = await server.footprint()
        got = {name: status(await server.answer(sent)) for name, (sent, _) in NOT_HTTP.items()}
        garbage_later = request(b"5\r\nhello\r\n", CHUNKED, key=None)
        async with server.connection(garbage_later) as stream:
            await received(stream, lambda said: b"invalid_token" in said)
            with suppress(anyio.BrokenResourceError):
                await stream.send(b"ZZZ\r\n" * 1000)
        await server.call()
        await server.is_as_before(before, more_mib=30)
        await server.ends_without_complaint()

    assert got == {name: expected for name, (_, expected) in NOT_HTTP.items()}


async def test_a_second_request_is_not_smuggled_in_behind_the_first(tmp_path: Path) -> None:
    smuggled = request(b"0\r\n\r\n" + request(LIST), "Content-Length: 5", CHUNKED)
    async with abused(tmp_path) as server:
        async with server.connection(smuggled) as stream:
            answers = await received(stream)
        async with server.connection(request(LIST) * 5) as stream:
            in_a_row = await received(stream, lambda said: said.count(b"HTTP/1.1 ") == 5)

    assert re.findall(rb"HTTP/1\.1 (\d+)", answers) == [b"400"]
    assert re.findall(rb"HTTP/1\.1 (\d+)", in_a_row) == [b"200"] * 5


DEEP = 10_000
NOT_MCP: dict[str, bytes] = {
    "nothing": b"",
    "half of it": LIST[:20],
    "brackets": b"[" * DEEP,
    "closed brackets": b"[" * DEEP + b"]" * DEEP,
    "braces": b'{"a":' * DEEP,
    "100,000 brackets": b"[" * 100_000,
    "a long number": b"1" * DEEP,
    "a batch": b"[" + LIST + b"]",
    "invalid UTF-8": LIST.replace(b"tools/list", b"\xff\xfe"),
    "NULs": bytes(1000),
    "not a number": b"NaN",
    "a million values": b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":[' + b"{}," * 1_000_000 + b"{}]}}",
    "100,000 names": b"{" + b",".join(b'"%d":1' % number for number in range(100_000)) + b"}",
}
ARGUMENTS: dict[str, bytes] = {
    "900 brackets": b'{"prompt":' + b"[" * 900 + b"]" * 900 + b"}",
    "unknown names": b"{" + b",".join(b'"%d":1' % number for number in range(9_000)) + b"}",
    "an endless number": b'{"prompt":"a fox","wait_seconds":1e999}',
    "a long number": b'{"prompt":"a fox","count":' + b"9" * 4_000 + b"}",
}


async def test_a_body_that_is_no_message_is_refused_in_a_moment(tmp_path: Path) -> None:
    async with abused(tmp_path) as server:
        before = await server.footprint()
        statuses: Counter[int] = Counter()
        with anyio.fail_after(AT_ONCE):
            for body in NOT_MCP.values():
                for version in ("2025-11-25", "2026-07-28"):
                    statuses[status(await server.answer(request(body, version=version)))] += 1
            for arguments in ARGUMENTS.values():
                call = modern("tools/call", name="generate", arguments=arguments)
                async with server.connection(call) as stream:
                    said = await received(stream, lambda said: b'"result"' in said)
                assert b"Nothing was charged." in said
                assert len(said) < 2_000
        await server.call()
        await server.is_as_before(before, more_mib=100)
        await server.ends_without_complaint()
        assert server.simulator.ledger.tasks() == []

    assert statuses == {400: 20, 413: 6}


async def test_a_body_that_is_too_large_is_not_kept(tmp_path: Path) -> None:
    """Neither one that says so, nor one that does not, nor one of somebody who is not known."""
    chunk = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
    async with abused(tmp_path) as server:
        before = await server.footprint()
        said = await server.answer(request(b"", f"Content-Length: {5 * 2**20}"))
        async with server.connection(request(b"", CHUNKED)) as stream:
            chunked = await _pushed(stream, chunk, 64)
        async with server.connection(request(b"", f"Content-Length: {2**40}", key=None)) as stream:
            unknown = await _pushed(stream, chunk, 64)
        await server.call()
        await server.is_as_before(before, more_mib=30)
        await server.ends_without_complaint()

    assert (status(said), status(chunked), status(unknown)) == (413, 413, 401)


async def _pushed(stream: SocketStream, piece: bytes, times: int) -> bytes:
    """The answer; the client sends this as often as it can meanwhile."""
    answer: list[bytes] = []

    async def read() -> None:
        answer.append(await received(stream, lambda said: b"\r\n\r\n" in said))

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError), anyio.move_on_after(AT_ONCE):
            for _ in range(times):
                await stream.send(piece)
    return answer[0]


@pytest.mark.parametrize("key", [ADA, None], ids=["a caller", "a stranger"])
async def test_a_body_of_tiny_chunks_keeps_nobody_waiting(tmp_path: Path, key: str | None) -> None:
    """Each of them costs as much to parse as one of many kilobytes."""
    tiny = b"1\r\na\r\n" * 100_000
    large = b"%x\r\n%b\r\n0\r\n\r\n" % (len(tiny), b"a" * len(tiny))
    async with abused(tmp_path) as server:

        async def send(body: bytes) -> None:
            with suppress(anyio.BrokenResourceError):
                assert status(await server.answer(request(body, CHUNKED, key=key))) in {400, 401}

        async def beside_four(body: bytes) -> tuple[float, float]:
            """What the server computes, and how long three calls of another take meanwhile."""
            computed, began, took = cpu_seconds(server.process), anyio.current_time(), 0.0
            async with anyio.create_task_group() as group:
                for _ in range(4):
                    group.start_soon(send, body)
                for _ in range(3):
                    await server.call()
                took = anyio.current_time() - began
            return cpu_seconds(server.process) - computed, took

        of_large, of_tiny = [[await beside_four(body) for _ in range(3)] for body in (large, tiny)]
        await server.ends_without_complaint()

    # All by this machine, as busy as it is. Tiny ones are refused after the first piece, for ten to twenty times as
    # much; were all of them parsed, it would be fifty to two hundred times.
    assert sum(computed for computed, _ in of_tiny) < 30 * sum(computed for computed, _ in of_large)
    # The best of three: whatever else the machine does comes and goes.
    assert min(took for _, took in of_tiny) < 10 * min(took for _, took in of_large) + 1


async def test_who_sends_slowly_or_nothing_is_given_up(tmp_path: Path) -> None:
    kinds = {
        "nothing": b"",
        "half a head": request(LIST)[:40],
        "a head that goes on": request(LIST)[:-20].partition(b"\r\n\r\n")[0],
        "half a body": request(LIST)[:-5],
        "half a body without a credential": request(LIST, key=None)[:-5],
    }
    ends: dict[str, bytes] = {}
    long = ""
    runapi = Simulator(Script(looks_until_done=10**9, plain_pictures=True))
    async with abused(tmp_path, runapi, prelude=IMPATIENT) as server, AsyncExitStack() as open_ones:
        before = await server.footprint()

        async def watch(name: str, stream: SocketStream) -> None:
            ends[name] = await received(stream)

        async def trickle(stream: SocketStream) -> None:
            with suppress(anyio.BrokenResourceError):
                while True:
                    await stream.send(b"x")
                    await anyio.sleep(0.05)

        async with anyio.create_task_group() as group:
            for name, sent in kinds.items():
                for number in range(10):
                    stream = await open_ones.enter_async_context(server.connection(sent))
                    group.start_soon(watch, f"{name} {number}", stream)
                    if name == "a head that goes on":
                        group.start_soon(trickle, stream)
            stream = await open_ones.enter_async_context(server.connection(request(b"", "Content-Length: 5000")))
            group.start_soon(watch, "a body byte by byte", stream)
            group.start_soon(trickle, stream)
            # One who waits for RunAPI is not given up.
            long = await server.call(tool="generate", prompt="a fox", wait_seconds=3)
        await server.is_as_before(before, more_mib=30)
        await server.ends_without_complaint()

    assert "not ready yet" in long
    assert {status(answer) for name, answer in ends.items() if "body" not in name} == {0}
    assert {status(answer) for name, answer in ends.items() if "without" in name} == {401}
    assert {status(ends[f"half a body {number}"]) for number in range(10)} == {408}
    assert status(ends["a body byte by byte"]) == 408


async def test_who_reads_nothing_of_their_answers_is_given_up(tmp_path: Path) -> None:
    async with abused(tmp_path, Simulator(Script(looks_until_done=1)), prelude=IMPATIENT + FEW_BUFFERS) as server:
        await server.call(ADA, "generate", prompt="a fox", wait_seconds=20)
        [fox] = server.simulator.ledger.tasks()
        picture = modern("resources/read", uri=f"flux2://tasks/{fox.id}/images/0")
        before = await server.footprint()
        with ExitStack() as unread:
            for _ in range(20):
                unread.enter_context(server.unread(picture * 3))
            async with server.connection(picture) as stream:
                answer = await received(stream, lambda said: b'"blob"' in said and said.endswith(b"}"))
            await server.call()
            assert (await server.footprint()).connections == before.connections + 20
            await server.is_as_before(before, more_mib=60)
            await server.call()
            # Some who read nothing are there at the end too.
            unread.enter_context(server.unread(picture))
            await server.ends_without_complaint()

    assert len(answer) > 20_000


async def test_clients_that_go_away_while_they_wait_leave_nothing_behind(tmp_path: Path) -> None:
    runapi = Simulator(Script(looks_until_done=10**9, plain_pictures=True))
    legacy = request(message("tools/call", name="generate", arguments={"prompt": "an owl"}))
    async with abused(tmp_path, runapi) as server:
        before = await server.footprint()
        for number, (sent, resets) in enumerate((sent, resets) for sent in (legacy, None) for resets in (True, False)):
            async with AsyncExitStack() as waiting:
                for each in range(10):
                    fox = b'{"prompt":"fox %d of %d"}' % (each, number)
                    call = modern("tools/call", name="generate", arguments=fox)
                    unlike = legacy.replace(b"an owl", b"owl %02d" % (number * 10 + each))
                    stream = await waiting.enter_async_context(server.connection(unlike if sent else call))
                    if resets:
                        will_reset(stream)
                while len(runapi.ledger.tasks()) < 10 * (number + 1):  # noqa: ASYNC110 the simulator has no event for it
                    await anyio.sleep(0.01)
                await server.call()
        await server.call()
        await server.is_as_before(before, more_mib=40)
        recent = await server.call(ADA, "recent_tasks")
        await server.ends_without_complaint()

    assert len(runapi.ledger.paid_tasks()) == 40
    assert "owl" in recent or "fox" in recent


IDLE_CLIENT = """
import socket, sys
port, number = int(sys.argv[1]), int(sys.argv[2])
idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(number)]
print("open", flush=True)
for each in idle:
    try:
        each.recv(1)
    except ConnectionResetError:
        pass
print("closed", flush=True)
"""


async def test_5000_idle_connections_change_nothing_and_are_given_up(tmp_path: Path) -> None:
    """Opened by five processes: many systems let one have 1,024."""
    async with abused(tmp_path, prelude=IMPATIENT.replace("1.0", "3.0")) as server, AsyncExitStack() as clients:
        before = await server.footprint()
        idle = [
            await clients.enter_async_context(
                started("-S", "-c", IDLE_CLIENT, str(server.port), "1000", environ={}, stdin=False)
            )
            for _ in range(5)
        ]
        outputs = [BufferedByteReceiveStream(each.stdout) for each in idle if each.stdout]
        with anyio.fail_after(30):
            assert [await each.receive_until(b"\n", 10) for each in outputs] == [b"open"] * 5
        await server.call()
        await server.call(tool="generate", prompt="a fox")
        full = await server.footprint()
        with anyio.fail_after(30):
            assert [await each.receive_until(b"\n", 10) for each in outputs] == [b"closed"] * 5
        await server.call()
        await server.is_as_before(before, more_mib=60)
        await server.ends_without_complaint()

    assert full.mib < before.mib + 60


async def test_idle_connections_make_room_where_there_are_too_many(tmp_path: Path) -> None:
    few = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))"
    async with abused(tmp_path, prelude=few) as server, AsyncExitStack() as idle:
        for _ in range(600):
            await idle.enter_async_context(server.connection())
        with anyio.fail_after(AT_ONCE):
            text = await server.call(tool="generate", prompt="a fox")
        files = (await server.footprint()).files
        await server.ends_without_complaint()

    assert "made the picture" in text
    assert files < 250


FLOODS = {
    "lists": modern("tools/list"),
    "initializations": request(
        message("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "t", "version": "1"})
    ),
    "resources": modern("resources/read", uri="flux2://models"),
    "calls": modern("tools/call", name="estimate_cost", arguments=b'{"prompt":"a fox"}'),
    "wrong credentials": request(LIST, key="runapi_"),
    "no credentials": request(LIST, key=None),
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_caller_who_floods_the_server_waits_and_nobody_else_does(tmp_path: Path, kind: str) -> None:
    """Without a limit, hundreds of theirs are answered in a second, and each call of others takes as long."""
    answers: list[int] = []
    alone = beside_them = theirs = seconds = 0.0
    async with abused(tmp_path) as server, anyio.create_task_group() as group:

        async def flood() -> None:
            while True:
                async with server.connection() as stream:
                    with suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                        while True:
                            await stream.send(FLOODS[kind])
                            answers.append(await _one_answer(stream))

        async def time_of_three_calls() -> float:
            began = anyio.current_time()
            for _ in range(3):
                await server.call()
            return anyio.current_time() - began

        alone = await time_of_three_calls()
        for _ in range(100):
            group.start_soon(flood)
        # The first ones may come as fast as they can.
        with anyio.fail_after(30):
            before = 0
            while len(answers) < 120 or len(answers) - before > 50:
                before = len(answers)
                await anyio.sleep(0.5)
        before, began = len(answers), anyio.current_time()
        # The best of three: without a limit all are slow, and whatever else the machine does comes and goes.
        beside_them = min([await time_of_three_calls() for _ in range(3)])
        await anyio.sleep(max(0.0, began + 1 - anyio.current_time()))
        theirs, seconds = len(answers) - before, anyio.current_time() - began
        group.cancel_scope.cancel()

    # Both times by this machine, as busy as it is.
    assert beside_them < 10 * alone + 1
    assert theirs < 250 * seconds


async def _one_answer(stream: SocketStream) -> int:
    said = await stream.receive()
    while not _is_whole(said):
        said += await stream.receive()
    return status(said)


def _is_whole(said: bytes) -> bool:
    head, end, body = said.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(end) and (len(body) == int(length[1]) if length else body.endswith(b"0\r\n\r\n"))
