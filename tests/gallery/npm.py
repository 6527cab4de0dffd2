"""Packages of npm's that tests use, in the versions that they were written for."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = (
    "axe-core@4.14.1",
    "@modelcontextprotocol/ext-apps@2.0.4",
    "@modelcontextprotocol/client@2.3.1",
    "@modelcontextprotocol/core@2.4.0",
    "zod@4.6.7",
)
FOLDER = Path(__file__).parents[2] / "build" / "gallery"
NPM = shutil.which("npm")

has_npm = pytest.mark.skipif(
    NPM is None, reason="there is no npm that could bring what other projects check pages with: https://nodejs.org"
)


def modules() -> Path:
    """The folder in which they are; they are installed once for all workers and runs."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    done = FOLDER / "installed.txt"
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() or done.read_text() != "\n".join(PACKAGES):
            options = ("--silent", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(FOLDER))
            subprocess.run([str(NPM), "install", *options, *PACKAGES], check=True, timeout=300)  # noqa: S603 ours
            done.write_text("\n".join(PACKAGES))
    return FOLDER / "node_modules"
