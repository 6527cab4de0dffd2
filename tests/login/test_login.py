"""The browser login (fact sheet 1.10), with every answer that a browser can bring."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import anyio
import httpx
import pytest

from flux2_mcp.errors import BadSetting, Flux2Error, InsecureBaseUrl, LoginFailed
from flux2_mcp.login import Keyring, login, login_with
from flux2_mcp.runapi.authorization import challenge_of, display_code_of, verifier_of
from flux2_mcp.settings import Settings
from flux2_mcp.simulator import Fault, Script, Simulator
from tests.login.fake_browser import Browser, Computer, browser
from tests.transports import NoNetwork, Wire
from tests.world import BASE_URL, KEY


def test_the_proof_is_the_one_that_runapis_own_tools_make() -> None:
    """The check vectors of the fact sheet, from the vendor's tests."""
    assert verifier_of(b"\x01" * 32) == "AQEB" * 10 + "AQE"
    assert challenge_of(verifier_of(b"\x01" * 32)) == "VtX6czP210fbQsI5QH5dpMMvTHnzXQkrE0_TWkAtnFw"
    assert display_code_of(bytes.fromhex("123456789a")) == "CJ4F-N8E4"


async def test_whoever_allows_it_has_a_key_that_works(tmp_path: Path) -> None:
    here = Computer(tmp_path)
    pages: list[httpx.Response] = []

    async def allows(person: Browser) -> None:
        pages.append(await person.allows())

    done = await here.logs_in(allows)

    key = str(here.saved["api_key"])
    assert done.balance_cents == here.simulator.ledger.balance_cents(key) == 1000
    assert pages[0].status_code == 200
    assert "You are logged in" in pages[0].text
    assert key not in str(done) + repr(done) + pages[0].text


async def test_the_page_is_told_what_it_needs_and_no_secret(tmp_path: Path) -> None:
    here = Computer(tmp_path)
    pages: list[str] = []

    async def looks(person: Browser) -> None:
        pages.append((await person.looks()).text)
        assert set(person.asked) == {
            "state",
            "code_challenge",
            "code_challenge_method",
            "redirect_port",
            "display_code",
            "hostname",
        }
        assert person.asked["code_challenge_method"] == "S256"
        assert person.login.code in pages[0]
        assert person.login.url.startswith(f"{BASE_URL}/cli/authorize?")
        await person.allows()

    await here.logs_in(looks)

    exchange = next(seen for seen in here.simulator.requests if seen.path.endswith("/exchange"))
    assert b'"redirect_port":' in exchange.body
    assert exchange.headers["x-cli-hostname"]
    assert "authorization" not in exchange.headers


async def test_two_logins_share_nothing(tmp_path: Path) -> None:
    keyring = Computer(tmp_path).keyring
    async with login(keyring) as one, login(keyring) as other:
        first, second = (dict(parse_qsl(urlsplit(each.url).query)) for each in (one, other))

    for name in ("state", "code_challenge", "redirect_port", "display_code"):
        assert first[name] != second[name]


WRONG = {
    "no state": "/callback?code=abc",
    "another state": "/callback?code=abc&state=nobody",
    "not even ASCII": "/callback?code=abc&state=%C3%A9",
    "a refusal of another login": "/callback?error=access_denied&state=nobody",
    "a refusal of no login": "/callback?error=access_denied&error_description=no",
    "nothing": "/callback",
}


@pytest.mark.parametrize("target", WRONG.values(), ids=WRONG)
async def test_a_wrong_state_is_turned_away_and_the_login_goes_on(tmp_path: Path, target: str) -> None:
    here = Computer(tmp_path)

    async def intrudes(person: Browser) -> None:
        refused = await person.callback.get(target)
        assert refused.status_code == 400
        assert (await person.allows()).status_code == 200

    await here.logs_in(intrudes)

    assert here.saved["api_key"]


@pytest.mark.parametrize("in_terminal", [True, False])
async def test_a_refusal_that_proves_nothing_says_that_the_login_goes_on(tmp_path: Path, *, in_terminal: bool) -> None:
    """Any page can send the browser here. RunAPI's own refusal may come without a state, so the page says more.

    A login that a host runs has no terminal to press a key in.
    """
    here = Computer(tmp_path)

    async def is_sent_here(person: Browser) -> None:
        page = (await person.callback.get("/callback", params={"error": "access_denied"})).text
        assert "goes on waiting" in page
        assert f"If you denied the login, {'press Ctrl-C' if in_terminal else 'let the time run out'}" in page
        assert ("Ctrl-C" in page) == in_terminal
        await person.allows()

    await here.logs_in(is_sent_here, in_terminal=in_terminal)

    assert here.saved["api_key"]


