"""What constraints-lowest.txt is made of, as requirements: python -m scripts.lowest. See scripts/constraints.

What users install is asked for as pyproject.toml asks for it; what only tests need, in the version of constraints.txt.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.licences import EXTRAS

ROOT = Path(__file__).resolve().parent.parent


def at_run_time(root: Path) -> list[Requirement]:
    """What users install, also with an extra of theirs."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = (each for extra in EXTRAS for each in project["optional-dependencies"][extra])
    return [Requirement(each) for each in (*project["dependencies"], *extras)]


def pinned(file: Path) -> dict[str, Requirement]:
    """The lines of a file of constraints, by name."""
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    requirements = (Requirement(line) for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(each.name): each for each in requirements}


def for_tests(root: Path) -> list[Requirement]:
    """What only developers install."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {canonicalize_name(Requirement(each).name) for each in project["optional-dependencies"]["dev"]}
    pins = pinned(root / "constraints.txt")
    return [pins[name] for name in sorted(names - {canonicalize_name(each.name) for each in at_run_time(root)})]


def main() -> int:
    """Say what constraints-lowest.txt is made of."""
    print("\n".join(str(each) for each in (*at_run_time(ROOT), *for_tests(ROOT))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
