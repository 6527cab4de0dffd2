"""flux2-mcp doctor: every problem that is planted is found, with its fix, and nothing else is."""

from __future__ import annotations

import json
import os
import ssl
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import httpx
import pytest

from flux2_mcp import __version__
from flux2_mcp.cli import main
from flux2_mcp.cli.doctor import examine
from flux2_mcp.cli.doctor.checks import Computer
from flux2_mcp.simulator import Fault, Script, Simulator
from tests.platforms import not_on, only_on
from tests.transports import NoNetwork, Wire
from tests.world import BASE_URL, KEY, no_sleep

Json = dict[str, object]
OURS: Json = {"command": sys.executable, "args": ["-m", "flux2_mcp"]}
STANDS_IN = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    server = {"name": "flux2", "version": sys.argv[2]}
    results = {
        "initialize": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": server},
        "tools/list": {"tools": []},
    }
    if asked["method"] in results:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": results[asked["method"]]}), flush=True)
"""


def stand_in(version: str = __version__) -> Json:
    """An entry that starts as ours does, in a tenth of the time, where it is not the server that is looked at."""
    return {"command": sys.executable, "args": ["-I", "-S", "-c", STANDS_IN, "flux2-mcp", version]}


def computer(home: Path, simulator: Simulator | None = None, **environ: str) -> Computer:
    """A computer that has everything, but for what a test takes away."""
    return Computer(
        home,
        {
            "RUNAPI_API_KEY": KEY,
            "RUNAPI_BASE_URL": BASE_URL,
            "FLUX2_OUTPUT_DIR": str(home / "pictures"),
            "FLUX2_DATA_DIR": str(home / "data"),
            **environ,
        },
        "linux",
        transport=Wire(simulator or Simulator()),
        sleep=no_sleep,
    )


class Report:
    """What a script reads."""

    def __init__(self, text: str, code: int) -> None:
        self.text = text
        self.code = code
        self.all = cast("dict[str, object]", json.loads(text))
        self.checks = cast("list[dict[str, str]]", self.all["checks"])

    @property
    def problems(self) -> list[str]:
        return [check["name"] for check in self.checks if not check["ok"]]

    def of(self, name: str) -> str:
        [check] = [check for check in self.checks if check["name"] == name]
        return f"{check['message']} {check['fix']}"


class Doctor:
    """Examines, and remembers what was printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def examines(self, checked: Computer) -> Report:
        code = await examine(checked, as_json=True)
        return Report(self._capsys.readouterr().out, code)

    async def says(self, checked: Computer) -> str:
        await examine(checked, as_json=False)
        return self._capsys.readouterr().out


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(capsys)


def host(home: Path, **servers: Json) -> Path:
    """Cursor, with these servers in its config."""
    path = home / ".cursor" / "mcp.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    return path


async def test_a_healthy_computer(tmp_path: Path, doctor: Doctor) -> None:
    host(tmp_path, flux2=OURS)
    report = await doctor.examines(computer(tmp_path))

    assert (report.problems, report.code, report.all["ok"]) == ([], 0, True)
    assert report.all["version"] == __version__
    assert report.of("Key") == "runapi_test••••••••6789 from RUNAPI_API_KEY "
    assert "sdk dialect" in report.of("Routes")
    assert report.of("Balance") == "$10.00 "
    assert report.of("Cursor").startswith("starts it and sees 7 tools")
    assert KEY not in report.text


async def test_a_look_leaves_nothing_behind_and_costs_nothing(tmp_path: Path, doctor: Doctor) -> None:
    simulator = Simulator()
    await doctor.examines(computer(tmp_path, simulator))

    assert [*tmp_path.rglob("*")] == []  # noqa: ASYNC240 a test may
    assert simulator.ledger.tasks() == []
    [create] = [seen for seen in simulator.requests if seen.method == "POST"]
    assert "authorization" not in create.headers