async def test_the_right_state_without_a_code_is_no_answer(tmp_path: Path) -> None:
    async def forgets(person: Browser) -> None:
        refused = await person.callback.get("/callback", params={"state": person.asked["state"]})
        assert refused.status_code == 400
        await person.allows()

    await Computer(tmp_path).logs_in(forgets)


async def test_other_paths_and_methods_lead_nowhere(tmp_path: Path) -> None:
    async def strays(person: Browser) -> None:
        assert (await person.callback.get("/favicon.ico")).status_code == 404
        assert (await person.callback.get("/")).status_code == 404
        assert (await person.callback.post("/callback", params={"state": person.asked["state"]})).status_code == 400
        await person.allows()

    await Computer(tmp_path).logs_in(strays)


@pytest.mark.parametrize("said", [b"nonsense\r\n\r\n", b"GET /callback HTTP/1.1\r\nX: " + b"x" * 20_000, b""])
async def test_what_is_no_browser_does_not_disturb(tmp_path: Path, said: bytes) -> None:
    async def knocks(person: Browser) -> None:
        port = int(person.asked["redirect_port"])
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(said)
        await person.allows()

    await Computer(tmp_path).logs_in(knocks)


@pytest.mark.parametrize("host", ["evil.test", "127.0.0.1.evil.test", ""])
async def test_a_name_that_somebody_points_at_this_machine_is_refused(tmp_path: Path, host: str) -> None:
    """By such a name a page of theirs could read what the answer says."""
    here = Computer(tmp_path)

    async def comes_by_that_name(person: Browser) -> None:
        where = (await person.answers("allow")).headers["location"]
        assert (await person.callback.get(where, headers={"Host": host})).status_code == 400
        await person.callback.get(where, headers={"Host": "localhost"})

    await here.logs_in(comes_by_that_name)

    assert here.saved["api_key"]


@pytest.mark.parametrize("said", [b"", b"GET /callback HTTP/1.1\r\nHost: 127.0.0.1\r\n"])
async def test_a_connection_that_is_kept_open_does_not_hold_up_the_end(tmp_path: Path, said: bytes) -> None:
    """Browsers open connections that they may never use."""
    streams: list[anyio.abc.SocketStream] = []

    async def keeps_one_open(person: Browser) -> None:
        streams.append(await anyio.connect_tcp("127.0.0.1", int(person.asked["redirect_port"])))
        await streams[0].send(said)
        await person.allows()

    with anyio.fail_after(10):
        await Computer(tmp_path).logs_in(keeps_one_open)
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await streams[0].receive()
    await streams[0].aclose()


async def test_a_look_before_the_visit_uses_nothing_up(tmp_path: Path) -> None:
    here = Computer(tmp_path)

    async def looks_first(person: Browser) -> None:
        where = (await person.answers("allow")).headers["location"]
        assert (await person.callback.head(where)).status_code == 400
        await person.callback.get(where)

    await here.logs_in(looks_first)

    assert here.saved["api_key"]


class CrashesAtTheExchange(Wire):
    """A mistake of ours where the code is redeemed."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/exchange"):
            raise ZeroDivisionError
        return await super().handle_async_request(request)


async def test_a_crash_ends_the_login(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is heard of at once, and not after five minutes of waiting; no log has the code that was in the address."""
    caplog.set_level("DEBUG")
    here = Computer(tmp_path)
    keyring = replace(here.keyring, transport=CrashesAtTheExchange(here.simulator))

    with anyio.fail_after(10):
        async with login(keyring) as waiting, browser(here.simulator, waiting) as person:
            assert (await person.allows()).status_code == 500
            with pytest.raises(ZeroDivisionError):
                await waiting.finished()

    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


async def test_the_listener_is_on_loopback_only_and_gone_afterwards(tmp_path: Path) -> None:
    async with login(Computer(tmp_path).keyring) as waiting:
        port = int(dict(parse_qsl(urlsplit(waiting.url).query))["redirect_port"])
        with pytest.raises(OSError, match=r"(?i)refused|failed"):
            await anyio.connect_tcp("127.0.0.2", port)

    with pytest.raises(OSError, match=r"(?i)refused|failed"):
        await anyio.connect_tcp("127.0.0.1", port)


