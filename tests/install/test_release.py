from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

from flux2_mcp import __version__
from scripts.pythons import HERE, contradictions, promised
from scripts.release import complaints, notes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make build` makes: the sdist, and the wheel that is built from it."""
    dist = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 our own build
    return dist


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    [path] = built.glob("*.whl")
    return zipfile.ZipFile(path)


def ours() -> set[str]:
    """Every file of the package, but what Python and an editor leave there."""
    files = (path for path in (ROOT / "flux2_mcp").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in files}


def test_the_wheel_is_the_package_with_its_data_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert packed == ours()
    assert {"flux2_mcp/catalogue.json", "flux2_mcp/py.typed"} <= packed


def test_the_wheel_says_what_it_is_and_brings_the_command(wheel: zipfile.ZipFile) -> None:
    info = f"flux2_mcp-{__version__}.dist-info"
    about = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())

    assert (about["Name"], about["Version"]) == ("flux2-mcp", __version__)
    assert about["License-Expression"] == "Apache-2.0"
    assert "mcp-name: io.github.flux2-mcp/flux2-mcp" in str(about.get_payload())
    assert "flux2-mcp = flux2_mcp.__main__:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert f"{info}/licenses/LICENSE" in wheel.namelist()


def test_the_sdist_has_what_the_wheel_is_built_from(built: Path) -> None:
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        packed = {name.partition("/")[2] for name in sdist.getnames()}

    assert ours() | {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} <= packed
    assert not [name for name in packed if name.startswith((".github", ".ci", "dist", ".venv"))]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that name a version, as they are for 1.2.3."""
    (tmp_path / ".claude-plugin").mkdir()
    rewrite(tmp_path / ".claude-plugin" / "plugin.json", {"version": "1.2.3"})
    rewrite(tmp_path / "server.json", {"version": "1.2.3", "packages": [{"version": "1.2.3"}]})
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")
    (tmp_path / "deploy").mkdir()
    deploy(tmp_path, "1.2.3")
    return tmp_path


def deploy(checkout: Path, version: str) -> None:
    image = f"          image: ghcr.io/flux2-mcp/flux2-mcp:v{version}\n"
    (checkout / "deploy" / "kubernetes.yaml").write_text(image, encoding="utf-8")


CHANGELOG = """
## [Unreleased]

## [1.2.3] - 2026-11-22

### Fixed

- A thing.

## [1.2.2] - 2026-10-22

- Older.

[Unreleased]: https://x.test
"""


def rewrite(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def test_this_checkout_names_one_version() -> None:
    assert list(complaints(ROOT, version=__version__)) == []


def test_a_release_has_its_tag_and_its_notes(checkout: Path) -> None:
    assert list(complaints(checkout, version="1.2.3", tag="v1.2.3")) == []
    assert notes(checkout, version="1.2.3") == "### Fixed\n\n- A thing."
    assert notes(checkout, version="1.2.2") == "- Older."


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("server.json", {"version": "1.2.2", "packages": [{"version": "1.2.3"}]}),
        ("server.json", {"version": "1.2.3", "packages": [{"version": "1.2.2"}]}),
        (".claude-plugin/plugin.json", {"version": "1.2.2"}),
    ],
)
def test_a_file_that_was_forgotten_is_named(checkout: Path, file: str, content: dict[str, Any]) -> None:
    rewrite(checkout / file, content)
    [complaint] = complaints(checkout, version="1.2.3")

    assert complaint.startswith(file)
    assert "says 1.2.2" in complaint


def test_a_deployment_of_another_version_is_named(checkout: Path) -> None:
    deploy(checkout, "1.2.2")

    assert list(complaints(checkout, version="1.2.3")) == [
        "deploy/kubernetes.yaml says 1.2.2, and flux2_mcp/__init__.py says 1.2.3."
    ]


def test_another_tag_and_a_version_without_notes_are_refused(checkout: Path) -> None:
    assert len(list(complaints(checkout, version="1.2.3", tag="v1.2.4"))) == 1
    (checkout / "CHANGELOG.md").write_text("## [1.2.3] - 2026-11-22\n\n## [1.2.2] - 2026-10-22\n", encoding="utf-8")

    assert "no section [1.2.3]" in next(complaints(checkout, version="1.2.3", tag="v1.2.3"))


def test_the_classifiers_promise_the_pythons_that_are_run() -> None:
    assert HERE in promised(ROOT)
    assert list(contradictions(promised=["3.11", "3.12"], run=["3.11", "3.12"])) == []
    assert list(contradictions(promised=["3.11", "3.12"], run=["3.11", "3.14"])) == [
        "The classifiers promise Python 3.12, which was not run.",
        "Python 3.14 was run, and no classifier promises it.",
    ]
