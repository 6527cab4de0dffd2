"""Write down what a wheel brings along, as CycloneDX: python -m scripts.sbom WHEEL FOLDER.

What is described is an environment with nothing but the wheel and the extras for users, in the versions of
constraints.txt.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

import tomlkit

from flux2_mcp import __version__
from scripts.licences import EXTRAS

ROOT = Path(__file__).resolve().parent.parent


def installed(wheel: Path, folder: Path) -> Path:
    """An environment without pip, as a user gets it."""
    venv.create(folder, clear=True, with_pip=False)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    _run(
        "pip",
        "--python",
        str(python),
        "install",
        "-qq",
        "-c",
        str(ROOT / "constraints.txt"),
        f"{wheel}[{','.join(EXTRAS)}]",
    )
    return python


def describe(python: Path, file: Path) -> None:
    """Write what is installed there, checked against CycloneDX's schema, without paths of this machine."""
    project = tomlkit.parse((ROOT / "pyproject.toml").read_text(encoding="utf-8")).unwrap()["project"]
    ours = {
        "name": project["name"],
        "version": __version__,
        "description": project["description"],
        "license": project["license"],
        "urls": project["urls"],
        "dependencies": project["dependencies"],
        "optional-dependencies": {extra: project["optional-dependencies"][extra] for extra in EXTRAS},
    }
    with tempfile.TemporaryDirectory() as folder:
        about = Path(folder, "pyproject.toml")  # of ours, the tool would take the tests' needs too, and no version
        about.write_text(tomlkit.dumps({"project": ours}), encoding="utf-8")
        _run(
            "cyclonedx_py",
            "environment",
            "--output-reproducible",
            "--pyproject",
            str(about),
            "-o",
            str(file),
            str(python),
        )


def _run(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], check=True)  # noqa: S603 a tool of ours


def main(arguments: Sequence[str]) -> int:
    """Do it, and say where it is."""
    wheel, folder = map(Path, arguments)
    with tempfile.TemporaryDirectory() as scratch:
        file = folder / f"flux2_mcp-{__version__}.cdx.json"
        describe(installed(wheel, Path(scratch, "venv")), file)
    print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
