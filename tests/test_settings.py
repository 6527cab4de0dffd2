from __future__ import annotations

import pytest

from flux2_mcp.errors import BadSetting
from flux2_mcp.settings import Settings, misspelt

NAMES = sorted(str(field.alias) for field in Settings.model_fields.values())
PLACEHOLDERS = ["${X}", "${env:X}", "${X:-default}", "$X", "$X_1", "%X%"]


def test_nothing_is_set_by_default() -> None:
    settings = Settings.from_environ({})

    assert settings == Settings()
    assert (settings.api_key, settings.dialect, settings.save, settings.preview) == (None, "auto", "on", "auto")


@pytest.mark.parametrize("empty", ["", " ", "\t\n"])
def test_empty_means_unset(empty: str) -> None:
    """Hosts pass on variables that their users left empty."""
    assert Settings.from_environ(dict.fromkeys(NAMES, empty)) == Settings()


@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
def test_a_placeholder_means_unset(placeholder: str) -> None:
    """A host that does not expand variables hands over their names."""
    names = [name for name in NAMES if name != "RUNAPI_API_KEY"]
    assert Settings.from_environ(dict.fromkeys(names, placeholder)) == Settings()


def test_a_placeholder_for_the_key_is_kept_to_be_explained() -> None:
    settings = Settings.from_environ({"RUNAPI_API_KEY": "${RUNAPI_API_KEY}"})

    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "${RUNAPI_API_KEY}"


def test_values_are_trimmed_and_strangers_ignored() -> None:
    settings = Settings.from_environ({"RUNAPI_BASE_URL": " https://runapi.ai\n", "PATH": "/bin", "FLUX2_UNKNOWN": "x"})

    assert settings == Settings(base_url="https://runapi.ai")


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("RUNAPI_DIALECT", "SDK", {"dialect": "sdk"}),
        ("RUNAPI_DIALECT", "V1", {"dialect": "v1"}),
        ("RUNAPI_DIALECT", "Auto", {"dialect": "auto"}),
        ("FLUX2_SAVE", "OFF", {"save": "off"}),
        ("FLUX2_SAVE", "On", {"save": "on"}),
        ("FLUX2_PREVIEW", "Off", {"preview": "off"}),
        ("FLUX2_PREVIEW", "512", {"preview": 512}),
        ("FLUX2_PREVIEW", "64", {"preview": 64}),
        ("FLUX2_PREVIEW", "2048", {"preview": 2048}),
        ("FLUX2_HISTORY", "PRIVATE", {"history": "private"}),
        ("FLUX2_DAILY_BUDGET", "5", {"daily_budget": 500}),
        ("FLUX2_DAILY_BUDGET", "$5", {"daily_budget": 500}),
        ("FLUX2_DAILY_BUDGET", "$0.50", {"daily_budget": 50}),
        ("FLUX2_DAILY_BUDGET", "0", {"daily_budget": 0}),
        ("FLUX2_MAX_COST_PER_CALL", "OFF", {"max_cost_per_call": None}),
        ("FLUX2_MAX_COST_PER_CALL", "0.129", {"max_cost_per_call": 12}),
    ],
)
def test_choices_are_read_in_any_case_and_amounts_in_dollars(name: str, value: str, read: dict[str, object]) -> None:
    assert Settings.from_environ({name: value}) == Settings(**read)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("RUNAPI_DIALECT", "s3cr3t", "'auto', 'sdk' or 'v1'"),
        ("FLUX2_SAVE", "s3cr3t", "'on' or 'off'"),
        ("FLUX2_PREVIEW", "s3cr3t", "it may be 'auto', 'off' or a whole number from 64 to 2048."),
        ("FLUX2_PREVIEW", "63", "from 64 to 2048"),
        ("FLUX2_PREVIEW", "2049", "from 64 to 2048"),
        ("FLUX2_PREVIEW", "64.5", "whole number"),
        ("FLUX2_HISTORY", "s3cr3t", "'on', 'private' or 'off'"),
        ("FLUX2_RESULT", "s3cr3t", "'auto'"),
        ("FLUX2_ALLOW_UNKNOWN_PRICE", "s3cr3t", "it may be true or false."),
        ("FLUX2_DAILY_BUDGET", "s3cr3t", "US dollars"),
        ("FLUX2_DAILY_BUDGET", "-1", "US dollars"),
        ("FLUX2_DAILY_BUDGET", "nan", "US dollars"),
        ("FLUX2_DAILY_BUDGET", "inf", "US dollars"),
        ("FLUX2_DAILY_BUDGET", "1e999999", "US dollars"),
        ("FLUX2_CONFIRM_OVER", "1,50", "US dollars"),
    ],
)
def test_a_bad_value_names_the_variable_and_what_it_may_be(name: str, value: str, hint: str) -> None:
    """It is not quoted: people paste keys into the wrong line."""
    with pytest.raises(BadSetting) as caught:
        Settings.from_environ({name: value})

    said = str(caught.value)
    assert said.startswith(f"{name}: ")
    assert hint in said
    assert said.count(f"{name}: ") == 1
    assert "Input" not in said
    assert "s3cr3t" not in said


def test_all_bad_values_are_named_at_once() -> None:
    with pytest.raises(BadSetting) as caught:
        Settings.from_environ({"RUNAPI_DIALECT": "x", "FLUX2_SAVE": "y", "RUNAPI_API_KEY": "runapi_testkey0123456789"})

    said = str(caught.value)
    assert "RUNAPI_DIALECT: " in said
    assert "; FLUX2_SAVE: " in said
    assert "runapi_testkey" not in said


def test_a_limit_that_is_misspelt_is_noticed() -> None:
    words = misspelt(["PATH", "FLUX2_DAILY_BUDGET", "FLUX2_DAILY_BUGDET", "FLUX2_SOMETHING_QUITE_ELSE"])

    assert (
        words
        == "There is no setting FLUX2_DAILY_BUGDET (did you mean FLUX2_DAILY_BUDGET?), FLUX2_SOMETHING_QUITE_ELSE."
    )
    assert "FLUX2_MAX_COST (did you mean FLUX2_MAX_COST_PER_CALL?)" in misspelt(["FLUX2_MAX_COST"])
    assert misspelt(NAMES) == ""
