from __future__ import annotations

from tests.mutants.staying import DOCUMENT, noted, section


def test_the_document_says_what_stays_and_why() -> None:
    assert section(noted()) in DOCUMENT.read_text(encoding="utf-8")
