"""What docs/stability.md promises, as version 1.0 had it (stability.json): more may come, and nothing may go.

`python -m tests.promises` adds what is new to stability.json; it refuses while something is gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flux2_mcp.budget import Limits
from flux2_mcp.callers.runapi_keys import RunApiKeys
from flux2_mcp.callers.secret import Secret
from flux2_mcp.callers.tokens import entries
from flux2_mcp.settings import Settings
from tests.compatible import (
    BREAKS,
    Breaks,
    Json,
    changed_setting,
    demanded,
    gone,
    lost,
    misread,
    other_defaults,
    refused,
)
from tests.promises import FILE, NOW

PROMISED: Mapping[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("section", PROMISED)
async def test_what_was_promised_is_kept(tmp_path: Path, section: str) -> None:
    assert list(BREAKS[section](PROMISED[section], await NOW[section](tmp_path))) == []


def test_every_section_is_promised() -> None:
    assert set(PROMISED) == set(NOW) == set(BREAKS)


@pytest.mark.parametrize("amount", ["0", "0.50", "$2", "1000000", "off", "None", "unlimited"])
@pytest.mark.parametrize("name", ["FLUX2_MAX_COST_PER_CALL", "FLUX2_DAILY_BUDGET", "FLUX2_CONFIRM_OVER"])
def test_amounts_are_written_as_they_were(name: str, amount: str) -> None:
    Settings.from_environ({name: amount})


@pytest.mark.parametrize("switch", ["true", "false", "on", "off", "yes", "no", "1", "0"])
def test_switches_are_written_as_they_were(switch: str) -> None:
    Settings.from_environ({"FLUX2_ALLOW_UNKNOWN_PRICE": switch})


def test_a_tokens_file_is_read_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# somebody\nada {'a' * 64} max_cost_per_call=0.50 daily_budget=2 confirm_over=off\n")

    [ada] = entries(file)
    assert (ada.name, ada.digest, ada.limits(Limits())) == ("ada", "a" * 64, Limits(per_call=50, per_day=200))


async def test_callers_have_the_names_that_they_had() -> None:
    """By these the history knows whose order is whose."""
    secret = Secret("0123456789abcdef" * 2)
    caller = await RunApiKeys(secret, Limits()).caller("runapi_testkey0123456789")

    assert caller
    assert caller.name == "key 987da3b49b053ea0dbf20170acd343af"
    assert secret.name_of("subject", "https://issuer.example ada") == "subject 45dd445650671cf2a9000f9a6ef4e4ef"


def takes(**schema: object) -> Json:
    """The schema of a call that has one argument."""
    return {"properties": {"count": schema}, "required": []}


INTEGER: Json = {"type": "integer"}
NULL: Json = {"type": "null"}
NEVER: list[tuple[Breaks, object, object]] = [
    (refused, takes(), {"properties": {}}),
    (refused, takes(), {**takes(), "required": ["count"]}),
    (refused, takes(maximum=8), takes(maximum=2)),
    (refused, takes(), takes(maximum=8)),
    (refused, takes(minimum=0), takes(minimum=1)),
    (refused, takes(type="string"), takes(type="string", pattern="a+")),
    (refused, takes(type="string"), takes(**INTEGER)),
    (refused, takes(type="number"), takes(**INTEGER)),
    (refused, takes(anyOf=[INTEGER, NULL]), takes(**INTEGER)),
    (refused, takes(enum=["1:1", "4:3"]), takes(enum=["1:1"])),
    (refused, takes(type="string"), takes(type="string", enum=["1:1"])),
    (refused, takes(type="array"), takes(type="array", items=INTEGER)),
    (other_defaults, takes(default=1), takes(default=2)),
    (other_defaults, takes(), takes(default=2)),
    (other_defaults, takes(), takes(default=0)),
    (other_defaults, takes(default=None), takes(default=False)),
    (changed_setting, {"default": 100}, {"default": 200}),
    (changed_setting, {"default": 100}, {"default": None}),
    (changed_setting, {"default": False}, {"default": True}),
    (changed_setting, {"enum": ["on", "off"]}, {"enum": ["on"]}),
    (lost, {"error": "string?"}, {}),
    (lost, {"cost_usd": "number"}, {"cost_usd": "string"}),
    (lost, {"cost_usd": "number"}, {"cost_usd": "number?"}),
    (demanded, {"style": False}, {}),
    (demanded, {"style": False}, {"style": True}),
    (demanded, {}, {"style": True}),
    (misread, {"options": {"--json": "0"}}, {"options": {"--as-json": "0"}}),
    (misread, {"options": {"--json": "0"}}, {"options": {"--json": "?"}}),
    (misread, {"options": {}}, {"options": {"--model": "1, required"}}),
    (misread, {"options": {}, "positionals": ["1", "*"]}, {"options": {}, "positionals": ["1"]}),
    (misread, {"options": {}, "positionals": ["?"]}, {"options": {}, "positionals": ["1"]}),
    (misread, {"options": {}, "positionals": ["1"]}, {"options": {}, "positionals": ["1", "1"]}),
    (misread, {"options": {}, "choices": {"host": ["zed"]}}, {"options": {}, "choices": {"host": ["goose"]}}),
    (misread, {"options": {}}, {"options": {}, "choices": {"host": ["zed"]}}),
    (misread, {"options": {}, "exit codes": [0, 5]}, {"options": {}, "exit codes": [0, 6]}),
    (gone, ["GET /healthz"], ["GET /health"]),
]
ALWAYS: list[tuple[Breaks, object, object]] = [
    (refused, takes(), {"properties": {"count": {}, "style": {}}}),
    (refused, {**takes(), "required": ["count"]}, takes()),
    (refused, takes(maximum=8, minimum=1), takes(maximum=10, minimum=0)),
    (refused, takes(maximum=8), takes()),
    (refused, takes(**INTEGER), takes(type="number")),
    (refused, takes(**INTEGER), takes(anyOf=[NULL, INTEGER])),
    (refused, takes(enum=["1:1"]), takes(enum=["4:3", "1:1"])),
    (refused, takes(type="string", enum=["1:1"]), takes(type="string")),
    (other_defaults, takes(), takes(default="")),
    (changed_setting, {"default": None}, {"default": 100}),
    (changed_setting, {"default": 100}, {"default": 50}),
    (changed_setting, {"enum": ["on"]}, {"enum": ["on", "off"]}),
    (lost, {"cost_usd": "number?"}, {"cost_usd": "number", "note": "string?"}),
    (demanded, {"style": True}, {"style": False, "count": False}),
    (misread, {"options": {"--wait": "1"}}, {"options": {"--wait": "?", "--json": "0"}}),
    (misread, {"options": {}, "positionals": ["1"]}, {"options": {}, "positionals": ["?", "*"]}),
    (misread, {"options": {}, "choices": {"host": ["zed"]}}, {"options": {}, "choices": {"host": ["goose", "zed"]}}),
    (misread, {"options": {}, "choices": {"host": ["zed"]}}, {"options": {}}),
    (misread, {"options": {}, "exit codes": [0]}, {"options": {}, "exit codes": [0, 6]}),
    (gone, ["GET /healthz"], ["GET /healthz", "GET /livez"]),
]


@pytest.mark.parametrize(("breaks", "old", "new"), NEVER)
def test_this_would_break_a_promise(breaks: Breaks, old: object, new: object) -> None:
    assert list(breaks(old, new))


@pytest.mark.parametrize(("breaks", "old", "new"), ALWAYS)
def test_this_may_change(breaks: Breaks, old: object, new: object) -> None:
    assert list(breaks(old, new)) == []
