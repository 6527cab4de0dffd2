from __future__ import annotations

import re

from flux2_mcp.gallery import page


def test_it_is_one_small_document() -> None:
    assert len(page().encode()) < 100_000
    assert page().startswith("<!doctype html>")
    assert (page().count("<script>"), page().count("<style>")) == (1, 1)


def test_it_asks_nobody_for_more() -> None:
    addresses = set(re.findall(r"\b(?:https?|wss?)://[^\s\"'`]+", page()))

    # The name of SVG, and a source that stands for a photo whose price is asked for.
    assert addresses == {"http://www.w3.org/2000/svg", "https://example.com/picture.png"}
    assert not re.search(r"@import|url\(|\bimport\b *[({\"']|<link|\bsrc=|new Worker", page())


def test_it_needs_no_permission_for_inline_attributes() -> None:
    assert not re.search(r"<[^>]*\s(?:on\w+|style)=", page().split("<script>")[0])
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", page())