async def test_whoever_denies_it_is_believed(tmp_path: Path) -> None:
    here = Computer(tmp_path)
    pages: list[str] = []

    async def denies(person: Browser) -> None:
        pages.append((await person.denies()).text)

    with pytest.raises(LoginFailed) as refused:
        await here.logs_in(denies)

    assert "The request was denied" in str(refused.value)
    assert "No key was saved" in str(refused.value)
    assert "Not logged in" in pages[0]
    assert not here.file.exists()


async def test_what_the_address_bar_says_is_shown_as_plain_text(tmp_path: Path) -> None:
    pages: list[httpx.Response] = []

    async def is_sent_here(person: Browser) -> None:
        said = "<script>alert(1)</script>\x1b[31m" + "long " * 200
        told = {"error": "x", "error_description": said, "state": person.asked["state"]}
        pages.append(await person.callback.get("/callback", params=told))

    with pytest.raises(LoginFailed) as refused:
        await Computer(tmp_path).logs_in(is_sent_here)

    assert "<script>" not in pages[0].text
    assert "&lt;script&gt;" in pages[0].text
    assert "\x1b" not in str(refused.value)
    assert len(str(refused.value)) < 400


async def test_only_runapis_page_may_read_the_answer_and_nobody_keeps_it(tmp_path: Path) -> None:
    async def allows(person: Browser) -> None:
        asked_before = await person.callback.options("/callback", headers={"Origin": BASE_URL})
        answers = [asked_before, await person.callback.get("/callback?state=no"), await person.allows()]

        assert asked_before.status_code == 204
        for answer in answers:
            assert answer.headers["access-control-allow-origin"] == BASE_URL
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["referrer-policy"] == "no-referrer"

    await Computer(tmp_path).logs_in(allows)


async def test_a_second_tab_changes_nothing(tmp_path: Path) -> None:
    here = Computer(tmp_path)

    async def allows_twice(person: Browser) -> None:
        once = (await person.answers("allow")).headers["location"]
        assert "Already answered" in (await person.answers("allow")).text
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(person.callback.get, once)

    await here.logs_in(allows_twice)

    assert sum(seen.path.endswith("/exchange") for seen in here.simulator.requests) == 1


async def test_a_login_that_is_left_too_long_is_expired_at_runapi(tmp_path: Path) -> None:
    now = 0.0
    here = Computer(tmp_path, Simulator(Script(login_seconds=60), clock=lambda: now))

    async def dawdles(person: Browser) -> None:
        nonlocal now
        await person.looks()
        now = 61.0
        assert (await person.answers("allow")).status_code == 410

    with pytest.raises(LoginFailed, match="Nobody allowed the login"):
        await here.logs_in(dawdles, patience=0)


async def test_a_code_that_comes_too_late_gives_no_key(tmp_path: Path) -> None:
    now = 0.0
    here = Computer(tmp_path, Simulator(Script(login_seconds=60), clock=lambda: now))

    async def dawdles(person: Browser) -> None:
        nonlocal now
        where = (await person.answers("allow")).headers["location"]
        now = 61.0
        assert "Not logged in" in (await person.callback.get(where)).text

    with pytest.raises(LoginFailed, match="expired"):
        await here.logs_in(dawdles)
    assert not here.file.exists()


async def test_nobody_is_waited_for_longer_than_said(tmp_path: Path) -> None:
    async def nothing(_: Browser) -> None: ...

    with pytest.raises(LoginFailed, match="Nobody allowed the login within 0 minutes"):
        await Computer(tmp_path).logs_in(nothing, patience=0)


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(LoginFailed, match=f"Port {port}") as refused:
            async with login(Computer(tmp_path).keyring, port=port):
                raise NotImplementedError

    assert "--port" in str(refused.value)


TROUBLES = {
    "refused": (Fault(on="exchange", status=400, body={"error": "Code is invalid"}), "Code is invalid"),
    "broken": (Fault(on="exchange", status=502, body="<html><title>502 Bad Gateway</title></html>"), "502"),
    "no answer": (Fault(on="exchange", lose=True), "did not answer"),
    "no key": (Fault(on="exchange", status=201, body={"name": "x"}), "holds no key"),
    "not JSON": (Fault(on="exchange", status=201, body="hello"), "holds no key"),
    "unusable key": (Fault(on="exchange", status=201, body={"key": "a\nb"}), "line break"),
    "key that does not work": (Fault(on="balance", status=401, times=9), "does not accept that key"),
    "balance out of reach": (Fault(on="balance", status=503, times=9), "could not be checked"),
}


