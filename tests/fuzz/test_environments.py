from __future__ import annotations

import re
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from flux2_mcp.errors import BadSetting
from flux2_mcp.settings import Settings
from tests.fuzz.anything import texts, tried
from tests.fuzz.door import opened
from tests.sources.owner_sources import data_uri, png
from tests.world import KEY

NAMES = sorted(str(field.alias) for field in Settings.model_fields.values())
FOLDERS = {"FLUX2_OUTPUT_DIR", "FLUX2_DATA_DIR", "RUNAPI_CONFIG_DIR", "XDG_CONFIG_HOME"}
CHOICES = (
    "auto",
    "off",
    "on",
    "private",
    "sdk",
    "v1",
    "structured",
    "runapi-key",
    "$0.50",
    "1024",
    "true",
    "debug",
    "0",
)
ADDRESSES = (
    "https://runapi.test",
    "http://runapi.test",
    "runapi.test",
    "https://u:p@runapi.test/a?b#c",
    "https://[::1",
)
possible = texts.filter(lambda text: re.search("[\0\ud800-\udc7f\udd00-\udfff]", text) is None)
"""A variable holds no NUL, and of half characters only those that stand for bytes."""
values = possible | st.sampled_from(CHOICES + ADDRESSES)


@tried(100)
@given(st.dictionaries(st.sampled_from(NAMES) | possible, values, max_size=8))
def test_whatever_the_environment_says_it_is_read_or_refused_in_words_that_do_not_repeat_it(
    environ: dict[str, str],
) -> None:
    secret = {name: f"{value}s3cr3t" for name, value in environ.items()}

    for given_environ in (environ, secret):
        try:
            Settings.from_environ(given_environ)
        except BadSetting as refusal:
            assert "s3cr3t" not in str(refusal)  # noqa: PT017


def test_whatever_the_settings_say_a_server_answers_with_a_picture_or_with_what_is_wrong(tmp_path: Path) -> None:
    """Those that were read; what they refuse is not paid."""
    inside = possible.map(lambda text: text.replace("..", ""))

    @tried(10)
    @given(
        st.dictionaries(st.sampled_from([name for name in NAMES if name not in FOLDERS]), values, max_size=4),
        st.dictionaries(st.sampled_from(sorted(FOLDERS)), inside, max_size=2),
    )
    def check(environ: dict[str, str], folders: dict[str, str]) -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            home = Path(folder)
            environ = {**environ, **{name: f"{home}/{text}" for name, text in folders.items()}}
            environ |= {"FLUX2_DATABASE_URL": "", "RUNAPI_API_KEY": KEY + environ.get("RUNAPI_API_KEY", "")}
            try:
                Settings.from_environ(environ)
            except BadSetting:
                return
            with opened(home, environ=environ) as door:
                result = door.call("generate", {"prompt": "a fox", "wait_seconds": 20})
                door.call("remix", {"prompt": "a fox", "source_image_urls": [data_uri(png())], "max_cost_usd": 0})
                door.call("recent_tasks", {})

                assert not (result.is_error and door.here.paid)

    check()
