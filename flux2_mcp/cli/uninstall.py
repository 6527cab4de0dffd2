"""flux2-mcp uninstall: take our entry out of a host's config, and leave the rest."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from flux2_mcp.cli.config_files import ConfigFile
from flux2_mcp.cli.hosts import HOSTS, NAME, Machine
from flux2_mcp.cli.install import add_host_arguments, checked_edit, config_path
from flux2_mcp.errors import UnreadableConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `uninstall` takes."""
    add_host_arguments(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Take the entry out, and print where it was."""
    return uninstall(options, Machine(Path.home(), os.environ, sys.platform))


def uninstall(options: argparse.Namespace, machine: Machine) -> int:
    """Take our entry out of every config of the host's that has it.

    Raises:
        UnreadableConfig: A config file is left alone.
    """
    host = HOSTS[options.host]
    paths = host.config_paths(machine)
    if options.project is not None:
        paths = [config_path(host, machine, options.project)]
    removed = False
    for file in map(ConfigFile.read, paths):
        if file.text is None:
            continue
        try:
            text = checked_edit(host, file.text, host.format.drop(file.text, (*host.section, NAME)))
        except UnreadableConfig as error:
            msg = f"{file.path} was left as it is. {error.typed_message}"
            raise UnreadableConfig(msg, remedy=f"Remove {NAME} from {'.'.join(host.section)} by hand.") from None
        if text != file.text:
            backup = file.replace(text)
            print(f"{host.title} does not start flux2-mcp any more: {NAME} is gone from {file.path}.")
            print(f"The file as it was: {backup}")
            print(f"Next: restart {host.title}, or start a new session; until then it goes on with what it started.")
            removed = True
        for name in host.names_of_ours(text):
            print(f"{name} in {file.path} starts flux2-mcp too. It is not ours, so it stays.")
    if not removed:
        print(f"There is no entry {NAME} in {host.title}'s config: {', '.join(map(str, paths))}.")
    return 0
