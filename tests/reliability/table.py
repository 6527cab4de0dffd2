"""docs/reliability.md: what is promised, and the table of what came of every cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from tests.mutants.staying import noted, section
from tests.reliability import life
from tests.reliability.cells import Cell
from tests.reliability.faults import FAULTS, OFTEN, STEPS, Fault, Group
from tests.reliability.gateway import Step
from tests.reliability.judge import Mark, Promise

SIGNS: Mapping[Mark, str] = {"same call": "●", "went on": "◐", "ordered anew": "○", "asked again": "◌"}
"""From the best to the worst."""
RED, IMPOSSIBLE = "✗", "–"
COLUMNS: Mapping[Step, str] = {
    "create": "create",
    "look": "look",
    "prepare": "upload: ticket",
    "put": "upload: put",
    "confirm": "upload: confirm",
    "picture": "download",
    "prices": "price list",
    "quote": "quote",
    "balance": "balance",
    "webhook": "webhook",
}
TITLES: Mapping[Group, str] = {
    "status": "An error status",
    "redirect": "A redirect",
    "connection": "The connection",
    "body": "A body that cannot be used, with status 200",
    "way": "The way there",
    "clock": "The clock",
}
WHAT_HAPPENS: Mapping[Group, str] = {
    "status": """
What may pass (429, 500, 502, 503, 504) is tried again: a create request twice more with the same Idempotency-Key,
an upload and a download once more, a look for as long as the wait lasts, after any status but 401, 402 and 403.
Otherwise the call ends at once with RunAPI's words. A 5xx of a create request leaves open whether there is a task:
the call says so, and the same call finds it, or orders it.
""",
    "redirect": """
RunAPI's API has none, so none is followed, and the key goes nowhere else. A picture's link may lead on, to RunAPI's
own address or by https to a public one.
""",
    "connection": """
As with a status that may pass. Nothing is waited for without end: half a minute for the next byte of an answer, a
minute for all of it, two for an upload. A call keeps to its own `wait_seconds` meanwhile.
""",
    "body": """
An answer that cannot be read is as good as none: a look is made again, a create request is sent again with the same
key, an upload is made once more, prices stay those that are known. No more than 8 MiB of an answer and 40 MB of a
picture are read. What comes in a picture's place is not saved, and the call says so.
""",
    "way": """
No connection is made, so nothing can have been ordered, and the call says that. The key is sent to nobody whose
certificate is wrong. *Always* means that from this step on nothing else can be reached either.
""",
    "clock": """
A jump in the middle of a call changes nothing: waits go by a clock that does not jump.
""",
}


@dataclass(frozen=True)
class Result:
    """What came of one cell."""

    cell: Cell
    mark: Mark | None
    broken: Mapping[Promise, str]

    @property
    def is_green(self) -> bool:
        return not self.broken and self.mark is not None


def document(results: Sequence[Result]) -> str:
    """The whole document."""
    red = [result for result in results if not result.is_green]
    parts = [
        *(HEAD.format(cells=f"{len(results):,}", outcome=_outcome(results, red)), _legend()),
        *(_section(group, results) for group in get_args(Group)),
        _red_ones(red),
        TAIL,
        life.section(),
        section(noted()),
        NOT_COVERED,
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _outcome(results: Sequence[Result], red: Sequence[Result]) -> str:
    return "All are green." if not red else f"{len(results) - len(red):,} are green, {len(red)} are not: see the end."


def _legend() -> str:
    return LEGEND.format(
        same=SIGNS["same call"],
        went=SIGNS["went on"],
        anew=SIGNS["ordered anew"],
        again=SIGNS["asked again"],
        red=RED,
        none=IMPOSSIBLE,
    )


def _section(group: Group, results: Sequence[Result]) -> str:
    faults = [fault for fault in FAULTS if fault.group == group]
    lines = [
        f"| {' | '.join(['fault', *(COLUMNS[step] for step in STEPS)])} |",
        f"|---{'|:-:' * len(STEPS)}|",
        *(_row(fault, [result for result in results if result.cell.fault is fault]) for fault in faults),
    ]
    return "\n".join([f"### {TITLES[group]}", "", WHAT_HAPPENS[group].strip(), "", *lines])


def _row(fault: Fault, results: Sequence[Result]) -> str:
    signs = [
        "".join(
            _sign([each for each in results if each.cell.step == step and each.cell.often == often]) for often in OFTEN
        )
        for step in STEPS
    ]
    return f"| {' | '.join([fault.name, *(IMPOSSIBLE if set(each) == {IMPOSSIBLE} else each for each in signs)])} |"


def _sign(results: Iterable[Result]) -> str:
    """Of both doors together: the worse one."""
    found = list(results)
    if not found:
        return IMPOSSIBLE
    marks = {each.mark for each in found if each.is_green}
    return RED if any(not each.is_green for each in found) else [SIGNS[mark] for mark in SIGNS if mark in marks][-1]


def _red_ones(red: Sequence[Result]) -> str:
    if not red:
        return ""
    lines = [f"- {each.cell}: {', '.join(each.broken)}" for each in red]
    return "\n".join(["## What is not green", "", *lines])


HEAD = """
<!-- make reliability writes this file. -->
# Reliability

