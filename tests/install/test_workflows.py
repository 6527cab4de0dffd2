"""What GitHub runs and asks cannot be tried here; that it fits this repository can."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
each_workflow = pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)


def parsed(file: Path) -> dict[str, Any]:
    return YAML(typ="safe").load(file)  # pyright: ignore[reportUnknownMemberType] untyped


def jobs(file: Path) -> dict[str, dict[str, Any]]:
    return parsed(file)["jobs"]


def steps(file: Path) -> Iterator[dict[str, Any]]:
    for job in jobs(file).values():
        yield from job.get("steps", [])


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@each_workflow
def test_every_step_is_a_target_of_the_makefile(file: Path) -> None:
    """What fails there can then be repeated here."""
    commands = [step["run"] for step in steps(file) if "run" in step]
    called = [re.fullmatch(r'make (?:--keep-going )?([a-z-]+)(?: TAG="\$GITHUB_REF_NAME")?', each) for each in commands]

    assert all(called), commands
    assert {each[1] for each in called if each} <= targets()


@each_workflow
def test_every_action_is_pinned_to_a_commit_and_says_its_version(file: Path) -> None:
    used = re.findall(r"uses: (.+)", file.read_text(encoding="utf-8"))
    foreign = [each for each in used if not each.startswith("./")]

    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in foreign), foreign
    assert all((ROOT / each).is_file() for each in used if each.startswith("./"))


def test_one_action_has_one_commit_everywhere() -> None:
    used = {line for file in WORKFLOWS for line in re.findall(r"uses: ([\w-]+/.+)", file.read_text(encoding="utf-8"))}

    assert len(used) == len({line.partition("@")[0] for line in used})


@each_workflow
def test_a_workflow_may_read_and_each_job_says_what_more_it_needs(file: Path) -> None:
    assert parsed(file)["permissions"] == {"contents": "read"}
    assert "group" in parsed(file)["concurrency"]
    for name, job in jobs(file).items():
        longest = 240 if name == "mutants" else 60  # hours of CPU, by nature
        assert "uses" in job or job["timeout-minutes"] <= longest, name
        assert "write" not in job.get("permissions", {}).values() or file.stem == "release", name


def test_no_build_can_publish_a_package() -> None:
    """It runs what others wrote; who publishes only takes what it left. The image's build can push an image only."""
    release = jobs(GITHUB / "workflows" / "release.yml")

    assert "permissions" not in release["build"]
    assert release["pypi"]["permissions"] == {"id-token": "write"}
    assert release["pypi"]["environment"]["name"] == "pypi"
    assert {"ci", "audit", "build"} <= set(release["pypi"]["needs"])
    assert {"ci", "build"} <= set(release["image"]["needs"])
    assert not any("run" in step for step in release["pypi"]["steps"])
    assert release["image"]["permissions"] == {"contents": "read", "packages": "write"}


def test_nothing_of_a_version_is_published_before_pypi_has_it() -> None:
    """There a person may have to agree, and may refuse."""
    release = jobs(GITHUB / "workflows" / "release.yml")

    assert all("pypi" in release[job]["needs"] for job in release.keys() - {"ci", "audit", "build", "pypi"})


def test_what_others_find_stops_a_release_but_no_change() -> None:
    """A vulnerability that became known today is no fault of a pull request."""
    audited = [file.stem for file in WORKFLOWS if any(step.get("run") == "make audit" for step in steps(file))]

    assert audited == ["nightly", "release"]


def test_every_python_that_is_promised_is_tested_on_every_system() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    matrix = jobs(GITHUB / "workflows" / "ci.yml")["test"]["strategy"]["matrix"]

    assert matrix["python"] == promised
    assert [system.partition("-")[0] for system in matrix["os"]] == ["ubuntu", "macos", "windows"]


def test_the_bug_form_asks_for_the_doctor_and_the_security_page_is_near() -> None:
    forms = GITHUB / "ISSUE_TEMPLATE"
    asked = "\n".join(field["attributes"].get("description", "") for field in parsed(forms / "bug.yml")["body"])
    links = [link["url"] for link in parsed(forms / "config.yml")["contact_links"]]

    assert "`flux2-mcp doctor --json`" in asked
    assert any(url.endswith("/SECURITY.md") for url in links)
    for form in (parsed(forms / name) for name in ("bug.yml", "feature.yml")):
        ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
        assert {"name", "description", "body"} <= form.keys()
        assert len(ids) == len(set(ids))


def test_dependabot_looks_at_all_that_is_pinned() -> None:
    updates = parsed(GITHUB / "dependabot.yml")["updates"]

    assert {each["package-ecosystem"] for each in updates} == {"pip", "github-actions", "docker"}