async def test_a_person_reads_one_line_for_each(tmp_path: Path, doctor: Doctor) -> None:
    lines = (await doctor.says(computer(tmp_path, RUNAPI_API_KEY=""))).splitlines()

    assert lines[0].startswith("✓ Python")
    [key] = [line for line in lines if line.startswith("✗")]
    assert "There is no RunAPI key yet. → Run `flux2-mcp login`" in key
    assert lines[-1] == "1 to fix."
    assert "Nothing to fix." in await doctor.says(computer(tmp_path))


async def test_no_key(tmp_path: Path, doctor: Doctor) -> None:
    report = await doctor.examines(computer(tmp_path, RUNAPI_API_KEY=""))

    assert (report.problems, report.code) == (["Key"], 1)
    assert "flux2-mcp login" in report.of("Key")


async def test_an_address_that_is_not_the_default_says_where_it_comes_from(tmp_path: Path, doctor: Doctor) -> None:
    saved = tmp_path / ".config" / "runapi" / "config.json"
    saved.parent.mkdir(parents=True)
    saved.write_text(json.dumps({"api_key": KEY, "base_url": BASE_URL}), encoding="utf-8")
    beside_the_key = await doctor.examines(computer(tmp_path, RUNAPI_API_KEY="", RUNAPI_BASE_URL=""))
    from_the_variable = await doctor.examines(computer(tmp_path))

    assert f"{BASE_URL} (from {saved}) answers" in beside_the_key.of("RunAPI")
    assert f"{BASE_URL} (from RUNAPI_BASE_URL) answers" in from_the_variable.of("RunAPI")


async def test_a_placeholder_key(tmp_path: Path, doctor: Doctor) -> None:
    report = await doctor.examines(computer(tmp_path, RUNAPI_API_KEY="${RUNAPI_API_KEY}"))

    assert report.problems == ["Key"]
    assert "unexpanded placeholder" in report.of("Key")


async def test_an_unusable_key(tmp_path: Path, doctor: Doctor) -> None:
    report = await doctor.examines(computer(tmp_path, RUNAPI_API_KEY="runapi_sécret"))

    assert report.problems == ["Key"]
    assert "sécret" not in report.text


async def test_a_wrong_key(tmp_path: Path, doctor: Doctor) -> None:
    report = await doctor.examines(computer(tmp_path, RUNAPI_API_KEY="runapi_wrong0123456789"))

    assert report.problems == ["Balance"]
    assert "does not accept the key" in report.of("Balance")
    assert "runapi_wrong0123456789" not in report.text


async def test_a_saved_key_is_found_with_its_path(tmp_path: Path, doctor: Doctor) -> None:
    file = tmp_path / ".config" / "runapi" / "config.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"api_key": KEY}), encoding="utf-8")
    report = await doctor.examines(computer(tmp_path, RUNAPI_API_KEY=""))

    assert report.problems == []
    assert str(file) in report.of("Key")


@pytest.mark.parametrize("cents", [0, 4])
async def test_no_credit(tmp_path: Path, doctor: Doctor, cents: int) -> None:
    """The cheapest picture costs 5 cents."""
    report = await doctor.examines(computer(tmp_path, Simulator(Script(keys={KEY: cents}))))

    assert report.problems == ["Balance"]
    assert "Add credits" in report.of("Balance")


async def test_an_unreachable_api(tmp_path: Path, doctor: Doctor) -> None:
    report = await doctor.examines(replace(computer(tmp_path), transport=NoNetwork()))

    assert report.problems == ["RunAPI"]
    assert "start it again: `flux2-mcp simulate`. Else correct RUNAPI_BASE_URL, or leave it out." in report.of("RunAPI")


