"""What is imported before the first answers: every module costs each session of each host."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ABOUT, Message, environment

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": ABOUT}

OURS = """
__main__ app_state background budget catalogue cli cli.ports cli.serve credentials desktop errors files history
history.batches history.orders history.resuming images images.destinations images.fetching images.formats images.loading
images.naming images.previewing images.public_addresses images.saving invocation login logs memory polling presenters
presenters.account presenters.estimate presenters.models presenters.progress presenters.results remembered runapi
runapi.models runapi.origins server server.account_tools server.app server.apps server.arguments server.completions
server.consent server.hang_up server.hosts server.invalid_messages server.login_tool server.observed
server.picture_tools server.plan server.progress server.prompts server.resources server.results server.schemas
server.sdk server.starts server.state server.stdio server.strict server.tasks_extension server.tickets settings sources
sources.opening sources.paths sources.uploads studio studio.deliveries studio.fulfilment studio.jobs studio.plan
studio.services studio.watched telemetry telemetry.export text webhooks
"""
"""Of flux2_mcp, what the list of tools, the settings and the instructions are made of. Add what has to be there."""

HEAVY = {"PIL", "httpcore", "httpx", "opentelemetry.sdk", "platformdirs", "ruamel", "sqlalchemy", "sqlite3", "tomlkit"}
"""For pictures, the network, the history and the hosts' configs. (The SDK itself imports rich, for its log lines.)"""

# As a host starts it, except that it tells what it has imported when its stdin ends.
PROGRAM = """
import json, os, sys
from flux2_mcp import app_state
app_state.TIME_TO_ANSWER = 60
leave = os._exit
def tell_and_leave(code):
    print(json.dumps(sorted(sys.modules)), file=sys.stderr, flush=True)
    leave(code)
os._exit = tell_and_leave
from flux2_mcp.__main__ import main
main()
"""

SDK = {"mcp", "mcp_types", "starlette", "uvicorn"}


def test_the_first_answers_need_nothing_heavy(tmp_path: Path) -> None:
    loaded = _loaded_after_the_first_answers(tmp_path)

    ours = {module.removeprefix("flux2_mcp.") for module in loaded if module.startswith("flux2_mcp.")}
    assert sorted(ours - set(OURS.split())) == []
    assert sorted(HEAVY & loaded) == []


@pytest.mark.parametrize("command", ["history", "recover", "account", "estimate fox"])
def test_a_command_that_serves_nobody_loads_no_sdk(tmp_path: Path, command: str) -> None:
    ended = subprocess.run(  # noqa: S603 our own command
        [sys.executable, "-c", PROGRAM, *command.split()],
        env=environment(tmp_path, "http://127.0.0.1:9"),
        capture_output=True,
        check=False,
    )

    loaded = set(json.loads(ended.stderr.splitlines()[-1]))
    assert "flux2_mcp.app_state" in loaded
    assert sorted(SDK & loaded) == []


def _loaded_after_the_first_answers(home: Path) -> set[str]:
    said: list[Message] = [
        {"id": 1, "method": "initialize", "params": HELLO},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list", "params": {}},
    ]
    with subprocess.Popen(  # noqa: S603 our own server
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(home, "https://runapi.test"),
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        for message in said:
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.stdin.close()
        loaded = set(json.loads(process.stderr.read().splitlines()[-1]))
    assert answers[1]["result"]["tools"]
    return loaded
