"""What mutmut has found: it keeps its mutants, and what became of each, in the folder `mutants`."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

ROOT = Path(__file__).parents[2]
MUTANTS = ROOT / "mutants"
SURVIVED, NO_TESTS, NOT_REACHED = 0, 5, 33
"""Exit codes; all others but None are those of a test that failed, crashed or ran out of time."""
NOTHING = "(nothing)"


@dataclass(frozen=True)
class Found:
    """What came of one module's mutants."""

    made: int
    tried: int
    survivors: Counter[str]
    """As one line each: the module, the function, its line, and what the mutant makes of it."""


def found() -> Mapping[str, Found]:
    """By module, as `studio/plan`; of a run that was broken off, what it got to."""
    all_of_them = {
        _module_of(file): _found_in(file.with_suffix(""), _module_of(file))
        for file in sorted(MUTANTS.rglob("*.py.meta"))
    }
    return {module: each for module, each in all_of_them.items() if each.tried}


def _module_of(meta: Path) -> str:
    module = meta.relative_to(MUTANTS / "flux2_mcp").with_suffix("").with_suffix("")
    return (module.parent if module.name == "__init__" else module).as_posix()


def _found_in(file: Path, module: str) -> Found:
    codes: dict[str, int | None] = json.loads(file.with_name(f"{file.name}.meta").read_text("utf-8"))[
        "exit_code_by_key"
    ]
    tried = {key.rpartition(".")[2]: code for key, code in codes.items() if code is not None}
    texts = dict(_functions_in(file.read_text("utf-8")))
    survivors = Counter(
        _described(module, name, texts) for name, code in tried.items() if code in {SURVIVED, NO_TESTS, NOT_REACHED}
    )
    return Found(len(codes), len(tried), survivors)


def _functions_in(source: str) -> Iterator[tuple[str, str]]:
    """Every function, and what its mutants have in common with it under one name."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            text = "\n".join(lines[node.lineno - 1 : node.end_lineno])
            yield node.name, text.replace(node.name, node.name.partition("__mutmut_")[0], 1)


def _described(module: str, name: str, texts: Mapping[str, str]) -> str:
    mangled = name.partition("__mutmut_")[0]
    before, after = texts[f"{mangled}__mutmut_orig"].splitlines(), texts[name].splitlines()
    changes = [each for each in SequenceMatcher(None, before, after).get_opcodes() if each[0] != "equal"]
    old = _joined(line for _, start, end, _, _ in changes for line in before[start:end])
    new = _joined(line for _, _, _, start, end in changes for line in after[start:end])
    return f"{module} {_plain(mangled)}: {old} => {new}"


def _plain(mangled: str) -> str:
    """A function's own name: mutmut calls it x_name, and a method xǁClassǁname."""
    return re.sub("^x_?", "", mangled).strip("ǁ").replace("ǁ", ".")


def _joined(lines: Iterator[str]) -> str:
    return " ".join(line.strip() for line in lines) or NOTHING