What becomes of your money and your picture when something goes wrong between this server and RunAPI. Every fault
below was tried at every step, once, twice and always, over stdio and over HTTP, each with a server process of its
own: {cells} cells. {outcome}

## What is promised

In each cell a client asks for one picture. Until it has it, it does what the last result says, and nothing else. A
cell is green when all of this held:

1. **Paid once.** RunAPI has made one task, no more.
2. **The id is kept.** Once RunAPI has named its task, every result names it too.
3. **Found again.** The client gets that very picture, as a file.
4. **No call is lost.** A fault that passes ends no wait: where that can be, the first call brings the picture.
5. **`isError` is right**, and nobody is told "nothing was charged" of a task that exists.
6. **The next step is named**, and leads on.
7. **The key is nowhere**: in no result, log or file, and at no other address.
8. **The process lives**, without a crash in its log, and calls keep to their `wait_seconds`.
9. **The next call works**, and lists the picture.
"""
LEGEND = """
## The table

The three signs in a field are for a fault that happens once, twice, and always, which means until the client has
called twice.

| sign | what the client saw |
|:-:|---|
| {same} | the picture, in the same call |
| {went} | that it is not there yet: a later `task_status` brought the picture |
| {anew} | an error: nothing was charged; the call was sent again, and brought the picture |
| {again} | an error: it is not known whether it was ordered; the same call found that very task, or ordered it |
| {red} | not all of the above held |
| {none} | it cannot happen |

Where stdio and HTTP differ, the sign is of the worse one. Webhooks come over HTTP only.
"""
TAIL = """
## Try it yourself

```sh
make reliability
```

tries all of it against the simulator, writes this file again, and fails if a cell is not green. It needs neither a
key nor the network, and takes ten minutes on two cores. `make reliability ARGS="'look, an HTML'"` tries the cells
whose name matches, and writes nothing. A sample is part of `make test`.

## Fuzzing

Besides faults that somebody thought of, anything is sent: any JSON, any Unicode, much too deep, much too long, as the
arguments of every tool, as resource URIs, prompts and completions, as lines over stdio, as settings, as hosts'
configs and as RunAPI's answers at every step. After each an answer has come, nothing has crashed, what was refused is
not paid, the key is nowhere, and the next call works. A coverage-guided fuzzer,
[atheris](https://github.com/google/atheris), looks for bytes that break what reads pictures, addresses, JSON configs
and RunAPI's bodies.

`make fuzz` tries new ones, in `nightly.yml` every night. Before that began, 250 to 3,000 examples went to each door,
and the fuzzer ran for a few minutes: 65,000 to 110,000 inputs to each target. No tool, resource or line crashed the
server, and nothing was paid that had been refused. What was found is mended, and tried again in every run of the
tests: configs that `install` broke off at (with a byte order mark, nested too deeply, or with numbers of
thousands of digits), and a base URL that two libraries read as two ports.
"""
NOT_COVERED = """
## What is not covered

- RunAPI itself: all of this is tried against the [simulator](simulator.md), which knows only what is published.
- Two faults at the same time, such as a lost answer and a full disk. `make stories` tries random ones, also with
  servers that are killed; [money.md](money.md) says what holds then.
- An order in doubt for longer than the 15 minutes in which the same call finds it again, by this machine's clock.
- Proxies, and pictures on another host than RunAPI's: `tests/images` has those.
- What one caller's fault does to others of the same server: `tests/hosting` has that.
- Windows, which cannot fork the two thousand servers that this takes.
"""
