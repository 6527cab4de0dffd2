"""Whether a cell is green: which promises were not kept in it, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from tests.reliability.cells import GRACE, Record, Said

Promise = Literal[
    "paid once",
    "id kept",
    "found again",
    "no call lost",
    "isError right",
    "next step named",
    "key nowhere",
    "process alive",
    "next call works",
]
Mark = Literal["same call", "went on", "ordered anew", "asked again"]

NEXT_STEP = re.compile(
    r"[Ss]end the same call again|[Ss]end (the|this) (request|call)|Add credits|login` for a new key|"
    r"Check (the network and )?RUNAPI_BASE_URL|Change what it names|Wait a |Order it again|send it again|"
    r"open that link|task_status (with|and) task_id='|task_status shows it"
)
NOTHING = re.compile(r"Nothing was (charged|ordered|sent)")
ACCEPTED = re.compile(r"it is already ordered|The task was accepted")


def broken_promises(record: Record) -> Mapping[Promise, str]:
    """Each promise that was not kept, with what happened instead."""
    if record.crash:
        return {"process alive": record.crash}
    if not record.met:
        return {"process alive": "the fault was never met"}
    found: dict[Promise, str] = {}
    for promise, what in _all_broken(record):
        found.setdefault(promise, what)
    return found


def mark_of(record: Record) -> Mark:
    """How the picture came."""
    *before, _ = record.said
    if not before:
        return "same call"
    if any("It is not known whether" in each.text for each in before):
        return "asked again"
    return "ordered anew" if any(each.is_error and NOTHING.search(each.text) for each in before) else "went on"


def _all_broken(record: Record) -> Iterator[tuple[Promise, str]]:
    said, last = record.said, record.last
    if record.paid > 1 or len(record.task_ids) > 1:
        yield "paid once", f"{len(record.task_ids)} tasks"
    for each in said:
        yield from _broken_by(each)
    yield from _lost(record)
    if record.cell.passes and not said[0].is_made:
        yield "no call lost", said[0].text
    for estimate in record.estimates:
        if estimate.is_error or "price_source" not in estimate.text:
            yield "isError right", estimate.text
    if record.leaks or any("runapi_testkey" in each.text for each in said):
        yield "key nowhere", ", ".join(record.leaks) or "a result"
    if record.exit_code is not None or "Traceback" in record.errors:
        yield "process alive", f"exit code {record.exit_code}: {_first_trace(record.errors)}"
    if last is None or last.is_error or not all(task_id in last.text for task_id in record.task_ids):
        yield "next call works", last.text if last else "it was not made"


def _broken_by(said: Said) -> Iterator[tuple[Promise, str]]:
    if said.is_error == (said.is_made or said.is_unfinished):
        yield "isError right", f"{said.is_error}: {said.text}"
    if said.is_error and NOTHING.search(said.text) and said.tasks:
        yield "isError right", f"though there is a task: {said.text}"
    if ACCEPTED.search(said.text) and not said.tasks:
        yield "isError right", f"though there is no task: {said.text}"
    if not said.is_made and not NEXT_STEP.search(said.text):
        yield "next step named", said.text
    if any(task_id not in said.text for task_id in said.known):
        yield "id kept", said.text
    if said.seconds > said.wait + GRACE:
        yield "process alive", f"{said.seconds:.0f} seconds for a wait of {said.wait:.0f}"


def _lost(record: Record) -> Iterator[tuple[Promise, str]]:
    end = record.said[-1]
    if not record.task_ids or not end.is_made or record.task_ids[-1] not in end.text:
        yield "found again", end.text
    link = next((each for each in record.said if "open that link" in each.text), None)
    if link and not record.picture_at_link:
        yield "found again", f"nothing is at the link: {link.text}"


def _first_trace(errors: str) -> str:
    return errors[errors.find("Traceback") :][-600:] if "Traceback" in errors else ""
