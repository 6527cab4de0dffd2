"""What the writers of pictures, keys and configs rely on."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from flux2_mcp import files
from tests.platforms import not_on


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_what_cannot_be_replaced_stays_and_no_draft_is_left(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        files.replace(tmp_path / "folder", b"new")

    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["inside"]


def test_a_link_that_leads_nowhere_yet_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files.replace(tmp_path / "link", b"new")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@not_on("Windows", "it has no such modes")
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666])
def test_the_mode_is_the_one_that_was_asked_for(tmp_path: Path, mode: int) -> None:
    """Not what the umask leaves of it, nor what was there."""
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file").chmod(0o640)
    files.replace(tmp_path / "file", b"new", mode=mode)

    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_a_new_file_takes_no_name_of_another(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    (tmp_path / "b").symlink_to(tmp_path / "nowhere")
    path = files.add([tmp_path / "a", tmp_path / "b", tmp_path / "c"], b"new", folder=tmp_path)

    assert path == tmp_path / "c"
    assert (tmp_path / "a").read_bytes() == b"mine"
    assert names(tmp_path) == ["a", "b", "c"]
