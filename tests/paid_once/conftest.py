from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.platforms import not_on
from tests.processes import Host, hosted


class Servers:
    """Where a test gets its servers, which look at tasks every 50 ms."""

    def server(self, home: Path, base_url: str, **environ: str) -> AbstractAsyncContextManager[Host]:
        return hosted(home, base_url, environ=environ, often=True)


@pytest.fixture
def servers() -> Servers:
    return Servers()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only a server that is forked looks that often."""
    for item in items:
        if "servers" in getattr(item, "fixturenames", ()):
            item.add_marker(not_on("Windows", "it has no fork"))
