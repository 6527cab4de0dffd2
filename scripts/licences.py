"""The licences of what an installation brings along: python -m scripts.licences [--write].

Every licence has to be allowed, and docs/licences.md has to list it; --write lists it there.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, PackageMetadata, PackageNotFoundError, distribution
from itertools import product
from pathlib import Path

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.pythons import promised

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
OURS = "flux2-mcp"
EXTRAS = ("otel", "postgres")

ALLOWED = {
    "Apache-2.0": "our own licence",
    "BSD-2-Clause": "its text stays with the code",
    "BSD-3-Clause": "its text stays with the code",
    "MIT": "its text stays with the code",
    "MIT-0": "no conditions",
    "MIT-CMU": "its text stays with the code; Pillow's",
    "PSF-2.0": "its text stays with the code; Python's",
}
"""Anything may come along under these, because all that they ask for is this."""

AGREED = {
    "certifi": ("MPL-2.0", "the source of changed files has to be offered, and no file is changed"),
    **dict.fromkeys(
        ("psycopg", "psycopg-binary"),
        (
            "LGPL-3.0-only",
            "only with the extra `postgres`; a library that is imported unchanged and can be exchanged",
        ),
    ),
}
"""Only these packages may come along under these, because of this."""

ELSEWHERE = {"pywin32": "PSF-2.0", "tzdata": "Apache-2.0"}
"""Licences of packages that come along on some systems only, so that they cannot be read everywhere."""

NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: MIT License": "MIT",
}
"""What some packages say, by SPDX's names."""

SYSTEMS = (
    {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"},
    {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "aarch64"},
    {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64"},
    {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt", "platform_machine": "AMD64"},
)


def come_along(find: Callable[[str], Distribution], *, extra: str = "") -> dict[str, Distribution | None]:
    """What we bring with us on any system, by name; None where it is not installed here."""
    pythons = [{"python_version": each, "python_full_version": f"{each}.0"} for each in promised(ROOT)]
    environments = [system | python for system, python in product(SYSTEMS, pythons)]
    found: dict[str, Distribution | None] = {}
    seen: set[tuple[str, str]] = set()
    waiting = {(OURS, ""), (OURS, extra)}
    while waiting:
        name, wanted = each = waiting.pop()
        seen.add(each)
        try:
            found[name] = it = find(name)
        except PackageNotFoundError:
            found[name] = None
            continue
        for needed in map(Requirement, it.requires or []):
            marker = needed.marker
            if marker is None or any(marker.evaluate({**environ, "extra": wanted}) for environ in environments):
                waiting |= {(canonicalize_name(needed.name), more) for more in ("", *needed.extras)} - seen
    return {name: found[name] for name in sorted(found) if name != OURS}


def licence(about: PackageMetadata) -> str:
    """What a package says of itself, as an SPDX expression; empty where that cannot be told."""
    first = {name: about.get_all(name, [""])[0] for name in ("License-Expression", "License")}
    classifiers = [each for each in about.get_all("Classifier", []) if each.startswith("License ::")]
    for said in (*first.values(), " AND ".join(map(_spdx, classifiers))):
        try:
            return canonicalize_license_expression(_spdx(said))
        except InvalidLicenseExpression:
            continue
    return ""


def complaints(packages: dict[str, Distribution | None]) -> Iterator[str]:
    """What may not come along as it is."""
    for name, it in packages.items():
        said = _said(name, it)
        if it is None and not said:
            yield f"{name} comes along on other systems only: write its licence into ELSEWHERE."
        elif not said:
            yield f"{name} has no licence that can be told: look at it, and write what it says into NAMES."
        elif said != AGREED.get(name, ("",))[0] and (others := named(said) - ALLOWED.keys()):
            yield f"{name} has the licence {said}, and {', '.join(sorted(others))} is not allowed."
        if said != ELSEWHERE.get(name, said):
            yield f"{name} has the licence {said}, and ELSEWHERE says {ELSEWHERE[name]}."
        if it is not None and not any(
            re.search(r"licen[cs]e|copying", file.name, re.IGNORECASE) for file in it.files or []
        ):
            yield f"{name} brings no text of its licence."


def named(expression: str) -> set[str]:
    """All licences of an SPDX expression, also where one of them would do."""
    return set(re.findall(r"[\w.+-]+(?: WITH [\w.+-]+)?", expression)) - {"AND", "OR"}


def table(find: Callable[[str], Distribution]) -> str:
    """All packages in Markdown."""
    base = come_along(find)
    rows = ["| package | licence | comes along |", "|---|---|---|"]
    all_of_them = {name: (it, "always") for name, it in base.items()}
    for extra in EXTRAS:
        for name, it in come_along(find, extra=extra).items():
            all_of_them.setdefault(name, (it, f"with `{extra}`"))
    for name, (it, when) in sorted(all_of_them.items()):
        said = _said(name, it)
        rows.append(f"| {name} | {said} | {when}{', on some systems' if name in ELSEWHERE else ''} |")
    return "\n".join(rows)


def with_table(page: str, rows: str) -> str:
    """The page with these rows in place of its own."""
    return re.sub(r"^\| package .*?(?=\n\n|\n?\Z)", lambda _: rows, page, flags=re.MULTILINE | re.DOTALL)


def _said(name: str, it: Distribution | None) -> str:
    return (licence(it.metadata) if it is not None else "") or ELSEWHERE.get(name, "")


def _spdx(said: str) -> str:
    return NAMES.get(said, said)


def main(*arguments: str) -> int:
    """Do what the command line says, and give the exit code."""
    packages = {name: it for extra in EXTRAS for name, it in come_along(distribution, extra=extra).items()}
    wrong = list(complaints(packages))
    page = PAGE.read_text(encoding="utf-8")
    current = with_table(page, table(distribution))
    if "--write" in arguments:
        PAGE.write_text(current, encoding="utf-8")
    elif current != page:
        wrong.append("docs/licences.md lists something else: python -m scripts.licences --write mends it.")
    for each in wrong:
        print(each, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
