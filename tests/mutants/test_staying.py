from __future__ import annotations

from collections import Counter

from tests.mutants.found import Found
from tests.mutants.staying import DOCUMENT, Staying, noted, section


def test_the_document_says_what_stays_and_why() -> None:
    assert section(noted()) in DOCUMENT.read_text(encoding="utf-8")


def test_a_module_that_fell_out_of_the_list_is_missed() -> None:
    before = Staying(made=5, tried={"budget": 2, "catalogue": 3}, groups={})

    assert before.without_mutants({"budget": Found(made=2, tried=2, survivors=Counter())}) == ["catalogue"]
