"""A pytest plugin: which tests try a mutant.

Those about its module, and of these the ones that run in one process and once: a mutant that survives has met all of
them, and would otherwise meet a thousand.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Mapping
from tempfile import mkdtemp

import pytest
from hypothesis import is_hypothesis_test

PAID_ONCE = ("paid_once/", "test_cancel", "test_count", "test_errors", "test_paid_once", "test_waiting")
HOSTING = ("hosting/test_isolation", "hosting/test_webhooks")
ABOUT: Mapping[str, tuple[str, ...]] = {
    "budget": ("paid_once/test_doubts", "paid_once/test_limits", "runapi/test_price_list", "test_count"),
    "catalogue": ("runapi/test_price_list", "test_catalogue", "test_new_model"),
    "history": ("history/", "paid_once/test_doubts", "paid_once/test_shared_task", "test_apps", "test_paid_once"),
    "runapi.create_limit": ("test_waiting",),
    "runapi.rate_limit": ("runapi/test_rate_limit", "runapi/test_retries", "test_waiting"),
    "runapi.retries": ("runapi/test_retries",),
    "runapi.retry_after": ("runapi/test_retries",),
    "server": ("hosting/test_tasks", "test_tasks_extension"),
    "studio": (*PAID_ONCE, *HOSTING, "pictures/", "test_progress", "test_starts"),
}
"""The tests about each module, by the beginning of their path."""
LONGEST_TEST = 20
"""Seconds; a mutant that hangs is noticed."""


def pytest_configure() -> None:
    # Several mutants are tried at a time, and pytest may give two of them one folder, which the first takes away.
    os.environ["PYTEST_DEBUG_TEMPROOT"] = mkdtemp(dir=os.environ.get("PYTEST_DEBUG_TEMPROOT"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    mutant = os.environ.get("MUTANT_UNDER_TEST", "").removeprefix("flux2_mcp.")
    about = next((tests for module, tests in ABOUT.items() if mutant.startswith(f"{module}.")), ("",))
    chosen = [item for item in items if item.nodeid.removeprefix("tests/").startswith(about) and _is_cheap(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def _is_cheap(item: pytest.Item) -> bool:
    starts_servers = "servers" in getattr(item, "fixturenames", ())
    # What a person is asked differs from one protocol era to the other.
    is_same = "legacy" in item.name and "test_limits" not in item.nodeid
    is_repeated = is_same or is_hypothesis_test(getattr(item, "obj", None))
    # pytest escapes a backslash once more each time that it collects, and mutmut's processes have done so before.
    has_another_id = "\\" in item.name
    return not (starts_servers or is_repeated or has_another_id)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    signal.signal(signal.SIGALRM, _end)
    signal.alarm(LONGEST_TEST)
    try:
        return (yield)
    finally:
        signal.alarm(0)


def _end(*_: object) -> None:
    os._exit(1)
