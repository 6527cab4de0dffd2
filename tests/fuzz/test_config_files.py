"""Anything as the config of a host, before install and uninstall."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux2_mcp.cli.hosts import HOSTS, Host
from flux2_mcp.errors import UnreadableConfig
from tests.fuzz.anything import anything, texts, tried
from tests.install.computer import Computer, with_others

OF_EACH_FORMAT = ("claude-desktop", "vscode", "openclaw", "codex", "goose")

JSON_PIECES = (
    *[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        '"SECTION"',
        '"flux2"',
        '"command"',
        "'a'",
        "a",
        '"a"',
        '"',
        "'",
        "\\",
        "1",
        "-0",
        "1e5",
        "0xFF",
        "+.5",
        "true",
        "null",
        "NaN",
        "-Infinity",
        "/*c*/",
        "/*",
    ],
    *(
        '"SECTION": {',
        '"flux2": {"command": "a"}',
        '"SECTION": {"flux2": {"command": 1}},',
        "// c\n",
        "\n",
        "\r\n",
        " ",
        "\t",
    ),
    *(r'"\ud83e\udd8a"', r'"\ud83e"', r'"\x"', "\ufeff", "\u2028", "\0", "9" * 5000, "[" * 3000, '{"a":' * 3000),
)
TOML_PIECES = (
    *r"""
[SECTION]
[SECTION.flux2]
[[SECTION]]
[SECTION.flux2.env]
[SECTION.other]
SECTION = 1
SECTION = {}
SECTION.flux2.command = 'a'
SECTION = {flux2 = {command = 'a'}}
command = 'a'
args = ["a", # c
]
env = {A = 'b'}
a = 1
a.b = 2
"a" = 3
'' = ''
b = 1979-05-27T07:32:00Z
c = nan
# c
[a]
[ a . b ]
[[a.b]]
d = [[1], [{a = 1}]]
""".splitlines(keepends=True),
    *("\r\n", "\r", "\ufeff", "\t", "=", r'"\ud83e"', 'a = """\n', "'''", "[SECTION]"),
    *("g = " + "9" * 5000 + "\n", "e = 0x" + "f" * 5000 + "\n", "f = " + "[" * 3000),
)
YAML_PIECES = (
    *r"""
SECTION:
  flux2:
    cmd: a
    args:
    - a
  other: {cmd: b}
  <<: *a
SECTION: []
SECTION: *a
&a
x: &a {b: c}
y: *a
? x
: y
? [a]
- a
---
...
%YAML 1.1
a: !!python/object:os.system x
a: !b c
a: |
a: >-
a: 'b
a: "\ud83e"
a: 1
a: 2
1: a
null: a
a: 0o7
a: 2026-01-01
a: 9999-99-99
a: 1_0:61
a: .nan
a: =
<<: 1
a: !!int x
a: !!float x
a: !!timestamp x
a: !!set {b}
# c
""".splitlines(keepends=True),
    *("\r\n", "\ufeff", "\t", "{", "[", "[" * 300, "a: " + "9" * 5000 + "\n"),
)


def configs(host: Host) -> st.SearchStrategy[str]:
    """Pieces of this host's format in any order, its usual config with something in its middle, and any text."""
    pieces = {"codex": TOML_PIECES, "goose": YAML_PIECES}.get(host.name, JSON_PIECES)
    each = st.sampled_from([piece.replace("SECTION", host.section[0]) for piece in pieces])
    usual = with_others(host)
    many = st.lists(each, max_size=14).map("".join)
    within = st.tuples(st.integers(0, len(usual)), each | many | texts, st.integers(0, 30)).map(
        lambda cut: usual[: cut[0]] + cut[1] + usual[cut[0] + cut[2] :]
    )
    dumped = st.dictionaries(st.just(host.section[0]) | texts, anything, max_size=3).map(json.dumps)
    return many | within | within | texts | dumped


@pytest.mark.parametrize("name", OF_EACH_FORMAT)
def test_whatever_is_in_a_config_our_entry_gets_in_and_out_or_the_file_stays(tmp_path: Path, name: str) -> None:
    host = HOSTS[name]

    @tried(25)
    @given(configs(host))
    def check(text: str) -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path) as home, contextlib.redirect_stdout(io.StringIO()):
            computer = Computer(Path(home))
            content = text.encode(errors="surrogatepass")
            path = computer.path(name)
            path.parent.mkdir(parents=True)
            path.write_bytes(content)
            try:
                computer.install(name)
            except UnreadableConfig:
                assert path.read_bytes() == content
            else:
                assert host.entry(path.read_bytes().decode()) is not None
            before = path.read_bytes()
            try:
                computer.uninstall(name)
            except UnreadableConfig:
                assert path.read_bytes() == before
            else:
                assert "flux2" not in host.entries(path.read_bytes().decode())

    check()
