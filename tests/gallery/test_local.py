"""`flux2-mcp gallery`: who is let in, what they get, and how it ends."""

from __future__ import annotations

import base64
import hashlib
import signal
import socket
import sys
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from flux2_mcp.gallery import page
from flux2_mcp.server.local_gallery import MOST_BYTES
from flux2_mcp.simulator import Fault, Script, Simulator
from tests.gallery.local import Gallery, asked, gallery, key_in, request_of
from tests.platforms import not_on
from tests.processes import AT_ONCE, finished, served

LIST = request_of("tools/list", {})
PAGE = page()
ELSEWHERE = "https://evil.example"


async def test_the_link_becomes_a_cookie_that_opens_the_page(tmp_path: Path) -> None:
    async with gallery(tmp_path, "", "--no-open") as here, here.browser() as browser:
        opened = await browser.get(here.link)
        shown = await browser.get("/")
        again = await browser.get(here.link)

    assert (opened.status_code, opened.headers["location"]) == (303, f"/#key={key_in(opened)}")
    [cookie] = SimpleCookie(opened.headers["set-cookie"]).values()
    assert cookie.key == f"flux2_gallery_{here.port}"
    assert cookie["httponly"]
    assert (cookie["samesite"].lower(), cookie["path"], cookie["domain"]) == ("strict", "/", "")
    secrets = [cookie.value, key_in(opened), here.link.partition("token=")[2]]
    assert len(set(secrets)) == 3
    assert min(map(len, secrets)) >= 43  # 256 bits
    assert shown.text == PAGE
    assert (again.status_code, again.headers["location"]) == (303, "/")
    assert "set-cookie" not in again.headers
    for answer in (opened, shown):
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"


async def test_without_its_cookie_nobody_gets_anything(tmp_path: Path) -> None:
    async with gallery(tmp_path, "", "--no-open") as here:
        async with here.browser() as stranger:
            answers = await _all_that_can_be_asked(stranger, here)
            answers.append(await stranger.get("/", params={"token": "wrong"}))
            answers.append(await stranger.get("/", params={"token": ""}))
            answers.append(await stranger.get("/mcp", params={"token": here.link.partition("token=")[2]}))
            stranger.cookies.set(f"flux2_gallery_{here.port}", "wrong", domain="127.0.0.1")
            answers += await _all_that_can_be_asked(stranger, here)
        async with here.opened():
            pass
        async with here.browser() as late:
            too_late = await late.get(here.link)
            answers += [too_late, *await _all_that_can_be_asked(late, here)]
            head = await late.head(here.link)

    assert {answer.status_code for answer in [*answers, head]} == {403}
    assert not any("set-cookie" in answer.headers or "flux2_gallery" in answer.text for answer in answers)
    assert "once, in one browser" in too_late.text
    assert "run flux2-mcp gallery again" in too_late.text


async def _all_that_can_be_asked(browser: httpx.AsyncClient, here: Gallery) -> list[httpx.Response]:
    headers, body = LIST
    return [
        await browser.get("/"),
        await browser.get("/favicon.ico"),
        await browser.get("/healthz"),
        await browser.get("/anything"),
        await browser.options("/mcp"),
        await browser.post("/mcp", json=body, headers={**headers, "Origin": here.origin}),
    ]


async def test_another_site_cannot_use_the_browser_that_was_let_in(tmp_path: Path) -> None:
    """It sends the cookie by itself where a browser has none of our rules; the address of the page is ours then."""
    async with gallery(tmp_path, "", "--no-open") as here, here.opened() as browser:
        headers, body = LIST
        own = {**headers, "Origin": here.origin}
        welcome = [
            await browser.post("/mcp", json=body, headers=own),
            await browser.post("/mcp", json=body, headers={**own, "Sec-Fetch-Site": "same-origin"}),
            await browser.get("/", headers={"Sec-Fetch-Site": "none"}),
        ]
        neighbour = f"http://127.0.0.1:{here.port + 1}"
        refused = [
            await browser.post("/mcp", json=body, headers=headers),
            *[
                await browser.post("/mcp", json=body, headers={**headers, "Origin": origin})
                for origin in (ELSEWHERE, "null", neighbour, f"{here.origin}.evil.example", f"https{here.origin[4:]}")
            ],
            *[
                await browser.post("/mcp", json=body, headers={**own, "Sec-Fetch-Site": site})
                for site in ("cross-site", "same-site")
            ],
            await browser.post("/mcp", json=body, headers=[*own.items(), ("Origin", ELSEWHERE)]),
            await browser.get("/", headers={"Origin": ELSEWHERE}),
            await browser.get("/", headers={"Sec-Fetch-Site": "cross-site"}),
            await browser.get("/", headers={"Sec-Fetch-Site": "same-site"}),
            *[
                await browser.request(method, path, json=body, headers={**own, "Host": host})
                for method, path in (("GET", "/"), ("POST", "/mcp"))
                for host in ("evil.example", f"evil.example:{here.port}", f"localhost:{here.port}", "127.0.0.1")
            ],
        ]

    assert {answer.status_code for answer in welcome} == {200}
    assert {answer.status_code for answer in refused} == {403}
    assert not any("access-control-allow-origin" in answer.headers for answer in [*welcome, *refused])


