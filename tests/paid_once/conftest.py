from __future__ import annotations

import pytest

from tests.platforms import not_on


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The nursery forks its servers."""
    for item in items:
        if "servers" in getattr(item, "fixturenames", ()):
            item.add_marker(not_on("Windows", "it has no fork"))
