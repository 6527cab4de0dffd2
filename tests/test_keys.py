from __future__ import annotations

import json
import logging
from pathlib import Path
from urllib.parse import quote

import pytest
from mcp.client.client import ConnectMode

from flux2_mcp.simulator import Fault, Script
from tests.world import KEY, World, every, text_of, world

pytestmark = pytest.mark.virtual_time

FOX = {"prompt": "a fox", "wait_seconds": 0.2}
PAID = [("generate", {"prompt": "a fox"}), ("task_status", {"task_id": "tsk_1"})]


def world_with_key(home: Path, key: str, mode: ConnectMode = "auto") -> World:
    script = Script(looks_until_done=1, plain_pictures=True)
    return world(home, script, mode=mode, environ={"RUNAPI_API_KEY": key}, intervals=every(0.05))


@pytest.mark.parametrize(("tool", "arguments"), PAID)
async def test_a_call_without_a_key_says_how_to_get_one(
    tmp_path: Path, era: ConnectMode, tool: str, arguments: dict[str, object]
) -> None:
    here = world_with_key(tmp_path, "", era)
    async with here.client() as client:
        result = await client.call_tool(tool, arguments)

    assert result.is_error
    assert "https://runapi.ai/api_keys" in text_of(result)
    assert "RUNAPI_API_KEY" in text_of(result)
    assert "Nothing was charged" in text_of(result)
    assert not here.simulator.requests


@pytest.mark.parametrize(
    "placeholder", ["${RUNAPI_API_KEY}", "${input:runapi-key}", "$RUNAPI_API_KEY", "%RUNAPI_API_KEY%"]
)
async def test_a_placeholder_that_no_host_expanded_is_recognised(tmp_path: Path, placeholder: str) -> None:
    here = world_with_key(tmp_path, placeholder)
    async with here.client() as client:
        result = await client.call_tool("generate", FOX)

    assert result.is_error
    assert "unexpanded placeholder" in text_of(result)
    assert not here.simulator.requests


@pytest.mark.parametrize("status", [401, 403])
async def test_an_estimate_with_a_key_that_runapi_refuses_allows_nothing(tmp_path: Path, status: int) -> None:
    here = world_with_key(tmp_path, KEY)
    here.simulator.faults.append(Fault(on="balance", status=status, body={"error": "Key revoked"}, times=99))
    async with here.client() as client:
        estimate = (await client.call_tool("estimate_cost", {"prompt": "a fox"})).structured_content

    assert estimate is not None
    assert estimate["allowed"] is False
    assert "RunAPI said: Key revoked" in estimate["why_not"]
    assert "for a new key, or check RUNAPI_API_KEY" in estimate["why_not"]
    assert estimate["cost_usd"] == 0.05


BROKEN = {
    "newline": "runapi_secret\nX-Evil: 1",
    "CRLF": "runapi_secret\r\n\r\nGET /",
    "letter": "runapi_sécret",
    "NUL": "runapi_secret\x00",
    "space": "runapi_sec ret",
    "length": "secret" * 100,
}


@pytest.mark.parametrize("key", BROKEN.values(), ids=BROKEN)
async def test_a_key_that_cannot_be_one_is_refused_without_being_quoted(
    tmp_path: Path, era: ConnectMode, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    here = world_with_key(tmp_path, key, era)
    async with here.client() as client:
        result = await client.call_tool("generate", FOX)

    assert result.is_error
    assert "RUNAPI_API_KEY" in text_of(result)
    for told in (text_of(result), caplog.text):
        assert "secret" not in told
        assert "sécret" not in told
        assert "X-Evil" not in told
    assert not here.simulator.requests


async def test_a_key_saved_meanwhile_is_used_without_a_restart(tmp_path: Path) -> None:
    here = world_with_key(tmp_path, "")
    async with here.client() as client:
        before = await client.call_tool("generate", FOX)
        folder = tmp_path / ".config" / "runapi"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"api_key": KEY}), encoding="utf-8")
        after = await client.call_tool("generate", FOX)

    assert before.is_error
    assert not after.is_error


@pytest.mark.parametrize(
    "base_url",
    [
        "http://runapi.test",
        "http://127.0.0.1.evil.example",
        "ftp://runapi.ai",
        "https://user:pw@runapi.ai",
        "runapi.ai",
    ],
)
async def test_the_key_is_not_sent_to_an_unsafe_address(tmp_path: Path, base_url: str) -> None:
    here = world_with_key(tmp_path, KEY)
    here.environ["RUNAPI_BASE_URL"] = base_url
    async with here.client() as client:
        result = await client.call_tool("generate", FOX)
        status = await client.call_tool("task_status", {"task_id": "tsk_1"})

    assert result.is_error
    assert status.is_error
    assert "RUNAPI_BASE_URL" in text_of(result)
    assert "Nothing was sent" in text_of(result)
    assert "pw" not in text_of(result)
    assert not here.simulator.requests


ECHOES = {
    "error": Fault(on="create", status=422, body={"error": f"Bad key {KEY}", "errors": {KEY: [f"is {KEY}"]}}),
    "words of a 401": Fault(on="create", status=401, body={"error": {"code": KEY, "message": f"No such key: {KEY}"}}),
    "page": Fault(on="create", status=403, body=f"<html><title>Hello, Bearer {KEY}</title></html>"),
    "text": Fault(on="create", status=500, body=f"Authorization: Bearer {KEY}", times=9),
    "request id": Fault(on="create", status=402, body={"error": "no"}, headers={"X-Request-Id": f"req_{KEY}"}),
    "task id": Fault(on="create", body={"id": KEY, "status": "pending"}, headers={"X-RunAPI-Task-Id": KEY}),
    "location": Fault(on="create", headers={"Location": f"/api/v1/tasks/1?key={KEY}"}),
    "failed task": Fault(on="look", body={"status": "failed", "error": f"The key {KEY} was revoked"}, times=9),
    "unknown word": Fault(on="look", body={"status": f"waiting for {KEY}"}, times=9999),
    "refused look": Fault(on="look", status=401, body={"error": f"Who is {KEY}?"}, times=9999),
    "picture": Fault(on="look", body={"status": "completed", "images": [f"https://runapi.test/{KEY}.png"]}, times=9),
    "price list": Fault(on="prices", status=500, body={"error": KEY}, times=9),
    "redirect": Fault(on="create", status=302, headers={"Location": f"https://elsewhere.example/?{KEY}"}, times=9),
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
async def test_a_key_that_runapi_echoes_goes_no_further(
    tmp_path: Path, echo: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """Not into a result, not into a log however talkative, not into the history on disk."""
    caplog.set_level(logging.DEBUG)
    here = world_with_key(tmp_path, KEY)
    here.simulator.faults.append(echo)
    async with here.client() as client:
        result = await client.call_tool("generate", FOX)
        again = await client.call_tool("generate", FOX)

    told = [repr(result), repr(again), caplog.text, *map(repr, caplog.records), repr(await here.orders())]
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    for form in (KEY, quote(KEY, safe=""), KEY.removeprefix("runapi_")):
        assert not [words for words in told if form in words]
        assert form.encode() not in kept
