"""What is typed a little wrong: one line that helps, and exit code 2."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.platforms import not_on
from tests.processes import MODULE, environment, finished, served, started
from tests.terminal.conftest import Command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["generate", "a fox", "--aspect", "1:1"],
            "unrecognized arguments: --aspect 1:1 (did you mean --aspect-ratio?).",
        ),
        (["token", "add", "ada", "--daily", "5"], "unrecognized arguments: --daily 5."),
        (["history", "--limit", "0"], "argument --limit: a whole number from 1 to 1000 is needed."),
        (["history", "--limit", "5000"], "argument --limit: a whole number from 1 to 1000 is needed."),
        (["simulate", "--failure-rate", "3"], "argument --failure-rate: a number from 0 to 1 is needed."),
        (["simulate", "--latency", "-5"], "argument --latency: a number from 0 to 3600 is needed."),
        (["simulate", "--latency", "nan"], "argument --latency: a number from 0 to 3600 is needed."),
        (["simulate", "--price-max", "-1"], "argument --price-max: a whole number from 0 to 100000 is needed."),
        (["simulate", "--port", "http"], "argument --port: a port is a number from 0 to 65535."),
        (["login", "--port", "70000"], "argument --port: a port is a number from 0 to 65535."),
        (["demo", "--count", "two"], "argument --count: a whole number is needed."),
        (["demo", "--count", "99"], "--count is 1 to 8."),
        (["generate", "a fox", "--wait", "soon"], "argument --wait: a number from 0 to 600 is needed."),
    ],
    ids=str,
)
async def test_a_number_out_of_range_is_refused_in_one_line(command: Command, arguments: list[str], words: str) -> None:
    ended = await command(*arguments)

    assert ended.code == 2
    assert ended.err.startswith(f"flux2-mcp: {words}")
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["generate", "a", "red", "fox"], ["demo", "a", "red", "--count", "2", "fox"]])
async def test_a_prompt_without_quotes_is_shown_with_them(command: Command, arguments: list[str]) -> None:
    """Not joined: a file that was meant for a remix would be paid for as a word of the prompt."""
    async with served() as (base_url, runapi):
        ended = await command(*arguments, base_url=base_url)

    assert ended.code == 2
    assert f'put the prompt in quotes, so that it is one argument: flux2-mcp {arguments[0]} "a red fox"' in ended.err
    assert not runapi.ledger.tasks()


@pytest.mark.parametrize("name", ["remix", "estimate"])
async def test_a_word_of_the_prompt_is_not_taken_for_a_file(command: Command, name: str) -> None:
    async with served() as (base_url, _):
        ended = await command(name, "a", "red", "fox.png", base_url=base_url)

    assert ended.code == 2
    assert "There is no file 'red' here." in ended.err
    assert "put the whole prompt in quotes" in ended.err


async def test_help_is_a_word_too(command: Command) -> None:
    everything = await command("help")
    one = await command("help", "remix")
    none = await command("help", "paint")

    assert (everything.code, one.code, none.code) == (0, 0, 2)
    assert "make a picture from others" in everything.out
    assert "--aspect-ratio" in one.out
    assert "There is no command 'paint'" in none.err


async def test_options_without_a_command_are_those_of_serve(command: Command) -> None:
    """Without anything it serves, so --http alone means to serve over HTTP."""
    ended = await command("--http", "--port", "http")

    assert ended.code == 2
    assert ended.err == (
        "flux2-mcp: argument --port: a port is a number from 0 to 65535. `flux2-mcp serve --help` says more.\n"
    )


@not_on("Windows", "a process that Ctrl-C ends has another exit code there")
@pytest.mark.parametrize("module", ["difflib", "uvicorn"], ids=["before the command is known", "for the command"])
async def test_ctrl_c_while_the_program_is_loaded_leaves_no_traceback(tmp_path: Path, module: str) -> None:
    """The first command on a machine loads for seconds, and that is when people change their mind."""
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / f"{module}.py").write_text("raise KeyboardInterrupt", encoding="utf-8")
    ended = await finished(tmp_path, *MODULE, "simulate", PYTHONPATH=str(tmp_path / "slow"))

    assert ended.returncode == 130
    assert ended.stderr == b""


async def test_an_option_that_does_not_exist_leads_to_the_help_of_its_command(command: Command) -> None:
    ended = await command("generate", "a fox", "--aspectratio", "1:1")

    assert ended.code == 2
    assert ended.err == (
        "flux2-mcp: unrecognized arguments: --aspectratio 1:1 (did you mean --aspect-ratio?). "
        "`flux2-mcp generate --help` says more.\n"
    )


@not_on("Windows", "a pipe that nobody reads is another error there")
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("history", ""),
        ("install zed --print", "This would go into {home}/.config/zed/settings.json, beside what is there:\n"),
    ],
    ids=["history", "install"],
)
async def test_a_reader_that_has_read_enough_ends_a_command_without_a_complaint(
    tmp_path: Path, command: str, said: str
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    err = tmp_path / "stderr.txt"
    with os.fdopen(writer, "wb") as stdout, err.open("wb") as stderr:
        environ = environment(tmp_path, "")
        async with started(
            *MODULE, *command.split(), environ=environ, stdin=False, stdout=stdout, stderr=stderr
        ) as process:
            code = await process.wait()

    assert err.read_text(encoding="utf-8") == said.format(home=tmp_path)
    assert code == 141


@not_on("Windows", "a pipe that nobody reads is another error there")
async def test_a_picture_is_made_and_its_path_printed_though_nobody_reads_how_it_goes(tmp_path: Path) -> None:
    """As with `2> >(head -1)`: what goes to stdout is what was asked for."""
    reader, writer = os.pipe()
    os.close(reader)
    out = tmp_path / "stdout.txt"
    async with served() as (base_url, _):
        with os.fdopen(writer, "wb") as stderr, out.open("wb") as stdout:
            environ = environment(tmp_path, base_url)
            async with started(
                *MODULE, "generate", "a fox", environ=environ, stdin=False, stdout=stdout, stderr=stderr
            ) as process:
                code = await process.wait()

    [picture] = (tmp_path / "pictures").iterdir()
    assert out.read_text(encoding="utf-8").splitlines()[0] == str(picture)
    assert code == 0
