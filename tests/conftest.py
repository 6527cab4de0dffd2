"""What every test stands on: one event loop, no blocking calls in it, and an environment of its own."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import is_hypothesis_test, settings
from mcp.client.client import ConnectMode

from tests.processes import forking
from tests.virtual_time import VirtualTimeLoop

pytest_plugins = ["tests.skips", "tests.homes", "tests.postgresql"]

SLOW = (
    *(
        "conformance",
        "doctor",
        "hosts",
        "install/test_bundle",
        "install/test_licences",
        "install/test_release",
        "install/test_supply",
        "history/test_processes",
    ),
    *(
        "gallery",
        "hosting",
        "life",
        "images/test_previews",
        "login",
        "paid_once",
        "pictures",
        "prompts",
        "reliability",
        "simulator/test_official",
    ),
    *("simulator/test_pictures", "terminal", "test_cancel", "test_demo", "test_http", "test_intervals"),
    *("test_invalid_messages", "test_invocation", "test_new_model", "test_process", "test_skips", "test_start"),
)
"""What starts processes or a browser, or waits, or paints many pictures: `make test-fast` leaves it out, and every test
that Hypothesis repeats."""
FAST = "not slow"

IN_MEMORY = Path("/dev/shm")  # noqa: S108 made for this, and pytest makes a folder of its own in it
ROOM = 2 * 2**30
"""Bytes that a run may need."""


def pytest_configure() -> None:
    # How long an example takes depends on what else the machine does.
    settings.register_profile("no deadline", deadline=None)
    settings.load_profile("no deadline")
    # What a script starts in the background ignores Ctrl-C, with nohup a closed terminal, and so would all that the
    # tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # The history syncs every write to the disk, and hundreds of tests write: in memory they take half the time.
    if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))


@pytest.fixture(scope="session", autouse=True)
def processes_are_forked() -> Iterator[None]:
    with forking():
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _is_slow(item.path) or is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.slow)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what would not run; None leaves it to the other plugins."""
    return True if config.option.markexpr == FAST and _is_slow(collection_path) else None


def _is_slow(path: Path) -> bool:
    return path.relative_to(Path(__file__).parent).as_posix().startswith(SLOW)


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    is_virtual = request.node.get_closest_marker("virtual_time") is not None
    return "asyncio", {"loop_factory": VirtualTimeLoop} if is_virtual else {}


@pytest.fixture(params=[pytest.param("legacy", marks=pytest.mark.slow), "auto"], ids=["legacy", "modern"])
def era(request: pytest.FixtureRequest) -> ConnectMode:
    """How a client connects: with the handshake of 2025-11-25 and before, or in the modern way."""
    return cast("ConnectMode", request.param)


@pytest.fixture(scope="session", autouse=True)
def blocking_calls_are_errors() -> Iterator[BlockBuster]:
    """A stray open() or sqlite3 call of ours in the event loop fails the test that makes it."""
    with blockbuster_ctx("flux2_mcp") as blockbuster:
        # build_server() reads one small file of ours, once; tests build their servers inside the loop.
        blockbuster.functions["io.TextIOWrapper.read"].can_block_in("flux2_mcp/catalogue.py", "catalogue")
        yield blockbuster


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key, proxy or folder of the developer's gets into a test, and nothing is left in their home."""
    for name in os.environ:
        if name.upper().endswith("_PROXY") or name.startswith(("RUNAPI_", "FLUX2_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
