"""Who is calling: every request says it, and nothing is done for anybody else."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from anyio import to_thread
from starlette.responses import Response

from flux2_mcp.budget import Limits
from flux2_mcp.callers import tokens
from flux2_mcp.callers.runapi_keys import RunApiKeys
from flux2_mcp.callers.secret import Secret
from flux2_mcp.callers.tokens import Tokens
from flux2_mcp.errors import BadSetting
from flux2_mcp.server.authentication import A_MINUTE, MOST_GUESSES, RequireCaller
from flux2_mcp.simulator import Fault
from tests.databases import execute, history_in
from tests.hosting.world import ADA, BEN, LIST_TOOLS, SECRET, Hosts, bearer
from tests.world import KEY, NO_CERTIFICATES, text_of


async def token_of(path: Path, name: str, **limits: str) -> str:
    return await to_thread.run_sync(tokens.add, path, name, limits)


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": f"Basic {ADA}"}, {"X-Api-Key": ADA}],
    ids=["nothing", "empty", "no credential", "another scheme", "another header"],
)
async def test_who_does_not_say_who_they_are_is_asked_for_it(hosts: Hosts, headers: dict[str, str]) -> None:
    async with hosts.server() as server:
        answer = await server.post(headers)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "Send the header Authorization: Bearer and your key or token." in answer.json()["error_description"]
    assert hosts.simulator.requests == []


@pytest.mark.parametrize(
    "key",
    ["nonsense", "runapi_", "runapi_xxxxxxxx", "${RUNAPI_API_KEY}", "runapi_a b c d e f g h i", "sk-" + "x" * 600],
)
async def test_what_cannot_be_a_key_is_not_taken_for_one(hosts: Hosts, key: str) -> None:
    async with hosts.server() as server:
        answer = await server.post(bearer(key))

    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert key not in answer.text


async def test_a_key_that_runapi_does_not_know_leaves_no_trace(hosts: Hosts, tmp_path: Path) -> None:
    async with hosts.server() as server:
        refused = [await server.call(f"runapi_wrong_{n:020}", "generate", prompt="a fox") for n in range(3)]

    assert all("Nothing was charged" in text_of(each) and each.is_error for each in refused)
    history = history_in(tmp_path / "data")
    assert await history.owners() == {}
    await history.aclose()


async def test_a_key_is_asked_for_once(hosts: Hosts) -> None:
    async with hosts.server() as server:
        for prompt in ("a fox", "an owl"):
            await server.call(ADA, "generate", prompt=prompt)

    assert [seen.path for seen in hosts.simulator.requests].count("/api/v1/me/balance") == 1


async def test_a_key_may_be_right_where_runapi_does_not_say(hosts: Hosts) -> None:
    hosts.simulator.faults.append(Fault(on="balance", status=500, times=10))
    async with hosts.server() as server:
        made = await server.call(ADA, "generate", prompt="a fox")

    assert not made.is_error


async def test_each_caller_pays_with_their_own_key(hosts_of_era: Hosts) -> None:
    async with hosts_of_era.server() as server:
        for key in (ADA, BEN):
            assert not (await server.call(key, "generate", prompt="a fox")).is_error

    creates = server.here.creates
    assert [seen.headers["authorization"] for seen in creates] == [f"Bearer {ADA}", f"Bearer {BEN}"]


async def test_no_key_is_in_the_history_or_in_the_log(hosts: Hosts, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with hosts.server() as server:
        await server.call(ADA, "generate", prompt="a fox")
        await server.post(bearer("runapi_"))

    orders = str(execute(hosts.home / "data", "SELECT * FROM orders"))
    assert "a fox" in orders
    assert ADA not in orders
    assert ADA not in caplog.text


async def test_a_token_is_for_its_caller_until_it_is_revoked(hosts: Hosts) -> None:
    path, now = hosts.home / "tokens", [0.0]
    ada = await token_of(path, "ada")
    ben = await token_of(path, "ben", daily_budget="0.05", max_cost_per_call="off")
    known = Tokens(path, key=KEY, limits=Limits(per_call=100), clock=lambda: now[0])

    first, second = await known.caller(ada), await known.caller(ben)
    await to_thread.run_sync(tokens.revoke, path, "ada")
    a_moment_later = await known.caller(ada)
    now[0] += tokens.READ_EVERY

    assert first is not None
    assert second is not None
    assert (first.name, first.key, first.limits.per_day, first.limits.per_call) == ("token ada", KEY, None, 100)
    assert (second.name, second.limits.per_day, second.limits.per_call) == ("token ben", 5, None)
    assert a_moment_later == first
    assert await known.caller(ada) is None
    assert await known.caller(ben) == second
    assert ada.encode() not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0


async def test_a_file_that_is_broken_meanwhile_locks_nobody_out(hosts: Hosts, caplog: pytest.LogCaptureFixture) -> None:
    path, now = hosts.home / "tokens", [0.0]
    ada = await token_of(path, "ada")
    known = Tokens(path, key=KEY, limits=Limits(), clock=lambda: now[0])
    await known.caller(ada)
    path.write_text("ada\n")
    now[0] += tokens.READ_EVERY

    assert await known.caller(ada)
    assert "line 1" in caplog.text


async def test_without_its_file_nobody_is_let_in(hosts: Hosts) -> None:
    path, now = hosts.home / "tokens", [0.0]
    ada = await token_of(path, "ada")
    known = Tokens(path, key=KEY, limits=Limits(), clock=lambda: now[0])
    await known.caller(ada)
    await to_thread.run_sync(path.unlink)
    now[0] += tokens.READ_EVERY

    assert await known.caller(ada) is None


async def test_there_is_no_stream_on_which_nothing_would_come(hosts: Hosts) -> None:
    async with hosts.server() as server, httpx.AsyncClient(verify=NO_CERTIFICATES, timeout=5) as http:
        answer = await http.get(server.url, headers={"Accept": "text/event-stream", **bearer(ADA)})

    assert answer.status_code == 405


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ada", "a token's SHA-256 is missing"),
        ("a/b " + "0" * 64, "cannot be a name"),
        ("ada " + "0" * 64 + " budget=5", "there is no limit 'budget'"),
        ("ada " + "0" * 64 + " daily_budget=five", 'such as 0.50, or "off"'),
        ("ada " + "0" * 64 + "\nada " + "1" * 64, "names ada twice"),
    ],
)
def test_a_line_that_cannot_be_understood_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# callers\n\n{line}\n")

    with pytest.raises(BadSetting, match=words):
        tokens.entries(path)


async def test_callers_with_tokens_have_one_key_and_limits_of_their_own(hosts: Hosts) -> None:
    path = hosts.home / "tokens"
    ada, ben = await token_of(path, "ada"), await token_of(path, "ben", daily_budget="0.05")
    async with hosts.server(FLUX2_HTTP_AUTH="tokens", FLUX2_HTTP_TOKENS_FILE=str(path), RUNAPI_API_KEY=KEY) as server:
        results = [await server.call(who, "generate", prompt=f"{n} foxes") for n in (1, 2) for who in (ada, ben)]
        account = await server.call(ada, "estimate_cost", prompt="a fox")

    assert [result.is_error for result in results] == [False, False, False, True]
    assert "today's limit of $0.05" in text_of(results[3])
    assert len(server.here.paid) == 3
    # What the operator's account holds is no business of theirs.
    assert "balance" not in json.dumps(account.structured_content)


async def test_guesses_are_limited_and_hold_nobody_up_who_was_right(tmp_path: Path) -> None:
    """Behind a load balancer all callers have one address."""
    now = [0.0]

    app = Response("")

    guarded = RequireCaller(app, RunApiKeys(Secret(SECRET), Limits()), path="/mcp", clock=lambda: now[0])
    transport = httpx.ASGITransport(guarded)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:

        async def status(credential: str) -> int:
            return (await http.post("/mcp", headers=bearer(credential))).status_code

        assert await status(ADA) == 200
        assert [await status("wrong") for _ in range(MOST_GUESSES)] == [401] * MOST_GUESSES
        held_up = await http.post("/mcp", headers=bearer("wrong"))
        assert (await status(BEN), await status(ADA)) == (200, 200)
        now[0] += A_MINUTE
        assert await status("wrong") == 401

    assert held_up.status_code == 429
    assert int(held_up.headers["Retry-After"]) == 60


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "flux2.example"}, 200),
        ({"Host": "flux2.example:8443", "Origin": "https://flux2.example:8443"}, 200),
    ],
)
async def test_only_the_names_of_the_server_are_answered(hosts: Hosts, headers: dict[str, str], status: int) -> None:
    async with hosts.server() as server:
        answer = await server.post({**bearer(ADA), "MCP-Protocol-Version": "2025-11-25", **headers})

    assert answer.status_code == status


async def test_a_body_that_is_too_large_is_not_read(hosts: Hosts) -> None:
    async with hosts.server() as server:
        answer = await server.post(bearer(ADA), {**LIST_TOOLS, "params": {"x": "x" * 5_000_000}})

    assert answer.status_code == 413


async def test_health_is_for_everybody_and_says_what_is_missing(hosts: Hosts) -> None:
    async with (
        hosts.server() as server,
        httpx.AsyncClient(verify=NO_CERTIFICATES, base_url=server.url.removesuffix("/mcp")) as http,
    ):
        alive, ready = await http.get("/healthz"), await http.get("/readyz")

    assert (alive.status_code, alive.text) == (200, "ok\n")
    assert (ready.status_code, ready.json()) == (200, {"history": "ok", "runapi": "ok"})