@pytest.mark.parametrize(("fault", "words"), TROUBLES.values(), ids=TROUBLES)
async def test_what_goes_wrong_at_runapi_is_told_on_the_page_too(tmp_path: Path, fault: Fault, words: str) -> None:
    here = Computer(tmp_path)
    here.simulator.faults.append(fault)
    pages: list[str] = []

    async def allows(person: Browser) -> None:
        pages.append((await person.allows()).text)

    with pytest.raises(LoginFailed, match=words):
        await here.logs_in(allows)

    assert "Not logged in" in pages[0]
    assert not here.file.exists()


@pytest.mark.parametrize("status", [200, 201])
async def test_any_success_of_the_exchange_will_do(tmp_path: Path, status: int) -> None:
    """The vendor's servers take any 2xx, its command line only 201 (fact sheet 1.10)."""
    here = Computer(tmp_path)
    here.simulator.faults.append(Fault(on="exchange", status=status, body={"key": KEY}))

    await here.logs_in(Browser.allows)

    assert here.saved["api_key"] == KEY


async def test_a_set_variable_wins_so_nothing_is_begun(tmp_path: Path) -> None:
    here = Computer(tmp_path, environ={"RUNAPI_API_KEY": KEY})
    with pytest.raises(LoginFailed) as refused:
        await here.logs_in(Browser.allows)
    with pytest.raises(LoginFailed):
        await login_with(KEY, here.keyring)

    assert "RUNAPI_API_KEY is set, and it wins" in str(refused.value)
    assert KEY not in str(refused.value)
    assert not here.simulator.requests


async def test_a_file_that_cannot_be_kept_whole_is_noticed_before_anybody_is_asked(tmp_path: Path) -> None:
    here = Computer(tmp_path)
    here.file.parent.mkdir(parents=True)
    here.file.write_text("{ half a fi", encoding="utf-8")
    with pytest.raises(BadSetting, match="left as it is"):
        await here.logs_in(Browser.allows)

    assert here.file.read_text(encoding="utf-8") == "{ half a fi"
    assert not here.simulator.requests


async def test_no_login_without_tls(tmp_path: Path) -> None:
    here = Computer(tmp_path, environ={"RUNAPI_BASE_URL": "http://runapi.test"})
    with pytest.raises(InsecureBaseUrl):
        await here.logs_in(Browser.allows)


async def test_a_key_from_elsewhere_is_checked_before_it_is_saved(tmp_path: Path) -> None:
    here = Computer(tmp_path, Simulator(Script(keys={KEY: 250})))
    done = await login_with(KEY, here.keyring)

    assert done.balance_cents == 250
    assert here.saved["api_key"] == KEY


@pytest.mark.parametrize("key", ["", "runapi_wrong0123456789", "a\nb", "${RUNAPI_API_KEY}", "sécret", "x" * 600])
async def test_a_key_from_elsewhere_that_does_not_work_is_not_saved(tmp_path: Path, key: str) -> None:
    here = Computer(tmp_path)
    with pytest.raises(LoginFailed) as refused:
        await login_with(key, here.keyring)

    assert not here.file.exists()
    assert not key or key not in str(refused.value)


async def test_without_a_network_nothing_is_saved(tmp_path: Path) -> None:
    keyring = Keyring(Settings.from_environ({}), tmp_path, NoNetwork())
    with pytest.raises(Flux2Error, match="could not be checked"):
        await login_with(KEY, keyring)


class Silent(httpx.AsyncBaseTransport):
    """An address that takes a connection and never says anything."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError


@pytest.mark.virtual_time
@pytest.mark.parametrize("network", [NoNetwork(), Silent()], ids=["no network", "silent"])
async def test_a_login_where_nothing_answers_says_so_soon(tmp_path: Path, network: httpx.AsyncBaseTransport) -> None:
    """Not after the five minutes in which a person could have allowed it, or after several tries."""
    computer = Computer(tmp_path)
    computer.has({"api_key": KEY, "base_url": BASE_URL})
    keyring = replace(computer.keyring, transport=network)
    began = anyio.current_time()
    with pytest.raises(LoginFailed) as in_the_browser:
        async with login(keyring) as waiting:
            await waiting.finished()
    with pytest.raises(LoginFailed) as with_a_key:
        await login_with("runapi_another0123456789", keyring)
    await keyring.key_to_replace()

    assert anyio.current_time() - began <= 15
    assert str(in_the_browser.value) == str(with_a_key.value)
    assert f"Nothing answers at {BASE_URL}" in str(with_a_key.value)
    assert "No key was saved. Check the network and RUNAPI_BASE_URL" in str(with_a_key.value)
    assert computer.saved["api_key"] == KEY
