"""A file's name is readable, in any language, and safe everywhere."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux2_mcp.images import file_name

WHEN = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def name(prompt: str) -> str:
    return file_name(prompt, when=WHEN, tag="9f2c")


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a ceramic vase with dried flowers", "a ceramic vase with dried flowers"),
        ("  two\n lines\tof   it ", "two lines of it"),
        ("A fox. And a hen!", "A fox. And a hen!"),
        ("the end.", "the end"),
        ("../../x", "x"),
        ("..\\..\\x", "x"),
        ("/etc/passwd", "etc passwd"),
        ("C:\\Windows\\x", "C Windows x"),
        ('<a> "b" c|d? *e*', "a b c d e"),
        (".hidden", "hidden"),
        ("--force", "force"),
        ("~root", "root"),
        ("CON", "CON_"),
        ("nul.txt", "nul.txt_"),
        ("Console", "Console"),
        ("🎨🔥✨", "picture"),
        ("a 🦊 in snow", "a in snow"),
        ("", "picture"),
        (" . . . ", "picture"),
        ("\x00\x1b[31mred", "[31mred"),
        ("cat\u202egnp.exe", "cat gnp.exe"),
        ("\u2066x\u2069", "x"),
        ("مزهرية خزفية", "مزهرية خزفية"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # noqa: RUF001 - Persian
        ("一只陶瓷花瓶", "一只陶瓷花瓶"),
        ("陶器の花瓶、ドライフラワー", "陶器の花瓶、ドライフラワー"),
        ("हिन्दी में फूल", "हिन्दी में फूल"),
        ("cafe\u0301", "café"),
        ("\ud800 lone", "lone"),
    ],
)
def test_the_prompt_is_recognised_in_the_name(prompt: str, words: str) -> None:
    assert name(prompt) == f"2026-11-22 {words} 9f2c"


def test_a_long_prompt_ends_between_two_words() -> None:
    assert name("a ceramic vase " * 20) == "2026-11-22 a ceramic vase a ceramic vase a ceramic vase a ceramic vase 9f2c"


def test_a_long_prompt_without_words_ends_after_60_characters() -> None:
    assert name("x" * 300) == f"2026-11-22 {'x' * 60} 9f2c"
    assert name("花" * 300) == f"2026-11-22 {'花' * 58} 9f2c"


def test_a_letter_keeps_its_accents() -> None:
    """What does not fit is left out together with the letter."""
    assert name("x" * 58 + "q\u0323\u0307" + "y" * 9) == f"2026-11-22 {'x' * 58} 9f2c"


def test_only_letters_of_the_tag_are_used() -> None:
    assert file_name("x", when=WHEN, tag="../9f:2c") == "2026-11-22 x 9f2c"
    assert file_name("x", when=WHEN, tag="") == "2026-11-22 x"


@given(st.text(max_size=400), st.text(max_size=40))
def test_any_prompt_makes_a_safe_name(prompt: str, tag: str) -> None:
    made = file_name(prompt, when=WHEN, tag=tag)

    assert made.startswith("2026-11-22 ")
    assert len(made.encode()) <= 190
    assert not set(made) & set('<>:"/\\|?*')
    assert not any(unicodedata.category(letter) in {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"} for letter in made)
    assert made == unicodedata.normalize("NFC", made)
    assert made[-1] not in ". "
