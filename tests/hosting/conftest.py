from __future__ import annotations

from pathlib import Path

import pytest
from mcp.client.client import ConnectMode

from tests.hosting.world import Hosts


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    """For tests in which the protocol era makes no difference."""
    return Hosts(tmp_path)


@pytest.fixture
def hosts_of_era(tmp_path: Path, era: ConnectMode) -> Hosts:
    return Hosts(tmp_path, era)
