"""Known vulnerabilities of what is in constraints.txt, by pip-audit: python -m scripts.audit [OPTION OF PIP-AUDIT ...].

The exit code is 1 where there are some, and 2 where nobody knows, because PyPI's list could not be read.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

ACCEPTED: dict[str, str] = {}
"""Vulnerabilities that we live with until there is a version without them: their ids, each with the reason."""


def verdict(report: str, errors: str) -> tuple[int, list[str]]:
    """What pip-audit's JSON comes to, as exit code and lines; without any, nothing was audited."""
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except ValueError:
        why = re.search(r"^ERROR:[\w.]+:(.+)$", errors, re.MULTILINE)
        return 2, [
            f"NOT AUDITED. pip-audit gave no answer: {why[1] if why else errors.strip()[-300:] or 'it said nothing'}"
        ]
    unknown = [each["name"] for each in packages if "skip_reason" in each]
    if len(unknown) == len(packages):
        return 2, [
            "NOT AUDITED. PyPI's list of vulnerabilities cannot be read from here: it knows none of our packages."
        ]
    found = [
        f"{each['name']} {each['version']}: {hole['id']}, {_fixed(hole['fix_versions'])}. {hole['description']}"
        for each in packages
        for hole in each.get("vulns", [])
    ]
    if found or unknown:
        return (1 if found else 2), [
            *found,
            *(f"{each}: NOT AUDITED, for PyPI does not know this version." for each in unknown),
        ]
    return 0, [f"{len(packages)} packages, no known vulnerability."]


def _fixed(versions: list[str]) -> str:
    return f"fixed in {', '.join(versions)}" if versions else "not fixed yet"


def main(*options: str) -> int:
    """Audit, say what came out, and give the exit code."""
    command = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--desc=on"]
    command += [
        "--requirement",
        str(ROOT / "constraints.txt"),
        "--no-deps",
        "--disable-pip",
    ]  # all of them are in there
    command += [f"--ignore-vuln={each}" for each in ACCEPTED]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)  # noqa: S603
    code, lines = verdict(done.stdout, done.stderr)
    print("\n".join(lines), file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
