from __future__ import annotations

import json
import logging
from datetime import datetime

import pytest

from flux2_mcp.logs import JsonLines, Lines

SECRET = "a fox that nobody knows of"


def record_of(error: BaseException | None = None, **extra: object) -> logging.LogRecord:
    """A record as `logger.exception()` makes it."""
    info = (type(error), error, error.__traceback__) if error else None
    return logging.getLogger("a").makeRecord("a", logging.ERROR, "", 0, "Order %s", ("1",), info, extra=extra)


def raised() -> BaseException:
    """An error with causes, as a crash of ours leaves one."""
    try:
        try:
            int(SECRET)
        except ValueError as cause:
            raise ExceptionGroup(SECRET, [KeyError(SECRET)]) from cause
    except ExceptionGroup as group:
        group.add_note(SECRET)
        return group
    raise AssertionError


def test_a_line_of_json_has_the_time_and_all_that_is_known() -> None:
    record = record_of(order="order-1", odd=object)

    line = JsonLines().format(record)

    told = json.loads(line)
    assert datetime.fromisoformat(told.pop("time")).timestamp() == pytest.approx(record.created, abs=0.001)
    assert told.pop("odd")
    assert told == {"level": "error", "logger": "a", "message": "Order 1", "order": "order-1"}


@pytest.mark.parametrize("form", [Lines(), JsonLines()])
def test_of_a_crash_types_and_places_are_told_but_no_words(form: logging.Formatter) -> None:
    said = form.format(record_of(raised()))

    assert SECRET not in said
    for name in ("ValueError", "ExceptionGroup", "KeyError", "in raised"):
        assert name in said


def test_causes_in_a_circle_have_an_end() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first

    assert "ValueError" in Lines().format(record_of(first))
