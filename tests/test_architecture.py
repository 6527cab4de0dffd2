"""docs/architecture.md, against the package that it describes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
UNNAMED = {"__init__.py", "py.typed"}
"""In a folder below the first; a folder's own line is about its `__init__.py`."""


def test_the_layout_names_every_module_once_and_none_that_does_not_exist() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    layout = text.split("## The layout\n\n```\n")[1].split("```")[0]

    assert sorted(_named(layout)) == sorted(_existing(REPOSITORY / "flux2_mcp"))


def _named(layout: str) -> Iterator[str]:
    folders: list[str] = []
    for line in filter(str.strip, layout.splitlines()):
        name, about = line.split(maxsplit=1) if " " in line.strip() else (line.strip(), "")
        depth = (len(line) - len(line.lstrip())) // 2
        folders[depth:] = [name]
        assert about or depth == 0, line
        if not name.endswith("/"):
            yield "".join(folders)


def _existing(package: Path) -> Iterator[str]:
    for file in package.rglob("*.*"):
        is_ours = file.is_file() and "__pycache__" not in file.parts
        if is_ours and (file.name not in UNNAMED or file == package / "__init__.py"):
            yield file.relative_to(package.parent).as_posix()