async def test_an_unreachable_api_that_a_login_saved(tmp_path: Path, doctor: Doctor) -> None:
    """Such as a simulator that runs no more: no variable is set that could be corrected."""
    saved = tmp_path / "config" / "config.json"
    saved.parent.mkdir()
    saved.write_text(json.dumps({"apiKey": KEY, "baseUrl": "http://127.0.0.1:9"}))
    without = replace(computer(tmp_path, RUNAPI_CONFIG_DIR=str(saved.parent)), transport=NoNetwork())
    environ = {
        name: each for name, each in without.environ.items() if name not in {"RUNAPI_BASE_URL", "RUNAPI_API_KEY"}
    }
    report = await doctor.examines(replace(without, environ=environ))

    assert report.problems == ["RunAPI"]
    assert "RUNAPI_BASE_URL" not in report.of("RunAPI")
    assert "`flux2-mcp logout` removes the address and its key" in report.of("RunAPI")


class Untrusted(httpx.AsyncBaseTransport):
    """A proxy that reads what passes, as some companies have."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        error = ssl.SSLCertVerificationError()
        error.verify_message = "self-signed certificate in certificate chain"
        raise httpx.ConnectError(str(error), request=request) from error


async def test_a_certificate_that_is_not_trusted(tmp_path: Path, doctor: Doctor) -> None:
    report = await doctor.examines(replace(computer(tmp_path), transport=Untrusted()))

    assert report.problems == ["RunAPI"]
    assert "self-signed certificate" in report.of("RunAPI")
    assert "SSL_CERT_FILE" in report.of("RunAPI")


async def test_an_address_without_tls(tmp_path: Path, doctor: Doctor) -> None:
    report = await doctor.examines(computer(tmp_path, RUNAPI_BASE_URL="http://runapi.test"))

    assert report.problems == ["RunAPI"]
    assert "without TLS" in report.of("RunAPI")


FOREIGN = {
    "page": (
        Fault(on="prices", status=200, body="<html>Our hotel</html>", times=9),
        "RunAPI",
        "something else",
    ),
    "down": (Fault(on="prices", status=503, times=9), "RunAPI", "Wait a few minutes"),
    "no balance": (Fault(on="balance", status=500, times=9), "Balance", "HTTP 500"),
}


@pytest.mark.parametrize(("fault", "name", "words"), FOREIGN.values(), ids=FOREIGN)
async def test_an_answer_that_is_of_no_use(tmp_path: Path, doctor: Doctor, fault: Fault, name: str, words: str) -> None:
    simulator = Simulator()
    simulator.faults.append(fault)
    report = await doctor.examines(computer(tmp_path, simulator))

    assert report.problems == [name]
    assert words in report.of(name)


async def test_the_dialect_that_answers_is_named(tmp_path: Path, doctor: Doctor) -> None:
    report = await doctor.examines(computer(tmp_path, Simulator(Script(dialects=("v1",)))))

    assert report.of("Routes") == "v1 dialect, /v1/text_to_image "


async def test_a_dialect_that_is_not_spoken_there(tmp_path: Path, doctor: Doctor) -> None:
    report = await doctor.examines(computer(tmp_path, Simulator(Script(dialects=("v1",))), RUNAPI_DIALECT="sdk"))

    assert report.problems == ["Routes"]
    assert "RUNAPI_DIALECT" in report.of("Routes")


async def test_settings_that_cannot_be_used(tmp_path: Path, doctor: Doctor) -> None:
    """The others count all the same."""
    report = await doctor.examines(computer(tmp_path, FLUX2_DAILY_BUDGET="a lot", FLUX2_PREVIEW="huge"))

    assert report.problems == ["Settings"]
    assert "FLUX2_DAILY_BUDGET" in report.of("Settings")
    assert "FLUX2_PREVIEW" in report.of("Settings")


async def test_a_setting_that_does_not_exist(tmp_path: Path, doctor: Doctor) -> None:
    """It may be a limit, and its owner relies on it."""
    report = await doctor.examines(computer(tmp_path, FLUX2_DAILY_BUGDET="1.00"))

    assert report.problems == ["Settings"]
    assert "did you mean FLUX2_DAILY_BUDGET?" in report.of("Settings")


@pytest.mark.parametrize(("name", "variable"), [("Pictures", "FLUX2_OUTPUT_DIR"), ("History", "FLUX2_DATA_DIR")])
async def test_a_folder_that_cannot_be_written_to(tmp_path: Path, doctor: Doctor, name: str, variable: str) -> None:
    """A file in its place stops everybody, the superuser included."""
    (tmp_path / "taken").touch()
    report = await doctor.examines(computer(tmp_path, None, **{variable: str(tmp_path / "taken" / "deep")}))

    assert report.problems == [name]
    assert "is not a folder" in report.of(name)
    assert variable in report.of(name)


@only_on("Linux", "in its /proc even the superuser cannot make a file")
async def test_a_read_only_folder(tmp_path: Path, doctor: Doctor) -> None:
    report = await doctor.examines(computer(tmp_path, FLUX2_OUTPUT_DIR="/proc/1"))

    assert report.problems == ["Pictures"]
    assert "cannot be written to" in report.of("Pictures")


@only_on("Windows", "only there a drive can be missing")
async def test_a_folder_on_a_drive_that_is_not_there(tmp_path: Path, doctor: Doctor) -> None:
    report = await doctor.examines(computer(tmp_path, FLUX2_OUTPUT_DIR="Q:\\pictures"))

    assert report.problems == ["Pictures"]
    assert "is not a folder" in report.of("Pictures")


async def test_what_is_switched_off_is_no_problem(tmp_path: Path, doctor: Doctor) -> None:
    (tmp_path / "taken").touch()
    nowhere = str(tmp_path / "taken" / "deep")
    off = {"FLUX2_SAVE": "off", "FLUX2_HISTORY": "off", "FLUX2_OUTPUT_DIR": nowhere, "FLUX2_DATA_DIR": nowhere}
    report = await doctor.examines(computer(tmp_path, None, **off))

    assert report.problems == []


async def test_a_history_that_cannot_be_used(tmp_path: Path, doctor: Doctor) -> None:
    """Nothing is ordered then."""
    (tmp_path / "data" / "history.lock").mkdir(parents=True)
    (tmp_path / "data" / "history.sqlite3").touch()

    report = await doctor.examines(computer(tmp_path))

    assert report.problems == ["History"]
    assert "The history cannot be read" in report.of("History")
    assert "FLUX2_HISTORY=off goes on without a history" in report.of("History")


async def test_a_damaged_history(tmp_path: Path, doctor: Doctor) -> None:
    file = tmp_path / "data" / "history.sqlite3"
    file.parent.mkdir()
    file.write_bytes(b"SQLite format 3\0" + b"nonsense " * 1000)
    report = await doctor.examines(computer(tmp_path))

    assert report.problems == ["History"]
    assert "damaged" in report.of("History")


async def test_an_old_python(tmp_path: Path, doctor: Doctor) -> None:
    report = await doctor.examines(replace(computer(tmp_path), python=(3, 10, 12)))

    assert report.problems == ["Python"]
    assert "3.10.12 is too old" in report.of("Python")
    assert "3.11" in report.of("Python")


async def test_a_host_with_a_wrong_path(tmp_path: Path, doctor: Doctor) -> None:
    host(tmp_path, flux2={"command": "/nowhere/flux2-mcp"})
    report = await doctor.examines(computer(tmp_path))

    assert report.problems == ["Cursor"]
    assert "starts /nowhere/flux2-mcp, which is not there" in report.of("Cursor")
    assert "flux2-mcp install cursor" in report.of("Cursor")


def program(path: Path, code: str) -> str:
    """An executable Python program."""
    path.write_text(f"#!{sys.executable}\n{code}", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


async def test_a_host_that_starts_another_version(tmp_path: Path, doctor: Doctor) -> None:
    host(tmp_path, flux2=stand_in("0.0.9"))
    report = await doctor.examines(computer(tmp_path))

    assert report.problems == ["Cursor"]
    assert f"starts another version, 0.0.9; this is {__version__}" in report.of("Cursor")


@not_on("Windows", "a script is no program there")
async def test_a_host_whose_start_fails_is_quoted_without_its_key(tmp_path: Path, doctor: Doctor) -> None:
    dies = "import os, sys\nsys.exit('No module named pip, and ' + os.environ['RUNAPI_API_KEY'])\n"
    host(tmp_path, flux2={"command": program(tmp_path / "flux2-mcp", dies), "env": {"RUNAPI_API_KEY": KEY}})
    report = await doctor.examines(computer(tmp_path))

    assert report.problems == ["Cursor"]
    assert "No module named pip" in report.of("Cursor")
    assert KEY not in report.text


@not_on("Windows", "a script is no program there")
async def test_a_host_whose_start_takes_for_ever(tmp_path: Path, doctor: Doctor) -> None:
    host(tmp_path, flux2={"command": program(tmp_path / "flux2-mcp", "import time\ntime.sleep(60)\n")})
    report = await doctor.examines(replace(computer(tmp_path), host_timeout=0.5))

    assert report.problems == ["Cursor"]
    assert "does not answer" in report.of("Cursor")


@not_on("Windows", "a script is no program there")
async def test_nothing_but_our_entry_is_run(tmp_path: Path, doctor: Doctor) -> None:
    """Also not what has only taken our name."""
    leaves_a_trace: Json = {"command": program(tmp_path / "other", f"open({str(tmp_path / 'trace')!r}, 'w')\n")}
    host(tmp_path, other=leaves_a_trace, flux2=stand_in())
    beside_us = await doctor.examines(computer(tmp_path))
    host(tmp_path, flux2=leaves_a_trace)
    under_our_name = await doctor.examines(computer(tmp_path))
    host(tmp_path, other=leaves_a_trace)
    without_us = await doctor.examines(computer(tmp_path))

    assert (beside_us.problems, under_our_name.problems, without_us.problems) == ([], ["Cursor"], [])
    assert "starts something else" in under_our_name.of("Cursor")
    assert "flux2-mcp install" in without_us.of("Hosts")
    assert not (tmp_path / "trace").exists()


async def test_a_config_that_its_host_cannot_read(tmp_path: Path, doctor: Doctor) -> None:
    path = host(tmp_path)
    path.write_text('{"mcpServers": {"flux2": {', encoding="utf-8")
    report = await doctor.examines(computer(tmp_path))

    assert report.problems == ["Cursor"]
    assert str(path) in report.of("Cursor")


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"FLUX2_DAILY_BUGDET": "1.00"}, "did you mean FLUX2_DAILY_BUDGET?"),
        (
            {"RUNAPI_API_KEY": "${RUNAPI_API_KEY}", "FLUX2_DAILY_BUDGET": "$BUDGET"},
            "leaves RUNAPI_API_KEY, FLUX2_DAILY_BUDGET to a placeholder that Cursor does not fill in",
        ),
        ({"RUNAPI_API_KEY": "runapi_with a space"}, "so it cannot be a RunAPI key"),
        ({"RUNAPI_BASE_URL": "http://runapi.test"}, "RUNAPI_BASE_URL in its entry: "),
        ({"RUNAPI_BASE_URL": "https://runapi.tset"}, "RUNAPI_BASE_URL in its entry: "),
    ],
    ids=["unknown name", "placeholders", "no key", "no TLS", "wrong address"],
)
async def test_a_host_whose_entry_misleads_the_server(
    tmp_path: Path, doctor: Doctor, env: dict[str, str], words: str
) -> None:
    """The server starts, so that nobody else would say it."""
    path = host(tmp_path, flux2={**stand_in(), "env": env})
    checked = replace(computer(tmp_path), transport=OnlyThere(BASE_URL, Wire(Simulator())))
    report = await doctor.examines(checked)

    assert report.problems == ["Cursor"]
    assert words in report.of("Cursor")
    assert str(path) in report.of("Cursor")
    assert "with a space" not in report.text


ELSEWHERE = "https://elsewhere.test"
OTHER_SERVERS = {
    "nothing there": httpx.Response(404, json={"error": "Not found"}),
    "a page": httpx.Response(404, html="<h1>Not found</h1>"),
    "a password": httpx.Response(401, text="Who are you?"),
    "sent elsewhere": httpx.Response(302, headers={"Location": "https://elsewhere.test/sign-in"}),
    "all is fine": httpx.Response(200, json={}),
}


@pytest.mark.parametrize("answer", OTHER_SERVERS.values(), ids=OTHER_SERVERS)
async def test_another_server_is_not_taken_for_runapi(tmp_path: Path, doctor: Doctor, answer: httpx.Response) -> None:
    network = TwoServers(Wire(Simulator()), answer)
    report = await doctor.examines(replace(computer(tmp_path, RUNAPI_BASE_URL=ELSEWHERE), transport=network))

    assert "Routes" in report.problems


async def test_another_server_in_the_entry_of_a_host_is_not_taken_for_runapi(tmp_path: Path, doctor: Doctor) -> None:
    host(tmp_path, flux2={**stand_in(), "env": {"RUNAPI_BASE_URL": ELSEWHERE}})
    network = TwoServers(Wire(Simulator()), OTHER_SERVERS["all is fine"])
    report = await doctor.examines(replace(computer(tmp_path), transport=network))

    assert report.problems == ["Cursor"]
    assert f"RUNAPI_BASE_URL in its entry: {ELSEWHERE}" in report.of("Cursor")
    assert "none that makes pictures" in report.of("Cursor")


class TwoServers(httpx.AsyncBaseTransport):
    """RunAPI, and at another address a server that gives one answer to everything."""

    def __init__(self, runapi: httpx.AsyncBaseTransport, answer: httpx.Response) -> None:
        self._runapi = runapi
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host != httpx.URL(ELSEWHERE).host:
            return await self._runapi.handle_async_request(request)
        return httpx.Response(
            self._answer.status_code, headers=self._answer.headers, content=self._answer.content, request=request
        )


async def test_a_host_whose_entry_is_as_install_writes_it(tmp_path: Path, doctor: Doctor) -> None:
    env = {"RUNAPI_API_KEY": "${env:RUNAPI_API_KEY}", "RUNAPI_BASE_URL": BASE_URL, "FLUX2_DAILY_BUDGET": "1.00"}
    host(tmp_path, flux2={**OURS, "env": env})
    report = await doctor.examines(computer(tmp_path))

    assert report.problems == []


class OnlyThere(httpx.AsyncBaseTransport):
    """A network in which there is one address."""

    def __init__(self, address: str, way: httpx.AsyncBaseTransport) -> None:
        self._host = httpx.URL(address).host
        self._way = way

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host != self._host:
            msg = "Name or service not known"
            raise httpx.ConnectError(msg, request=request)
        return await self._way.handle_async_request(request)


async def test_the_key_in_a_config_is_shown_masked(tmp_path: Path, doctor: Doctor) -> None:
    """A host may have another key than the terminal."""
    host(tmp_path, flux2={**stand_in(), "env": {"RUNAPI_API_KEY": "runapi_another_key_98765"}})
    report = await doctor.examines(computer(tmp_path))

    assert "with the key runapi_anot••••••••8765" in report.of("Cursor")
    assert "runapi_another_key_98765" not in report.text


def test_the_command_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Nothing listens on port 9 of this machine."""
    monkeypatch.setenv("RUNAPI_BASE_URL", "http://127.0.0.1:9")
    os.makedirs(os.environ["HOME"], exist_ok=True)  # noqa: PTH103 as the environment has it
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--json"])

    report = Report(capsys.readouterr().out, int(ended.value.code or 0))
    assert report.code == 1
    assert report.problems == ["Key", "RunAPI"]
