"""What a release says of itself: python scripts/release.py check [TAG] | notes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flux2_mcp import __version__

ROOT = Path(__file__).resolve().parent.parent


def complaints(root: Path, *, version: str, tag: str = "") -> Iterator[str]:
    """What is not as it must be before this version is released; with a tag, what it still lacks for that."""
    server = _json(root / "server.json")
    named = {
        "server.json": server["version"],
        "server.json, packages": ", ".join(package["version"] for package in server["packages"]),
        ".claude-plugin/plugin.json": _json(root / ".claude-plugin" / "plugin.json")["version"],
        "deploy/kubernetes.yaml": ", ".join(
            re.findall(r"image: .*:v(\S+)", _text(root / "deploy" / "kubernetes.yaml"))
        ),
    }
    for file, other in named.items():
        if other != version:
            yield f"{file} says {other}, and flux2_mcp/__init__.py says {version}."
    if tag and tag != f"v{version}":
        yield f"The tag is {tag}, and flux2_mcp/__init__.py says {version}."
    if tag and not notes(root, version=version):
        yield f"CHANGELOG.md has no section [{version}] with a date and something in it."


def notes(root: Path, *, version: str) -> str:
    """What CHANGELOG.md says of this version; empty when it says nothing."""
    changelog = _text(root / "CHANGELOG.md")
    section = re.search(
        rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$(.*?)(?=^## |^\[[^\]]+\]: |\Z)",
        changelog,
        re.MULTILINE | re.DOTALL,
    )
    return section[1].strip() if section else ""


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _json(path: Path) -> dict[str, Any]:
    return json.loads(_text(path))


def main(command: str, tag: str = "") -> int:
    """Do what the command line says, and give the exit code."""
    if command == "notes":
        print(notes(ROOT, version=__version__))
        return 0
    found = list(complaints(ROOT, version=__version__, tag=tag))
    for complaint in found:
        print(complaint, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
