"""Let libFuzzer look for bytes that break a target: python -m tests.fuzz.coverage TARGET SECONDS."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

TARGETS = ("pictures", "addresses", "json_text", "bodies")
CORPUS = Path(__file__).parents[1] / "corpus"
FOUND = Path(__file__).parents[3] / "build" / "fuzz"
LONGEST_CHECK = 10
"""Seconds after which one input counts as a hang."""
MOST_MEMORY = 1024
"""Megabytes."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.coverage", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("seconds", type=int)
    parser.add_argument("--merge", action="store_true", help="keep in the corpus what adds to what is reached")
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print(f"{options.target}: not run, as atheris is there for Linux on x86-64 and Python 3.11 to 3.13 only.")
        return
    # Not there for every system, and untyped.
    atheris: Any = importlib.import_module("atheris")
    target = f"tests.fuzz.coverage.{options.target}"
    with atheris.instrument_imports(include=["flux2_mcp", "PIL", "urllib.parse"]):
        check = importlib.import_module(target).check
    found, kept = FOUND / options.target, CORPUS / options.target
    found.mkdir(parents=True, exist_ok=True)
    flags = [
        f"-max_total_time={options.seconds}",
        f"-timeout={LONGEST_CHECK}",
        f"-rss_limit_mb={MOST_MEMORY}",
        f"-max_len={importlib.import_module(target).LONGEST}",
        f"-artifact_prefix={FOUND}/{options.target}-",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    folders = [kept, found] if options.merge else [found, kept]
    atheris.Setup([sys.argv[0], *flags, *(["-merge=1"] if options.merge else []), *map(str, folders)], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
