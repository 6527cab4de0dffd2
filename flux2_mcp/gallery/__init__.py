"""The gallery's page; a stand-in until it is there."""

from __future__ import annotations


def page() -> str:
    """Give the whole page, as one HTML document."""
    return "<!doctype html><title>Gallery</title>"
