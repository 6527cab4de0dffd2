"""The commands of flux2-mcp; a command is imported only when it is called."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from flux2_mcp import __version__
from flux2_mcp.errors import NOBODY_READS, Flux2Error, nobody_reads
from flux2_mcp.invocation import command, started_as

COMMANDS = {
    "serve": "serve an MCP host over stdio (the default), or over HTTP",
    "demo": "make a picture through the whole server, on the simulator: no key, no cost",
    "login": "get a RunAPI key with the browser, and save it for every server and tool of RunAPI's on this computer",
    "logout": "remove the saved key",
    "doctor": "check everything that has to be right, and say how to fix what is not",
    "generate": "make a picture from words, here in the terminal",
    "remix": "make a picture from others, here in the terminal",
    "status": "look at a picture that was ordered before, and fetch it when it is there",
    "estimate": "say what a picture would cost; orders nothing",
    "account": "show the balance, what was spent today, and what your limits leave",
    "history": "list the pictures that were asked for, or forget them",
    "gallery": "look at the pictures in the browser, and go on with them there; on this computer only",
    "recover": "fetch pictures that were finished while nobody waited, for example after a crash",
    "install": "add this server to a host's config: Claude Desktop, Cursor, VS Code and seven more",
    "uninstall": "take it out of a host's config again",
    "token": "give the callers of a server for many their tokens, and take them back",
    "simulate": "serve a simulated RunAPI, to develop any client against",
}


INTERRUPTED = 130
"""The exit code of what a person stopped with Ctrl-C."""
EPILOG = (
    "exit codes: 0 done, 2 an argument, a setting or the key cannot be used, 130 stopped with Ctrl-C, 141 nobody reads "
    "what is printed. `COMMAND --help` says which others a command has, and what these mean for it."
)


def main(arguments: Sequence[str] | None = None, *, once_loaded: Callable[[], None] = lambda: None) -> None:
    """Run the command line; without a command, serve over stdio. Calls `once_loaded` when the command is imported."""
    try:
        given = _with_command(list(sys.argv[1:] if arguments is None else arguments))
        chosen = next((word for word in given if not word.startswith("-")), None)
        # A host starts `serve` anywhere: what is said there has to work in every folder.
        started_as(sys.argv[0], folder=None if chosen == "serve" else Path.cwd())
        if chosen is not None and chosen not in COMMANDS:
            print(f"flux2-mcp: {_no_such(chosen)}", file=sys.stderr)
            sys.exit(2)
        options = _parsed(_parser(only=chosen), given)
        once_loaded()
        sys.exit(options.run(options))
    except Flux2Error as error:
        print(f"flux2-mcp: {error.typed}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OSError as error:
        if not nobody_reads(error):
            raise
        # Whoever read it has read enough. If only stderr is read no more, stdout has yet to be told.
        with suppress(OSError):
            sys.stdout.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(NOBODY_READS)


def _with_command(given: list[str]) -> list[str]:
    """What was typed, with its command first: `serve` when there is none, and --help for the word help."""
    if not given or (given[0].startswith("-") and not {"-h", "--help", "--version"} & {*given}):
        return ["serve", *given]
    return [*given[1:2], "--help"] if given[0] == "help" else given


def _parsed(parser: _Parser, given: Sequence[str]) -> argparse.Namespace:
    options, left = parser.parse_known_args(given)
    words = [each for each in left if not each.startswith("-")]
    if words != left:
        _refuse(parser, given, left)
    if words and "source" in options:
        # argparse looks for a list of files before the first option only.
        options.source = [*options.source, *words]
    elif words and "prompt" in options:
        whole = command(f'{given[0]} "{" ".join([options.prompt, *words])}"')
        parser.prog = f"{parser.prog} {given[0]}"
        parser.error(f"put the prompt in quotes, so that it is one argument: {whole}")
    elif words:
        _refuse(parser, given, words)
    return options


def _refuse(parser: _Parser, given: Sequence[str], left: Sequence[str]) -> NoReturn:
    """Say which words the command has no use for, and where its help is."""
    wrong = next((each.partition("=")[0] for each in left if each.startswith("--")), "")
    known = re.findall(r"--[a-z][a-z-]*", parser.of_command.format_help()) if parser.of_command else []
    close = difflib.get_close_matches(wrong, known, n=1)
    parser.prog = f"{parser.prog} {given[0]}"
    parser.error(f"unrecognized arguments: {' '.join(left)}{f' (did you mean {close[0]}?)' if close else ''}")


class _Parser(argparse.ArgumentParser):
    """argparse with errors of one line: what is wrong, and where the help is. Options are written out.

    A part of a name that is enough today would be one of two when an option is added.
    """

    of_command: argparse.ArgumentParser | None = None
    """That of the command that is meant."""

    def __init__(self, *, allow_abbrev: bool = False, **about: Any) -> None:  # noqa: ANN401 as argparse has it
        super().__init__(allow_abbrev=allow_abbrev, **about)

    def error(self, message: str) -> NoReturn:
        help_of_it = command(" ".join([*self.prog.split()[1:], "--help"]))
        self.exit(2, f"flux2-mcp: {message}. `{help_of_it}` says more.\n")


def _no_such(word: str) -> str:
    close = difflib.get_close_matches(word, COMMANDS, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"There is no command {word[:40]!r}.{hint} `{command('--help')}` lists them all."


def _parser(*, only: str | None) -> _Parser:
    parser = _Parser(
        prog="flux2-mcp",
        description="Pictures by RunAPI's Flux 2 models, for MCP hosts such as Claude and Cursor.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"flux2-mcp {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, about in COMMANDS.items():
        declared = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
        if name == only:
            import_module(f"flux2_mcp.cli.{name}").add_arguments(declared)
            parser.of_command = declared
    return parser
