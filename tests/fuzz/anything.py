"""What strangers send: any JSON, any Unicode, much too deep, much too long, of the wrong type."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

ASKED_FOR = int(os.environ.get("FUZZ", "0"))
"""Examples that `make fuzz` asks for."""


def tried(few: int) -> settings:
    """Few examples, the same in every run; or as many new ones as `make fuzz` asks for."""
    return settings(
        max_examples=ASKED_FOR or few,
        derandomize=not ASKED_FOR,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


NASTY = (
    *("", " ", "\0", "\x1b[31m", "\ud83e", "\udc80", "e\u0301", "\u202e", "\ufeff", "\r\n", "٣", "🦊"),
    *("null", "true", "NaN", "-0", "1e999", "0x10", "{}", "[", '"', "'", "\\", "%", "%00", "%ff", "${KEY}", "$5"),
    *("..", "../../etc/passwd", "/etc/passwd", "/proc/self/environ", "/dev/zero", "~", "~root", "C:\\", "\\\\host\\a"),
    *("data:", "data:,", "data:;base64,%", "file:", "file:///", "https://[", "https://a:99999/", "javascript:alert(1)"),
    *("http://169.254.169.254/", "http://[::ffff:127.0.0.1]/", "flux2://tasks", "flux2://tasks/../images/0"),
    *("flux-2-pro", "21:9", "4k", "a" * 129, "x" * 100_000, "9" * 5000, "🦊" * 6000, "a\n" * 3000, "<svg/>"),
)

texts = st.one_of(
    st.sampled_from(NASTY), st.text(max_size=20), st.text(st.characters(exclude_categories=()), max_size=20)
)
scalars = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    st.sampled_from([10**400, -(10**19), 2**63, 1e308, 5e-324, -0.0, 0, -1]),
)


def nested(depth: int) -> object:
    """Lists and objects in turns."""
    value: object = 0
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def json_values(names: st.SearchStrategy[str] = texts) -> st.SearchStrategy[object]:
    """Any JSON, whose objects have members of these names, among others of ours."""
    return st.one_of(
        scalars,
        st.recursive(
            scalars,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5),
            max_leaves=10,
        ),
        st.integers(2, 60).map(nested),
        st.integers(1, 3000).map(lambda length: ["a fox"] * length),
    )


anything = json_values()


def joined(
    one: st.SearchStrategy[dict[str, object]], other: st.SearchStrategy[dict[str, object]]
) -> st.SearchStrategy[dict[str, object]]:
    """An object with the members of two."""
    return st.tuples(one, other).map(lambda both: both[0] | both[1])
