"""flux2-mcp doctor: look at everything that has to be right, and say how to mend what is not."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import anyio

from flux2_mcp import __version__
from flux2_mcp.cli.doctor.checks import Finding, Patient, findings

WIDTH = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `doctor` takes."""
    parser.add_argument("--json", action="store_true", help="for scripts: one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Say what was found; 1 when something is to be mended."""
    return anyio.run(examine, Patient(os.environ, Path.home()), options.json)


async def examine(patient: Patient, as_json: bool) -> int:  # noqa: FBT001 anyio.run passes no names
    """Look at this patient and print what is found, each finding as soon as it is there."""
    found: list[Finding] = []
    async for finding in findings(patient):
        found.append(finding)
        if not as_json:
            print(_line(finding), flush=True)
    ill = [finding for finding in found if not finding.is_well]
    if as_json:
        print(json.dumps(_report(found), indent=2))
    else:
        print(f"\n{len(ill)} to mend." if ill else "\nAll is well.")
    return 1 if ill else 0


def _line(finding: Finding) -> str:
    well, badly, arrow = ("✓", "✗", "→") if _can_show("✓✗→") else ("ok", "NO", "->")
    mend = f" {arrow} {finding.mend}" if finding.mend else ""
    return " ".join(f"{well if finding.is_well else badly} {finding.name:<{WIDTH}} {finding.words}{mend}".splitlines())


def _can_show(signs: str) -> bool:
    try:
        signs.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _report(found: list[Finding]) -> dict[str, object]:
    checks = [
        {"name": finding.name, "well": finding.is_well, "words": finding.words, "mend": finding.mend}
        for finding in found
    ]
    return {"well": all(finding.is_well for finding in found), "version": __version__, "checks": checks}
