"""A pytest plugin: on Windows the home folder is in another variable, and a test has one of its own there, too."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def home_on_windows(clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USERPROFILE", os.environ["HOME"])
