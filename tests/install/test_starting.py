from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flux2_mcp.cli.launch import Start, start, this_program
from flux2_mcp.invocation import origin
from tests.install.computer import Computer


def nowhere(name: str) -> None:
    return None


def in_bin(name: str) -> str:
    return f"/opt/uv/{name}"


def test_a_release_is_started_by_uvx_with_its_whole_path() -> None:
    """Hosts that start from a dock have a poor PATH, and say `spawn uvx ENOENT` (servers#760)."""
    assert start({}, source="", which=in_bin) == Start("/opt/uv/uvx", ("flux2-mcp",))


def test_a_config_that_is_shared_names_no_path() -> None:
    assert start({}, to_share=True, source="", which=in_bin) == Start("uvx", ("flux2-mcp",), only_here=False)


def test_a_release_without_uv_starts_itself() -> None:
    assert start({}, source="", which=nowhere) == this_program()


def test_the_uv_that_runs_us_is_found_without_a_path(tmp_path: Path) -> None:
    for name in ("uv", "uvx"):
        (tmp_path / name).touch()

    given = start({"UV": str(tmp_path / "uv")}, source="", which=nowhere)

    assert given == Start(str(tmp_path / "uvx"), ("flux2-mcp",))


def test_a_checkout_starts_itself_even_where_uv_is() -> None:
    """What was changed here is what should run, and it may not be published yet."""
    program = start({}, which=in_bin)

    assert program == this_program()
    assert Path(program.command).parent == Path(sys.executable).parent


def test_what_uvx_runs_from_a_checkout_is_started_by_uvx_again(tmp_path: Path) -> None:
    """Uv empties its cache; a path into it would start nothing one day."""
    cached = str(tmp_path / "archive-v0" / "x1y2" / "bin" / "python")
    checkout = str(Path(__file__).parents[2])
    args = ("--from", checkout, "flux2-mcp")

    assert start({"UV": "/opt/uv/uv"}, python=cached, which=in_bin) == Start("/opt/uv/uvx", args)
    assert start({"UV": "/opt/uv/uv"}, to_share=True, python=cached, which=in_bin) == Start("uvx", args)


def test_this_checkout_knows_where_it_is() -> None:
    assert origin() == Path(__file__).parents[2].as_uri()


@pytest.mark.parametrize("only_here", [True, False])
def test_a_project_is_told_when_its_command_is_a_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, only_here: bool
) -> None:
    computer = Computer(tmp_path, program=Start("uvx", ("flux2-mcp",), only_here=only_here))

    computer.install("cursor", "--project", str(tmp_path))

    assert ("others who use this project need their own" in capsys.readouterr().out) is only_here
