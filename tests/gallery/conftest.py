"""One browser for the tests of a module, and one event loop, as they share it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from flux2_mcp.simulator import Script
from tests.gallery.app_host import PATIENCE, chromium
from tests.world import APPS, World, world

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def browser() -> AsyncGenerator[Browser, None]:
    async with chromium() as started:
        yield started


@pytest.fixture
def here(tmp_path: Path) -> World:
    """A world whose client renders apps, and whose pictures are there at the second look."""
    return with_apps(tmp_path)


def with_apps(home: Path, script: Script | None = None, **more: object) -> World:
    return world(home, script, extensions=(APPS,), patience=120, **more)
