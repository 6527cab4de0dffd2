from __future__ import annotations

import json
from typing import cast

import pytest
from hypothesis import assume, given
from hypothesis import strategies as some

from flux2_mcp.cli.config_editors import Setting
from flux2_mcp.cli.config_editors.json_text import Json
from flux2_mcp.errors import UnreadableConfig

JSON5 = Json(strict=False)
VALUE = cast("Setting", {"command": "x", "args": ["y"]})
YES: Setting = True

values = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text(),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(), inner, max_size=4),
    max_leaves=12,
)
configs = some.dictionaries(some.text(), values, max_size=4)
sections = some.none() | some.dictionaries(some.text(), values, max_size=4)
layouts = some.sampled_from([None, 0, 2, 4, "\t"])


@given(config=configs, section=sections, indent=layouts, ascii_only=some.booleans())
def test_whatever_the_config_only_our_entry_comes_and_goes(
    config: dict[str, object], section: dict[str, object] | None, indent: int | str | None, *, ascii_only: bool
) -> None:
    config = config if section is None else {**config, "servers": section}
    section = section or {}
    assume("flux2" not in section and isinstance(config.get("servers", {}), dict))
    text = json.dumps(config, indent=indent, ensure_ascii=ascii_only)

    put = Json().put(text, ("servers", "flux2"), VALUE)
    dropped = Json().drop(put, ("servers", "flux2"))

    assert json.loads(put) == {**config, "servers": {**section, "flux2": VALUE}}
    assert json.loads(dropped) == {**config, "servers": section}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"servers": {"a": 1}}', '{"servers": {"a": 1, "flux2": true}}'),
        ('{"servers": {"a": 1,}}', '{"servers": {"a": 1, "flux2": true}}'),
        ('{"servers": {}}', '{"servers": {\n  "flux2": true\n}}'),
        ("// no end", '// no end\n{\n  "servers": {\n    "flux2": true\n  }\n}\n'),
        ("// only a comment\n", '// only a comment\n{\n  "servers": {\n    "flux2": true\n  }\n}\n'),
        (
            '{\n  "servers": {\n    "a": 1 // one\n    // nothing after it\n  }\n}',
            '{\n  "servers": {\n    "a": 1, // one\n    // nothing after it\n    "flux2": true\n  }\n}',
        ),
        (
            '{\n  "servers": {\n    "a": 1, // one\n  },\n}',
            '{\n  "servers": {\n    "a": 1, // one\n    "flux2": true,\n  },\n}',
        ),
        (
            "{\n    servers: {\n        a: 'one', /* , */\n        // }\n    },\n}",
            "{\n    servers: {\n        a: 'one', /* , */\n        // }\n        \"flux2\": true,\n    },\n}",
        ),
        (
            '{\n  "servers": {"flux2": false, "a": 1} // }\n}',
            '{\n  "servers": {"flux2": true, "a": 1} // }\n}',
        ),
    ],
)
def test_an_entry_is_written_as_its_neighbours_are(before: str, after: str) -> None:
    assert JSON5.put(before, ("servers", "flux2"), YES) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"servers": {"flux2": 1}}', '{"servers": {}}'),
        ('{"servers": {"flux2": 1, "a": 1}}', '{"servers": {"a": 1}}'),
        ('{"servers": {"a": 1, "flux2": 1}}', '{"servers": {"a": 1}}'),
        ('{\n  "a": 1,\n  "flux2": 1\n}', '{\n  "a": 1,\n  "flux2": 1\n}'),
        (
            '{\n  "servers": {\n    "a": 1, // one\n    "flux2": 2, // two\n    "b": 3\n  }\n}',
            '{\n  "servers": {\n    "a": 1, // one\n    // two\n    "b": 3\n  }\n}',
        ),
        (
            '{\n  "servers": {\n    "a": 1, // one\n    "flux2": 2\n  }\n}',
            '{\n  "servers": {\n    "a": 1 // one\n  }\n}',
        ),
    ],
)
def test_an_entry_goes_without_a_trace(before: str, after: str) -> None:
    assert JSON5.read(JSON5.drop(before, ("servers", "flux2"))) == JSON5.read(after)
    assert JSON5.drop(before, ("servers", "flux2")).replace("  // two", "// two").split() == after.split()


def test_everything_json5_can_say_is_understood() -> None:
    text = """{
        unquoted: 'single \\'quotes\\'', "escapes": "\\u0041\\x42\\n\\\
continued",
        hex: 0xFF, plus: +1, half: .5, big: 1e3, not: [Infinity, -1,], nothing: null, // end
    }"""

    assert JSON5.read(text) == {
        "unquoted": "single 'quotes'",
        "escapes": "AB\ncontinued",
        "hex": 255,
        "plus": 1.0,
        "half": 0.5,
        "big": 1000.0,
        "not": [float("inf"), -1],
        "nothing": None,
    }


def test_two_escapes_that_make_one_emoji_are_one() -> None:
    """A command with one in its path could not be looked for otherwise."""
    assert Json().read('{"\\ud83e\\udd8a": "\\ud83e\\udd8a and half: \\ud83e"}') == {"🦊": "🦊 and half: \ud83e"}


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        "{",
        '{"a" 1}',
        '{"a": }',
        '{"a": 1 "b": 2}',
        '{"a": 1} x',
        '{"a": "x\n"}',
        '{"a": what}',
        "{,}",
        '{"a": [1',
        pytest.param('{"a": ' + "9" * 5000 + "}", id="a number without end"),
        pytest.param('{"a": ' + "[" * 5000 + "]" * 5000 + "}", id="nested without end"),
    ],
)
def test_what_is_not_understood_is_refused(text: str) -> None:
    for editor in (JSON5, Json()):
        with pytest.raises(UnreadableConfig):
            editor.put(text, ("a",), YES)


def test_strict_json_has_no_comments() -> None:
    """A host that reads with JSON.parse would not start at all with such a file, so it is not ours to write on."""
    with pytest.raises(UnreadableConfig, match="Line 2 is not valid JSON"):
        Json().put('{\n  // note\n  "a": 1\n}', ("b",), YES)
