"""flux2-mcp login: get a key with the browser, or take one from stdin, and save it."""

from __future__ import annotations

import argparse
import os
import sys
from getpass import getpass
from pathlib import Path

import anyio

from flux2_mcp.cli.ports import port
from flux2_mcp.cli.terminal import agreed
from flux2_mcp.errors import LoginFailed
from flux2_mcp.login import PATIENCE, Keyring, LoggedIn, OpenBrowser, login, login_with, open_browser, opened
from flux2_mcp.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `login` takes."""
    parser.add_argument(
        "--token", type=_stdin, metavar="-", help="read a key that you have already from stdin, and check it"
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address; open it on this computer")
    parser.add_argument(
        "--port",
        type=port,
        default=0,
        help="port that the browser comes back to, such as one of a tunnel (default: any)",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before another saved key is replaced")
    parser.epilog = "exit codes: 0 a key that works is saved, 1 not logged in, 130 stopped with Ctrl-C"
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Log in; 0 when a key is saved that works."""
    keyring = Keyring(Settings.from_environ(os.environ), Path.home())
    try:
        if not options.yes and sys.stdin.isatty() and not _may_replace(keyring):
            print("flux2-mcp: not logged in; the saved key stays.", file=sys.stderr)
            return 1
        if options.token:
            logged_in = anyio.run(login_with, _key(), keyring)
        else:
            open_with = _no_browser if options.no_browser else open_browser
            logged_in = anyio.run(_login, keyring, options.port, open_with)
    except LoginFailed as error:
        print(f"flux2-mcp: {error.typed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nflux2-mcp: not logged in.", file=sys.stderr)
        return 130
    print(logged_in)
    return 0


async def _login(keyring: Keyring, port: int, open_with: OpenBrowser) -> LoggedIn:
    async with login(keyring, port=port, in_terminal=True) as waiting:
        print(f"Allow flux2-mcp at RunAPI. The page shows this code too: {waiting.code}\n\n  {waiting.url}\n")
        is_open = await opened(waiting.url, open_with)
        where = "It is open in your browser." if is_open else "Open it in a browser on this computer."
        print(f"{where} Waiting, {PATIENCE / 60:.0f} minutes at most ...", flush=True)
        return await waiting.finished()


def _may_replace(keyring: Keyring) -> bool:
    """Whether the person agrees, where a login would replace a key that still works."""
    anyio.run(keyring.check)
    key = anyio.run(keyring.key_to_replace)
    return not key or bool(agreed(f"Replace the saved key {key}?"))


def _no_browser(_: str) -> bool:
    return False


def _stdin(given: str) -> str:
    if given != "-":
        msg = "write --token - and give the key to stdin: everybody on this computer can read command lines"
        raise argparse.ArgumentTypeError(msg)
    return given


def _key() -> str:
    key = (getpass("RunAPI key: ") if sys.stdin.isatty() else sys.stdin.readline()).strip()
    if not key:
        msg = "No key was given."
        raise LoginFailed(msg, remedy="Type it when asked, or pipe it in.")
    return key
