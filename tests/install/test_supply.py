from __future__ import annotations

import json
import sys
import sysconfig
import venv
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from flux2_mcp import __version__
from scripts.audit import verdict
from scripts.licences import EXTRAS, come_along
from scripts.lowest import at_run_time, for_tests, pinned
from scripts.sbom import describe

ROOT = Path(__file__).resolve().parents[2]


def test_the_lowest_versions_that_are_tested_are_those_that_are_allowed() -> None:
    """`make constraints` makes them anew; where there is no such version, the bound has to name the next one."""
    lowest = pinned(ROOT / "constraints-lowest.txt")

    for needed in at_run_time(ROOT):
        [bound] = [Version(each.version) for each in needed.specifier if each.operator == ">="]
        [pin] = lowest[canonicalize_name(needed.name)].specifier
        assert Version(pin.version) == bound, needed


def test_what_only_tests_need_is_the_same_with_the_lowest_versions() -> None:
    lowest = pinned(ROOT / "constraints-lowest.txt")

    assert {str(each).lower() for each in for_tests(ROOT)} <= {str(each) for each in lowest.values()}


def test_no_file_of_constraints_says_where_packages_come_from() -> None:
    for name in ("constraints.txt", "constraints-lowest.txt"):
        assert "//" not in (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def sbom(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Made from what pip notes down of what a user installs; here it is noted without installing anything."""
    folder = tmp_path_factory.mktemp("sbom")
    venv.create(folder / "venv", with_pip=False)
    paths = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
    site = Path(sysconfig.get_path("purelib", "venv", paths))
    for name in ("flux2-mcp", *expected()):
        it = distribution(name)
        noted = site / f"{name.replace('-', '_')}-{it.version}.dist-info"
        noted.mkdir()
        (noted / "METADATA").write_text(it.read_text("METADATA") or "", encoding="utf-8")
    [ours] = site.glob("flux2_mcp-*")
    url = (folder / "flux2_mcp.whl").as_uri()
    (ours / "direct_url.json").write_text(json.dumps({"url": url, "archive_info": {}}), encoding="utf-8")
    python = folder / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    describe(python, folder / "sbom.json")
    return (folder / "sbom.json").read_text(encoding="utf-8")


def expected() -> set[str]:
    packages = {name: it for extra in EXTRAS for name, it in come_along(distribution, extra=extra).items()}
    return {name for name, it in packages.items() if it is not None}


def test_a_release_says_what_it_brings_along(sbom: str) -> None:
    """The tool has checked it against CycloneDX's schema."""
    told: dict[str, Any] = json.loads(sbom)
    about = told["metadata"]["component"]
    components: dict[str, Any] = {canonicalize_name(each["name"]): each for each in told["components"]}
    needs = {each["ref"]: each.get("dependsOn", []) for each in told["dependencies"]}

    assert (about["name"], about["version"]) == ("flux2-mcp", __version__)
    assert about["licenses"][0]["license"]["id"] == "Apache-2.0"
    assert components.keys() == expected()
    assert components["psycopg"]["purl"] == f"pkg:pypi/psycopg@{distribution('psycopg').version}"
    assert components["psycopg"]["licenses"][0]["license"]["id"] == "LGPL-3.0-only"
    assert {canonicalize_name(each.partition("==")[0]) for each in needs[about["bom-ref"]]} == {
        canonicalize_name(each.name) for each in at_run_time(ROOT)
    }


def test_it_says_nothing_of_the_machine_it_was_made_on(sbom: str) -> None:
    assert "file:" not in sbom
    assert str(ROOT) not in sbom


HOLE = {"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": [], "description": "Paint leaks."}


def report(*packages: dict[str, object]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_a_vulnerability_is_named_with_its_cure() -> None:
    found = report(
        {"name": "paint", "version": "1.0", "vulns": [HOLE]}, {"name": "brush", "version": "2.0", "vulns": []}
    )

    assert verdict(found, "") == (1, ["paint 1.0: PYSEC-1, fixed in 1.1. Paint leaks."])


def test_none_is_none() -> None:
    assert verdict(report({"name": "brush", "version": "2.0", "vulns": []}), "") == (
        0,
        ["1 packages, no known vulnerability."],
    )


@pytest.mark.parametrize(
    ("said", "errors"),
    [
        (
            "",
            "WARNING:pip_audit._cli:Use hashes.\nERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed\n",
        ),
        ("", ""),
        (report({"name": "paint", "skip_reason": "not found"}, {"name": "brush", "skip_reason": "not found"}), ""),
        (report({"name": "paint", "skip_reason": "not found"}, {"name": "brush", "version": "2", "vulns": []}), ""),
    ],
    ids=["no network", "no answer", "a mirror without vulnerabilities", "one unknown package"],
)
def test_what_nobody_looked_at_is_not_called_safe(said: str, errors: str) -> None:
    code, [line] = verdict(said, errors)

    assert code == 2
    assert "NOT AUDITED" in line
    assert "Use hashes" not in line
