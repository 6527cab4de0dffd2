from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from flux2_mcp.studio import fulfilment
from tests.platforms import not_on
from tests.processes import Host, hosted


class Servers:
    """Where a test gets its servers, which look at tasks every 50 ms."""

    def server(self, home: Path, base_url: str, **environ: str) -> AbstractAsyncContextManager[Host]:
        return hosted(home, base_url, environ=environ, often=True)


@pytest.fixture
def servers() -> Servers:
    return Servers()


@pytest.fixture(autouse=True)
def a_mistake_of_ours_is_a_failure(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Our server survives it, and what it says of the money is right all the same: a test could miss it."""
    yield
    assert [record.exc_text for record in caplog.get_records("call") if record.name == fulfilment.__name__] == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only a server that is forked looks that often."""
    for item in items:
        if "servers" in getattr(item, "fixturenames", ()):
            item.add_marker(not_on("Windows", "it has no fork"))