async def test_a_refusal_waits_for_the_body_so_that_the_connection_goes_on(tmp_path: Path) -> None:
    """Else a client that keeps connections finds out with its next request."""
    async with (
        gallery(tmp_path, "", "--no-open") as here,
        here.opened() as browser,
        await anyio.connect_tcp("127.0.0.1", here.port) as client,
    ):
        answers = BufferedByteReceiveStream(client)
        head = f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{here.port}\r\nOrigin: {ELSEWHERE}\r\nContent-Length: 2\r\n\r\n"
        await client.send(head.encode())
        await browser.get("/")  # the server has read those lines by then
        with anyio.fail_after(AT_ONCE):
            for _ in range(2):
                await client.send(b"{}")
                assert (await answers.receive_until(b"\r\n", 1000)).startswith(b"HTTP/1.1 403")
                length = (await answers.receive_until(b"\r\n\r\n", 5000)).lower().partition(b"content-length: ")[2]
                await answers.receive_exactly(int(length.partition(b"\r\n")[0]))
                await client.send(head.encode())


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": ELSEWHERE}])
async def test_a_link_that_comes_from_another_site_is_not_used_up(tmp_path: Path, headers: dict[str, str]) -> None:
    async with gallery(tmp_path, "", "--no-open") as here, here.browser() as browser:
        refused = await browser.get(here.link, headers=headers)
        opened = await browser.get(here.link)

    assert (refused.status_code, opened.status_code) == (403, 303)
    assert "set-cookie" not in refused.headers


async def test_the_cookie_alone_which_every_port_of_this_computer_may_be_sent_opens_no_server(tmp_path: Path) -> None:
    async with gallery(tmp_path, "", "--no-open") as here, here.opened() as browser:
        headers, body = LIST
        own = {**headers, "Origin": here.origin}
        refused = [
            await browser.post("/mcp", json=body, headers={**own, "Flux2-Gallery-Key": key})
            for key in ("", "wrong", here.link.partition("token=")[2])
        ]

    assert {answer.status_code for answer in refused} == {403}
    assert "run flux2-mcp gallery again" in refused[0].json()["error"]["message"]


async def test_a_cookie_that_a_program_on_another_port_has_set_shuts_nobody_out(tmp_path: Path) -> None:
    async with gallery(tmp_path, "", "--no-open") as here, here.opened() as browser:
        name, value = f"flux2_gallery_{here.port}", dict(browser.cookies)[f"flux2_gallery_{here.port}"]
        browser.cookies.clear()
        answers = [
            await browser.get("/", headers={"Cookie": cookies})
            for cookies in (f"{name}=theirs; {name}={value}", f"{name}={value}; {name}=theirs", f"a=b;{name}={value}")
        ]

    assert {answer.status_code for answer in answers} == {200}


async def test_there_is_the_page_its_icon_and_the_server_and_nothing_else(tmp_path: Path) -> None:
    async with gallery(tmp_path, "", "--no-open") as here, here.opened() as browser:
        found = {
            (method, path): (await browser.request(method, path, headers={"Origin": here.origin})).status_code
            for method, path in (
                *[("GET", path) for path in ("/", "/favicon.ico", "/mcp", "/healthz", "/readyz", "/mcp/", "/x//mcp")],
                *[("GET", path) for path in ("/../etc/passwd", "/%2e%2e/etc/passwd", "/index.html")],
                *[(method, "/") for method in ("HEAD", "POST", "PUT", "OPTIONS")],
                *[(method, "/mcp") for method in ("DELETE", "OPTIONS", "HEAD")],
            )
        }

    assert {each for each, status in found.items() if status == 200} == {("GET", "/")}
    assert {each for each, status in found.items() if status == 204} == {("GET", "/favicon.ico")}
    not_allowed = {each for each, status in found.items() if status == 405}
    assert not_allowed == {("GET", "/mcp"), *[each for each in found if each[0] != "GET"]}
    assert {status for each, status in found.items() if each not in not_allowed} == {200, 204, 404}


