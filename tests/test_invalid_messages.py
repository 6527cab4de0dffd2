"""Lines over stdio that are no message: nobody may wait for an answer that never comes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.processes import MODULE, Era, ended, environment, hosted, served

ERAS = pytest.mark.parametrize("era", ["legacy", "modern"])
SECRET = "s3cr3t"

UNREADABLE = {
    "no JSON": (b"%s {", -32700, None),
    "half a message": (b'{"jsonrpc": "2.0", "id": 70, "method": "%s', -32700, None),
    "not UTF-8": (b'\xff{"%s": 1}', -32700, None),
    "endless": (b"[" * 5000 + b'"%s"', -32700, None),
    "batch": (b'[{"jsonrpc": "2.0", "id": 70, "method": "tools/list", "params": {"x": "%s"}}]', -32600, None),
    "empty batch": (b"[]", -32600, None),
    "text": (b'"%s"', -32600, None),
    "id is null": (b'{"jsonrpc": "2.0", "id": null, "method": "tools/list", "params": {"x": "%s"}}', -32600, None),
    "id is a fraction": (b'{"jsonrpc": "2.0", "id": 1.5, "method": "tools/list", "params": {"x": "%s"}}', -32600, None),
    "no id": (b'{"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "%s"}}', -32600, None),
    "another JSON-RPC": (b'{"jsonrpc": "1.0", "id": 70, "method": "%s"}', -32600, 70),
    "no JSON-RPC": (b'{"id": "seventy", "method": "%s"}', -32600, "seventy"),
    "no method": (b'{"jsonrpc": "2.0", "id": 70, "params": {"x": "%s"}}', -32600, 70),
    "method is a number": (b'{"jsonrpc": "2.0", "id": 70, "method": 5, "params": {"x": "%s"}}', -32600, 70),
    "params are a list": (b'{"jsonrpc": "2.0", "id": 70, "method": "tools/list", "params": ["%s"]}', -32600, 70),
    "half an emoji as id": (
        b'{"jsonrpc": "2.0", "id": "a\\ud83e", "method": "tools/list", "params": {"x": "%s"}}',
        -32600,
        None,
    ),
    "half an emoji as id of a method of nobody's": (
        b'{"jsonrpc": "2.0", "id": "\\udd8aa", "method": "of/our/own", "params": {"x": "%s"}}',
        -32600,
        None,
    ),
    "half an emoji as id and no method": (b'{"jsonrpc": "2.0", "id": "\\ud83e", "params": {"x": "%s"}}', -32600, None),
    "half an emoji in a wrong shape": (b'{"jsonrpc": "2.0", "id": 70, "params": ["\\ud83e %s"]}', -32600, 70),
}


@ERAS
async def test_a_line_that_is_no_message_is_answered_with_an_error(tmp_path: Path, era: Era) -> None:
    """One for each, in order; none repeats the line, and the next request is answered as ever."""
    async with served() as (base_url, runapi), hosted(tmp_path, base_url, era=era) as host:
        already = len(host.lines)
        for line, _, _ in UNREADABLE.values():
            await host.write(line.replace(b"%s", SECRET.encode()))
        listed = await host.answer(await host.request("tools/list", {}))

    said = [json.loads(line) for line in host.lines[already:]]
    errors = [each for each in said if "error" in each]
    assert [(each["error"]["code"], each["id"]) for each in errors] == [want[1:] for want in UNREADABLE.values()]
    assert all("Nothing was done or charged" in each["error"]["message"] for each in errors)
    assert SECRET not in str(errors)
    assert listed["result"]["tools"]
    assert not runapi.ledger.tasks()
    assert "Traceback" not in host.errors.read_text(encoding="utf-8")


@ERAS
async def test_what_needs_no_answer_gets_none(tmp_path: Path, era: Era) -> None:
    lines = (
        b"",
        b"  \r",
        b'{"jsonrpc": "2.0", "method": "notifications/of_our_own"}',
        b'{"jsonrpc": "2.0", "method": "of/our/own"}',
        b'{"jsonrpc": "2.0", "id": 70, "result": "odd"}',
        b'{"jsonrpc": "2.0", "id": 70, "error": "odd"}',
        b'{"jsonrpc": "2.0", "id": "\\ud83e", "result": {}}',
        # Not heard: the SDK drops an id that it cannot use, and knows no such method that could be a request.
        b'{"jsonrpc": "2.0", "id": null, "method": "of/our/own"}',
    )
    async with served() as (base_url, _), hosted(tmp_path, base_url, era=era) as host:
        already = len(host.lines)
        for line in lines:
            await host.write(line)
        listed = await host.answer(await host.request("tools/list", {}))

    assert listed["result"]["tools"]
    assert len(host.lines) == already + 1


async def test_the_first_and_last_line_may_be_unreadable(tmp_path: Path) -> None:
    """Before anybody has shaken hands, and when a host ends in the middle of a message."""
    done = await ended(*MODULE, environ=environment(tmp_path, ""), given=b"[]\n{")

    assert [json.loads(line)["error"]["code"] for line in done.stdout.splitlines()] == [-32600, -32700]
    assert b"Traceback" not in done.stderr


@ERAS
async def test_half_an_emoji_orders_a_picture_over_stdio_as_well(tmp_path: Path, era: Era) -> None:
    """It is written as an escape that the SDK's reader refuses, with all of the message."""
    async with served() as (base_url, runapi), hosted(tmp_path, base_url, era=era) as host:
        answer = await host.answer(await host.call("generate", {"prompt": "a fox \ud83e and more"}))

    assert not answer["result"]["isError"]
    [task] = runapi.ledger.tasks()
    assert task.id in json.dumps(answer["result"])
