"""flux2-mcp token: give the callers of a server for many their tokens, and take them back."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from flux2_mcp.app_state import data_folder
from flux2_mcp.callers import tokens
from flux2_mcp.callers.configured import tokens_file
from flux2_mcp.invocation import command
from flux2_mcp.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `token` takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="add | list | revoke")
    add = actions.add_parser("add", help="make a token for a caller, and print it: it is told only this once")
    add.add_argument("name", metavar="NAME", help="what the caller is called; letters, digits and . _ @ -")
    add.add_argument("--max-cost-per-call", metavar="USD", help="instead of FLUX2_MAX_COST_PER_CALL")
    add.add_argument("--daily-budget", metavar="USD", help="instead of FLUX2_DAILY_BUDGET")
    add.add_argument("--confirm-over", metavar="USD", help="instead of FLUX2_CONFIRM_OVER")
    actions.add_parser("list", help="list the callers and their limits")
    revoke = actions.add_parser("revoke", help="take a caller's token back; a running server knows it a second later")
    revoke.add_argument("name", metavar="NAME")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Change or show the file of tokens; gives the exit code.

    Raises:
        BadSetting: The file, a name or a limit cannot be used.
    """
    settings, home = Settings.from_environ(os.environ), Path.home()
    path = tokens_file(settings, home=home, folder=data_folder(settings, home=home))
    if options.action == "add":
        limits = {
            "max_cost_per_call": options.max_cost_per_call,
            "daily_budget": options.daily_budget,
            "confirm_over": options.confirm_over,
        }
        token = tokens.add(path, options.name, {name: value for name, value in limits.items() if value is not None})
        print(token)
    elif options.action == "revoke":
        tokens.revoke(path, options.name)
        print(f"{options.name} has no token any more.")
    else:
        known = tokens.entries(path)
        if not known:
            print(f"Nobody has a token yet; `{command('token add NAME')}` makes one.", file=sys.stderr)
        for entry in known:
            print(" ".join([entry.name, *(f"{name}={value}" for name, value in entry.stated.items())]))
    return 0
