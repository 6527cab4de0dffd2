"""Every hint names a command as it is typed where the hint is read."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flux2_mcp.errors import KeyRejected, LoginFailed, NoApiKey
from flux2_mcp.invocation import as_typed, command, started_as
from tests.processes import finished, hosted

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="these are paths of other systems")
pytestmark = posix_only

CHECKOUT = Path("/home/ada/flux2-mcp")
SCRIPT = str(CHECKOUT / ".venv" / "bin" / "flux2-mcp")


def in_path(program: str) -> Callable[[str], str]:
    return lambda _: program


def nowhere(_: str) -> None: ...


def typed(program: str, folder: Path | None = CHECKOUT, *, path: str = "", python: str = "", **environ: str) -> str:
    which = in_path(path) if path else nowhere
    return as_typed(program, folder=folder, python=python or "/usr/bin/python3", environ=environ, which=which)


def test_what_the_shell_finds_is_typed_by_its_name() -> None:
    assert typed(SCRIPT, path=SCRIPT) == "flux2-mcp"
    assert typed(SCRIPT, None, path=SCRIPT) == "flux2-mcp"


def test_another_one_in_path_is_not_meant() -> None:
    assert typed(SCRIPT, path="/usr/bin/flux2-mcp") == ".venv/bin/flux2-mcp"


def test_a_checkout_is_typed_by_its_path_and_short_where_that_works() -> None:
    """After `make demo`, flux2-mcp lies in a folder that no shell looks in."""
    assert typed(SCRIPT) == ".venv/bin/flux2-mcp"
    assert typed(SCRIPT, CHECKOUT / ".venv" / "bin") == "./flux2-mcp"
    assert typed(SCRIPT, Path("/home/ada")) == "flux2-mcp/.venv/bin/flux2-mcp"
    assert typed(SCRIPT, Path("/srv")) == SCRIPT


def test_a_server_says_it_for_every_folder() -> None:
    assert typed(SCRIPT, None) == SCRIPT


def test_a_path_can_be_pasted_into_a_shell() -> None:
    assert typed("/home/ada/my art/flux2-mcp") == "'/home/ada/my art/flux2-mcp'"


def test_a_module_is_typed_as_the_script_beside_its_python(tmp_path: Path) -> None:
    module, python = "/lib/flux2_mcp/__main__.py", str(tmp_path / "python")
    without_script = typed(module, python=python)
    (tmp_path / "flux2-mcp").touch()

    assert without_script == f"{python} -m flux2_mcp"
    assert typed(module, python=python) == str(tmp_path / "flux2-mcp")


def test_uvx_is_typed_as_it_was() -> None:
    """What it starts lies in its cache, which only it puts into PATH; this package was installed from a folder."""
    cache = "/home/ada/.cache/uv/archive-v0/x1/bin"
    program = f"{cache}/flux2-mcp"
    here = Path(__file__).parents[1]

    uvx = typed(program, here, path=program, python=f"{cache}/python", UV="/usr/bin/uv")
    in_a_server = typed(program, None, path=program, python=f"{cache}/python", UV="/usr/bin/uv")

    assert uvx == "uvx --from . flux2-mcp"
    assert in_a_server == f"uvx --from {here} flux2-mcp"


def test_what_uv_runs_in_a_project_is_not_in_the_persons_path() -> None:
    assert typed(SCRIPT, path=SCRIPT, python=str(Path(SCRIPT).with_name("python")), UV="/bin/uv") == (
        ".venv/bin/flux2-mcp"
    )


def test_another_program_that_uses_us_names_the_command_alone() -> None:
    assert typed("/usr/bin/pytest") == "flux2-mcp"


def test_errors_name_it_as_it_is_known_when_they_are_raised() -> None:
    before = str(NoApiKey())
    started_as(SCRIPT, folder=CHECKOUT)
    try:
        assert command("login") == ".venv/bin/flux2-mcp login"
        for error in (NoApiKey(), KeyRejected("No."), LoginFailed("No.")):
            assert "Run `.venv/bin/flux2-mcp login`" in str(error)
    finally:
        started_as("/usr/bin/pytest", folder=None)

    assert "Run `flux2-mcp login`" in before


@pytest.fixture
def script() -> str:
    """The flux2-mcp of these tests."""
    return str(Path(sys.executable).with_name("flux2-mcp"))


@pytest.fixture
def short(script: str) -> str:
    """The same from the folder where the tests run."""
    return as_typed(script, folder=Path.cwd(), which=nowhere)


async def test_a_terminal_and_a_host_are_told_what_works_for_them(tmp_path: Path, script: str, short: str) -> None:
    """With a PATH that has no flux2-mcp: for a person in a folder the path is short, from a host it is whole."""
    bare = {"PATH": "/usr/bin:/bin", "RUNAPI_API_KEY": ""}
    ended = await finished(tmp_path, script, "generate", "a fox", **bare)
    async with hosted(tmp_path, "", command=[script], environ=bare) as host:
        answer = await host.answer(await host.call("generate", {"prompt": "a fox"}))

    assert f"Run `{short} login`" in ended.stderr.decode()
    assert f"Run `{script} login`" in answer["result"]["content"][0]["text"]


async def test_a_demo_states_no_price_that_nobody_publishes_and_ends_with_commands_that_can_be_pasted(
    tmp_path: Path, script: str, short: str
) -> None:
    """The simulator has a price for this model, but it is made up."""
    bare = {"PATH": "/usr/bin:/bin", "RUNAPI_API_KEY": ""}
    ended = await finished(tmp_path, script, "demo", "a red fox", "--model", "max", **bare)
    lines = ended.stdout.decode().splitlines()[-2:]
    pasted = [await finished(tmp_path, *line.split("`")[1].split(), "--help", **bare) for line in lines]

    assert "Made; what flux-2-max costs with RunAPI itself is not published:" in ended.stdout.decode()
    assert b"$" not in ended.stdout
    assert [line.split("`")[1].split()[0] for line in lines] == [short, short]
    assert [each.returncode for each in pasted] == [0, 0]
