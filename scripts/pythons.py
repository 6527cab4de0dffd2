"""Run the fast tests with every other Python that is here: python scripts/pythons.py.

The classifiers in pyproject.toml promise what is run. With CI=true, a Python that is promised has to be here, and one
that is here has to be promised.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST, NEWEST = 11, 19
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def promised(root: Path) -> list[str]:
    """The versions that the classifiers name, as 3.12."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    classifier = re.compile(r"Programming Language :: Python :: (3\.\d+)")
    return [found[1] for each in project["classifiers"] if (found := classifier.fullmatch(each))]


def found() -> dict[str, str]:
    """The interpreters on this machine, by version: those in PATH, and those that pyenv keeps."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    versions = [f"3.{minor}" for minor in range(OLDEST, NEWEST + 1)]
    return {
        version: python
        for version in versions
        if (python := next(_those_that_run(_named(version, pyenv), version), None)) is not None
    }


def contradictions(*, promised: Iterable[str], run: Iterable[str]) -> Iterator[str]:
    """Where the classifiers promise something else than what was run."""
    for version in promised:
        if version not in run:
            yield f"The classifiers promise Python {version}, which was not run."
    for version in run:
        if version not in promised:
            yield f"Python {version} was run, and no classifier promises it."


def _named(version: str, pyenv: Path) -> Iterator[str]:
    name = f"python{version}"
    if in_path := shutil.which(name):
        yield in_path
    yield from (str(each) for each in sorted(pyenv.glob(f"{version}.*/bin/{name}"), reverse=True))


def _those_that_run(pythons: Iterable[str], version: str) -> Iterator[str]:
    """A name may be a shim of pyenv's, which runs nothing when no version is chosen."""
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    for python in pythons:
        said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
        if said.stdout.strip() == version:
            yield python


def main() -> int:
    """Run them; the exit code says whether all is well."""
    results = {HERE: True}  # make test has run more with this one
    for version, python in found().items():
        if version == HERE:
            continue
        print(f"--- Python {version}", flush=True)
        command = ["make", "--no-print-directory", "test-fast", f"VENV=build/python{version}", f"PYTHON={python}"]
        results[version] = subprocess.run(command, cwd=ROOT, check=False).returncode == 0  # noqa: S603
    wrong = [f"Python {version} failed." for version, passed in results.items() if not passed]
    differing = list(contradictions(promised=promised(ROOT), run=list(results)))
    print("\n".join([f"Run: Python {', '.join(results)}.", *wrong, *differing]))
    return int(bool(wrong or (differing and os.environ.get("CI") == "true")))


if __name__ == "__main__":
    sys.exit(main())
