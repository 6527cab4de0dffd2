from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from flux2_mcp.history import History
from tests.databases import history_in
from tests.history.orders import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def history(folder: Path, clock: Clock) -> AsyncGenerator[History]:
    history = history_in(folder, now=clock)
    yield history
    await history.aclose()