async def test_every_answer_is_kept_to_itself_and_the_page_can_run_only_what_is_in_it(tmp_path: Path) -> None:
    async with gallery(tmp_path, "", "--no-open") as here:
        async with here.browser() as stranger:
            refused = await stranger.get("/")
        async with here.opened() as browser:
            shown, missing = await browser.get("/"), await browser.get("/anything")
            headers, body = LIST
            answered = await browser.post("/mcp", json=body, headers={**headers, "Origin": here.origin})

    for answer in (refused, shown, missing, answered):
        kept = {
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
            "cache-control": "no-store",
            "referrer-policy": "no-referrer",
        }
        assert kept.items() <= dict(answer.headers).items()
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
    policy = dict(each.split(" ", 1) for each in shown.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": " ".join(_hashes(shown.text, "script")),
        "style-src": " ".join(_hashes(shown.text, "style")),
        "img-src": "data: blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }


def _hashes(document: str, kind: str) -> list[str]:
    """What a browser computes of each such element."""
    found: list[str] = []

    class Elements(HTMLParser):
        def handle_data(self, data: str) -> None:
            if self.cdata_elem == kind:
                found.append(data)

    parser = Elements(convert_charrefs=False)
    parser.feed(document)
    assert found
    return [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in found]


async def test_the_page_speaks_to_a_server_that_makes_pictures_and_finds_them_again(tmp_path: Path) -> None:
    async with (
        served() as (base_url, simulator),
        gallery(tmp_path, base_url, "--no-open", often=True) as here,
        here.opened() as browser,
    ):
        tools = await asked(browser, "tools/list")
        made = await asked(browser, "tools/call", name="generate", arguments={"prompt": "a fox"})
        found = await asked(browser, "tools/call", name="gallery_search", arguments={"text": "fox"})

    assert {"generate", "remix", "gallery_search", "gallery_forget"} <= {tool["name"] for tool in tools["tools"]}
    assert not made["isError"]
    [card] = found["structuredContent"]["cards"]
    [task] = simulator.ledger.tasks()
    assert (card["task_id"], card["prompt"], card["status"]) == (task.id, "a fox", "completed")


async def test_the_history_can_be_looked_at_without_a_key(tmp_path: Path) -> None:
    async with (
        gallery(tmp_path, "", "--no-open", environ={"RUNAPI_API_KEY": ""}) as here,
        here.opened() as browser,
    ):
        found = await asked(browser, "tools/call", name="gallery_search", arguments={})

    assert not found["isError"]
    assert found["structuredContent"]["cards"] == []


async def test_a_photo_as_large_as_a_source_may_be_arrives_and_a_larger_body_is_refused(tmp_path: Path) -> None:
    async with (
        served() as (base_url, simulator),
        gallery(tmp_path, base_url, "--no-open") as here,
        here.opened() as browser,
    ):
        photo = "data:image/png;base64," + base64.b64encode(b"\x89PNG" + bytes(19_999_996)).decode()
        remix = {"prompt": "the same in blue", "source_image_urls": [photo]}
        damaged = await asked(browser, "tools/call", name="remix", arguments=remix)
        own = {**LIST[0], "Origin": here.origin, "Content-Type": "application/json"}
        too_large = await browser.post("/mcp", content=b" " * (MOST_BYTES + 1), headers=own)
        async with here.browser() as stranger:
            from_nobody = await stranger.post("/mcp", content=b" " * 2**20, headers=own)

    assert damaged["isError"]
    assert "Only PNG, JPEG, WebP and GIF pictures can be used" in damaged["content"][0]["text"]
    assert too_large.status_code == 413
    assert "too large" in too_large.json()["error"]["message"]
    assert from_nobody.status_code == 403
    assert simulator.ledger.tasks() == []


async def test_ctrl_c_ends_it_without_a_complaint(tmp_path: Path) -> None:
    async with gallery(tmp_path, "", "--no-open") as here, here.opened() as browser:
        await asked(browser, "tools/list")
        here.process.send_signal(signal.SIGINT)
        with anyio.fail_after(AT_ONCE):
            await here.process.wait()

    assert here.process.returncode == 130
    assert here.errors.read_text() == ""


async def test_a_second_ctrl_c_waits_for_nothing(tmp_path: Path) -> None:
    runapi = Simulator(Script(looks_until_done=10**9, plain_pictures=True))
    runapi.faults.append(Fault(on="create", hang=60))
    async with (
        served(runapi) as (base_url, _),
        gallery(tmp_path, base_url, "--no-open") as here,
        here.opened() as browser,
        anyio.create_task_group() as group,
    ):
        group.start_soon(_generated, browser)
        while not any(seen.method == "POST" for seen in runapi.requests):  # noqa: ASYNC110 there is no event for it
            await anyio.sleep(0.01)
        here.process.send_signal(signal.SIGINT)
        await anyio.sleep(0.3)  # two signals at one moment would be one
        assert here.process.returncode is None
        here.process.send_signal(signal.SIGINT)
        with anyio.fail_after(1.5):
            await here.process.wait()

    assert here.process.returncode == 130
    assert here.errors.read_text() == ""


async def _generated(browser: httpx.AsyncClient) -> None:
    """A call whose server ends meanwhile."""
    with pytest.raises(httpx.HTTPError):
        await asked(browser, "tools/call", name="generate", arguments={"prompt": "a fox"})


async def test_a_port_that_is_in_use_is_said_in_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ended = await finished(tmp_path, "-m", "flux2_mcp", "gallery", "--no-open", "--port", port)

    assert (ended.returncode, ended.stdout) == (2, b"")
    said = ended.stderr.decode()
    assert f"Port {port} of 127.0.0.1 cannot be used" in said
    assert "another with --port" in said
    assert "Traceback" not in said


async def test_it_prints_the_link_and_logs_no_token(tmp_path: Path) -> None:
    loud = {"FLUX2_LOG_LEVEL": "debug", "FLUX2_LOG": "json"}
    async with gallery(tmp_path, "", "--no-open", environ=loud) as here, here.opened() as browser:
        await browser.get(here.link)
        await browser.get(here.link, headers={"Host": "evil.example"})
        await asked(browser, "tools/list")

    first, second, third = here.said.splitlines()
    assert first == f"The gallery: {here.origin}/?token={here.link.partition('token=')[2]}"
    assert second.endswith("Ctrl+C ends the gallery.")
    assert third.startswith("It shows the history")
    said = here.errors.read_text()
    assert here.link.partition("token=")[2] not in said
    assert "token" not in said


@pytest.mark.history_file
async def test_it_says_which_history_it_shows(tmp_path: Path) -> None:
    async with gallery(tmp_path, "", "--no-open") as here:
        kept = here.said.splitlines()[2]
    async with gallery(tmp_path, "", "--no-open", environ={"FLUX2_HISTORY": "off"}) as here:
        none = here.said.splitlines()[2]

    assert kept == f"It shows the history in {tmp_path / 'data'}."
    assert "what is made from now on" in none


@not_on("Windows", "a script is no program there")
@pytest.mark.parametrize("code", [0, 1], ids=["opens", "fails"])
async def test_the_link_is_opened_in_the_persons_browser(tmp_path: Path, code: int) -> None:
    browser = tmp_path / "browser"
    browser.write_text(
        f"#!{sys.executable}\nimport sys, pathlib\n"
        "opened = pathlib.Path(__file__).with_name('opened')\n"
        "opened.with_suffix('.new').write_text(sys.argv[1])\n"
        "opened.with_suffix('.new').replace(opened)\n"
        f"sys.exit({code})\n"
    )
    browser.chmod(0o700)
    async with gallery(tmp_path, environ={"BROWSER": f"{browser} %s"}) as here:
        opened = anyio.Path(tmp_path, "opened")
        while not await opened.exists():  # noqa: ASYNC110 another process has no event to wait for
            await anyio.sleep(0.02)
        assert await opened.read_text() == here.link
        async with here.opened() as tab:
            assert (await tab.get("/")).status_code == 200
