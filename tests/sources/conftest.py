from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory, and beside it everything that is none of ours."""
    home = tmp_path / "home"
    home.mkdir()
    return home
