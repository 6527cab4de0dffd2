"""Put one small mistake at a time into the code, and see that the tests notice: python -m tests.mutants [PATTERN ...].

The patterns are mutmut's, such as 'flux2_mcp.budget.*': those mutants of the last run are tried again. Without any, all
are made anew.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conftest import IN_MEMORY
from tests.mutants.found import MUTANTS, ROOT, found
from tests.mutants.staying import note, noted


def run(patterns: Sequence[str]) -> None:
    """Have mutmut try them.

    Raises:
        subprocess.CalledProcessError: It could not.
    """
    if not patterns:
        shutil.rmtree(MUTANTS, ignore_errors=True)
    with TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder:
        environ = {**os.environ, "PYTEST_DEBUG_TEMPROOT": folder}
        mutmut = Path(sys.executable).with_name("mutmut")
        # One more than there are cores: a mutant may wait for what never comes.
        workers = str(1 + (os.cpu_count() or 1))
        subprocess.run([mutmut, "run", "--max-children", workers, *patterns], cwd=ROOT, env=environ, check=True)  # noqa: S603


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    parser.add_argument("--write", action="store_true", help="run nothing; note what the last run has found")
    options = parser.parse_args()
    if importlib.util.find_spec("mutmut") is None:
        print("Not run: mutmut is for systems that can fork.")
        return
    if not options.write:
        run(options.patterns)
    came = found()
    if options.write:
        note(noted().after(came))
    for module, each in came.items():
        left = each.survivors.total()
        print(f"{module:24} {each.tried:5} mutants, {left:4} unnoticed: {100 * (1 - left / each.tried):5.1f} %")
    left, known = sum((each.survivors for each in came.values()), Counter[str]()), noted().mutants
    gone, new = sorted((known - left).elements()), sorted((left - known).elements())
    if gone:
        print(f"\n{len(gone)} that were to stay are noticed, or gone; --write takes them out of staying.toml.")
    not_tried = () if options.patterns else noted().without_mutants(came)
    if not_tried:
        print("\nNo mutant of these modules was tried:", *not_tried, sep="\n  ")
    if new:
        print("\nNo test notices these:", *new, sep="\n  ")
    sys.exit(1 if new or not_tried else 0)


if __name__ == "__main__":
    main()
