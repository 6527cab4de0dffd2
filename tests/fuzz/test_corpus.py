from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz.coverage import addresses, bodies, json_text, pictures

CORPUS = Path(__file__).parent / "corpus"
CHECKS: dict[str, Callable[[bytes], None]] = {
    "addresses": addresses.check,
    "bodies": bodies.check,
    "json_text": json_text.check,
    "pictures": pictures.check,
}


@pytest.mark.parametrize("target", CHECKS)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_whatever_a_fuzzer_has_found_is_read_or_refused_in_our_words(target: str) -> None:
    """What it kept because it reaches something new, and what once broke something: see `make fuzz`."""
    kept = sorted((CORPUS / target).iterdir())
    for file in kept:
        CHECKS[target](file.read_bytes())

    assert len(kept) > 10
