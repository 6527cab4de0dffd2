"""Anything as a line to a server over stdio; see test_invalid_messages.py for what is answered to which."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.anything import json_values, texts, tried
from tests.processes import MODULE, Era, Host, environment, started
from tests.world import KEY

MEMBERS = st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error", "name", "arguments", "uri", "_meta"])
METHODS = st.sampled_from(
    [
        *("initialize", "server/discover", "ping", "tools/list", "tools/call", "resources/read", "resources/list"),
        *(
            "prompts/get",
            "completion/complete",
            "logging/setLevel",
            "subscriptions/listen",
            "tasks/get",
            "tasks/cancel",
        ),
        *("notifications/cancelled", "notifications/initialized", "notifications/progress", "resources/subscribe"),
    ]
)
odd = json_values(MEMBERS | texts)
messages = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | st.just("2.0") | odd,
        "id": st.integers() | texts | odd,
        "method": METHODS | METHODS | texts | odd,
        "params": st.dictionaries(MEMBERS | texts, odd, max_size=4) | odd,
        "result": odd,
        "error": odd,
    },
)
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
ENDLESS = (
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"9" * 100_000,
    PING.replace(b"ping", b"a" * 2_000_000),
    PING.replace(b"1,", b"9" * 5000 + b","),
    PING[:-1] + b',"params":' + b'{"a":' * 400 + b"1" + b"}" * 401,
)
lines = st.one_of(
    *[messages.map(json.dumps).map(str.encode)] * 4,
    messages.map(lambda message: json.dumps(message, ensure_ascii=False).encode(errors="surrogatepass")),
    odd.map(json.dumps).map(str.encode),
    st.binary(max_size=60),
    st.sampled_from(ENDLESS),
)


@asynccontextmanager
async def _hosted(home: Path, era: Era) -> AsyncGenerator[Host, None]:
    """Our server for as long as it takes."""
    errors = home / "stderr.txt"
    with errors.open("ab") as stderr:
        async with started(*MODULE, environ=environment(home, "http://127.0.0.1:9"), stderr=stderr) as process:
            yield await Host.of(process, era, errors)


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_whatever_a_host_writes_the_next_request_is_answered(tmp_path: Path, era: Era) -> None:
    """Nothing crashes, every line that comes back is JSON, and none of them tells the key."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(_hosted(tmp_path, era)) as host,
    ):

        async def asked() -> object:
            return await host.answer(await host.request("prompts/list", {}))

        @tried(25)
        @given(st.lists(lines.map(lambda line: line.replace(b"\n", b" ")), min_size=1, max_size=4))
        def check(some: list[bytes]) -> None:
            for line in some:
                portal.call(host.write, line)
            answer = portal.call(asked)
            assert "result" in str(answer), answer

        check()
        said = b"".join(host.lines)
    logged = host.errors.read_text(encoding="utf-8")
    assert "Traceback" not in logged
    assert KEY not in logged
    assert KEY.encode() not in said
