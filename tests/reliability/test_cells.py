from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.platforms import not_on
from tests.reliability.__main__ import results_of
from tests.reliability.cells import TRANSPORTS, Cell, Record, Said
from tests.reliability.faults import FAULTS, OFTEN, STEPS
from tests.reliability.gateway import Step
from tests.reliability.judge import Promise, broken_promises
from tests.reliability.table import Result, document

SAMPLE = ("404", "503", "302", "answer lost, though it was done", "connection refused", "truncated", "an HTML page")
"""One fault of each kind; `make reliability` tries all of them."""

MADE = Said(
    tool="generate",
    arguments={},
    text="Flux 2 Pro made the picture.\nFile: fox.png\ntask_id='a'",
    is_error=False,
    tasks=1,
    known=frozenset(),
    seconds=1.0,
    wait=1.0,
)
REFUSED = replace(MADE, text="Nothing was charged. Send the same call again.", is_error=True, tasks=0)
LISTED = replace(MADE, tool="recent_tasks", text='[{"task_id": "a"}]')
GREEN = Record(Cell("stdio", "look", FAULTS[0], "once"), said=[MADE], last=LISTED, paid=1, task_ids=["a"], met=1)


def sample(step: Step) -> Sequence[Cell]:
    """A cell for each, in turn through one door or the other, and once, twice or always."""
    faults = [fault for fault in FAULTS if fault.name in SAMPLE]
    begin = STEPS.index(step)
    found = [
        Cell(TRANSPORTS[nth % len(TRANSPORTS)], step, fault, list(OFTEN)[nth % len(OFTEN)])
        for nth, fault in enumerate(faults, begin)
    ]
    return [cell for cell in found if cell.is_possible]


@pytest.mark.parametrize("step", STEPS)
@not_on("Windows", "it forks no servers, into which a name that leads nowhere could be put")
async def test_no_fault_costs_a_second_picture_or_loses_the_first(step: Step) -> None:
    """Nor does one end a wait that it need not, hide what to do next, show the key or end the process."""
    results = await results_of(sample(step))

    assert {str(each.cell): dict(each.broken) for each in results if not each.is_green} == {}


def test_a_cell_that_is_not_green_is_shown_and_named() -> None:
    cell, other = (Cell("stdio", "look", FAULTS[0], often) for often in ("once", "twice"))
    written = document([Result(cell, "went on", {"paid once": "2 tasks"}), Result(other, "same call", {})])

    assert "1 are green, 1 are not" in written
    assert f"| {FAULTS[0].name} | – | ✗●– |" in written
    assert f"- {cell}: paid once" in written


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        ({"task_ids": ["a", "b"]}, "paid once"),
        ({"said": [replace(MADE, text="All is well.")]}, "found again"),
        ({"said": [replace(MADE, is_error=True)]}, "isError right"),
        ({"said": [replace(REFUSED, tasks=1), MADE]}, "isError right"),
        ({"said": [replace(REFUSED, text="No.", known=frozenset({"a"})), MADE]}, "id kept"),
        ({"said": [replace(REFUSED, text="Nothing was charged."), MADE]}, "next step named"),
        ({"said": [REFUSED, MADE]}, "no call lost"),
        ({"leaks": ["stderr.txt"]}, "key nowhere"),
        ({"exit_code": 1}, "process alive"),
        ({"errors": "Traceback (most recent call last)"}, "process alive"),
        ({"met": 0}, "process alive"),
        ({"last": replace(LISTED, text="[]")}, "next call works"),
        ({"last": replace(LISTED, is_error=True)}, "next call works"),
    ],
)
def test_the_judge_sees_each_promise_that_is_not_kept(change: dict[str, Any], promise: Promise) -> None:
    assert broken_promises(GREEN) == {}
    assert promise in broken_promises(replace(GREEN, **change))
