"""The mutants that stay though no test notices them: staying.toml, and what docs/reliability.md says of them."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.found import ROOT, Found

FILE = Path(__file__).with_name("staying.toml")
DOCUMENT = ROOT / "docs" / "reliability.md"
HEADING = "## Mutation testing"
NO_REASON_YET = "Nobody has looked at these one by one."


@dataclass(frozen=True)
class Staying:
    """What stays, and of how many."""

    made: int
    """All mutants."""
    tried: Mapping[str, int]
    """Those of each module that were tried, counted."""
    groups: Mapping[str, Sequence[str]]
    """Those that stay, by the reason."""

    @property
    def mutants(self) -> Counter[str]:
        return Counter(line for group in self.groups.values() for line in group)

    def without_mutants(self, found: Mapping[str, Found]) -> Sequence[str]:
        """The modules that a whole run has tried no mutant of, and has to."""
        return [module for module in self.tried if module not in found]

    def after(self, found: Mapping[str, Found]) -> Staying:
        """What a whole run makes of it: what is noticed by now is left out, and what is new has no reason yet."""
        left = sum((each.survivors for each in found.values()), Counter[str]())
        groups: dict[str, list[str]] = {}
        for why, mutants in self.groups.items():
            still = Counter(mutants) & left
            left -= still
            groups[why] = list(still.elements())
        groups.setdefault(NO_REASON_YET, []).extend(left.elements())
        return Staying(
            sum(each.made for each in found.values()),
            {module: each.tried for module, each in found.items()},
            {why: sorted(mutants) for why, mutants in groups.items() if mutants},
        )


def noted() -> Staying:
    data = tomllib.loads(FILE.read_text("utf-8"))
    groups = {each["why"]: each["mutants"].strip("\n").split("\n") for each in data.get("group", [])}
    return Staying(data["made"], data["tried"], groups)


def note(staying: Staying) -> None:
    """Write it down, and say it in docs/reliability.md."""
    tried = [f'"{module}" = {count}' for module, count in staying.tried.items()]
    groups = [
        "\n".join(["", "[[group]]", f"why = '''{why}'''", "mutants = '''", *mutants, "'''"])
        for why, mutants in staying.groups.items()
    ]
    FILE.write_text(
        "\n".join([f"made = {staying.made}", "", "[tried]", *tried, *groups, ""]), encoding="utf-8", newline="\n"
    )
    ours = re.compile(rf"^{HEADING}$.*?(?=^## )", re.DOTALL | re.MULTILINE)
    document = ours.sub(lambda _: f"{section(staying)}\n\n", DOCUMENT.read_text("utf-8"))
    DOCUMENT.write_text(document, encoding="utf-8", newline="\n")


def section(staying: Staying) -> str:
    """What docs/reliability.md says of it."""
    stay = Counter(line.partition(" ")[0] for line in staying.mutants.elements())
    rows = [_row(f"`{module}`", tried, stay[module]) for module, tried in staying.tried.items()]
    tried = sum(staying.tried.values())
    total = _row("all", tried, stay.total())
    ended = [f"The run was ended when {tried:,} of {staying.made:,} mutants were tried.", ""]
    reasons = [f"- {len(mutants)}: {why}" for why, mutants in staying.groups.items()]
    about = [HEADING, "", ABOUT.strip(), "", *(ended if tried < staying.made else [])]
    return "\n".join([*about, *HEADER, *rows, total, "", REASONS.strip(), "", *reasons])


def _row(name: str, tried: int, stay: int) -> str:
    return f"| {name} | {tried:,} | {tried - stay:,} | {100 * (1 - stay / tried):.1f} % | {stay} |"


HEADER = ("| module | mutants | noticed | | stay |", "|---|--:|--:|--:|--:|")
ABOUT = """
A test that cannot fail proves nothing. `make mutants` puts one small mistake at a time into the code that decides
about money, about paying once, and about how often RunAPI is asked: another operator, number or text, an argument left
out or without its value. [mutmut](https://mutmut.readthedocs.io) makes these mutants, and a test has to notice each.
It fails when one goes unnoticed that is not known to stay, and `nightly.yml` runs it every night.
"""
REASONS = """
What the log, telemetry and errors say in words is not mutated. Neither are constants and functions with a decorator,
such as properties and context managers: mutmut cannot. Only tests about the module try a mutant, and of these the ones
that run in one process: what the stories, the killed processes, PostgreSQL and the cells above would notice besides
does not count here.

These stay; [staying.toml](../tests/mutants/staying.toml) has each of them:
"""
