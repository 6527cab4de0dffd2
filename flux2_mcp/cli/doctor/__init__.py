"""flux2-mcp doctor: check everything that has to be right, and say how to fix what is not."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path

import anyio

from flux2_mcp import __version__
from flux2_mcp.cli.doctor.checks import Computer, Finding, findings
from flux2_mcp.cli.terminal import Printer

WIDTH = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `doctor` takes."""
    parser.add_argument("--json", action="store_true", help="for scripts: one JSON object")
    parser.epilog = "exit codes: 0 there is nothing to fix, 1 there is"
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what was found; 1 when there is something to fix."""
    return anyio.run(examine, Computer(Path.home(), os.environ, sys.platform), options.json)


async def examine(computer: Computer, as_json: bool) -> int:  # noqa: FBT001 anyio.run passes no names
    """Check this computer and print each finding as soon as it is there."""
    found: list[Finding] = []
    console = Printer()
    # In a terminal a line moves while an answer is waited for.
    with nullcontext() if as_json else console.status("Looking …"):
        async for finding in findings(computer):
            found.append(finding)
            if not as_json:
                console.print(_line(finding), highlight=False, markup=False, soft_wrap=True)
    problems = [finding for finding in found if not finding.is_ok]
    if as_json:
        print(json.dumps(_report(found), indent=2))
    else:
        print(f"\n{len(problems)} to fix." if problems else "\nNothing to fix.")
    return 1 if problems else 0


def _line(finding: Finding) -> str:
    ok, failed, arrow = ("✓", "✗", "→") if _can_show("✓✗→") else ("ok", "NO", "->")
    fix = f" {arrow} {finding.fix}" if finding.fix else ""
    return " ".join(f"{ok if finding.is_ok else failed} {finding.name:<{WIDTH}} {finding.message}{fix}".splitlines())


def _can_show(signs: str) -> bool:
    try:
        signs.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _report(found: list[Finding]) -> dict[str, object]:
    checks = [
        {"name": finding.name, "ok": finding.is_ok, "message": finding.message, "fix": finding.fix} for finding in found
    ]
    return {"ok": all(finding.is_ok for finding in found), "version": __version__, "checks": checks}
