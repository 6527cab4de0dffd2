"""flux2-mcp install: add one entry to a host's config, and change nothing else in it."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from flux2_mcp.cli.config_editors import Setting
from flux2_mcp.cli.config_files import ConfigFile
from flux2_mcp.cli.hosts import HOSTS, KEY, NAME, Host, Machine
from flux2_mcp.cli.launch import Start, start
from flux2_mcp.errors import BadSetting, UnreadableConfig
from flux2_mcp.invocation import command
from flux2_mcp.settings import Settings

FOLDERS = ("FLUX2_OUTPUT_DIR", "FLUX2_DATA_DIR", "RUNAPI_CONFIG_DIR")
"""Settings that must be absolute paths: a host may start us in any folder."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `install` takes."""
    add_host_arguments(parser)
    parser.add_argument("--print", action="store_true", help="show the entry and where it would go; change nothing")
    parser.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="a setting, such as FLUX2_OUTPUT_DIR=~/Art"
    )
    parser.add_argument(
        "--key-from-env",
        action="store_true",
        help=f"let the host hand on its own {KEY}; otherwise the key that `{command('login')}` saved is used",
    )
    parser.set_defaults(run=run)


def add_host_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which config is meant."""
    parser.add_argument("host", choices=list(HOSTS), metavar="HOST", help=", ".join(HOSTS))
    parser.add_argument(
        "--project",
        nargs="?",
        const=".",
        metavar="FOLDER",
        help="the config of this project only, if the host has one (default: the current folder)",
    )


def run(options: argparse.Namespace) -> int:
    """Write the entry, and print where."""
    machine = Machine(Path.home(), os.environ, sys.platform)
    return install(options, machine, start(os.environ, to_share=options.project is not None))


def install(options: argparse.Namespace, machine: Machine, program: Start) -> int:
    """Write the entry that starts this program.

    Raises:
        BadSetting: What was asked for makes no sense in this host.
        UnreadableConfig: The config file is left alone, and the entry is there to be pasted.
    """
    host = HOSTS[options.host]
    env = _env(options.env, machine) | _key(host, asked=options.key_from_env)
    entry = NewEntry(host, program, env, key_listed=options.key_from_env and host.key_list is not None)
    path = config_path(host, machine, options.project)
    if options.print:
        return _print_entry(entry, path)
    is_here = options.project is not None or path.parent.is_dir()
    try:
        file = ConfigFile.read(path)
        text = entry.text(file.text or "")
        backup = file.replace(text) if text != file.text else None
    except UnreadableConfig as error:
        remedy = f"{error.typed_remedy} This is the entry, to add it by hand:\n\n{entry.snippet()}".lstrip()
        msg = (
            error.typed_message
            if str(path) in error.typed_message
            else f"{path} was left as it is. {error.typed_message}"
        )
        raise UnreadableConfig(msg, remedy=remedy) from None
    _print_result(entry, file, text, backup, options)
    if not is_here:
        print(f"There was no folder {path.parent}: if {host.title} is not on this computer yet, install it.")
    return 0


def config_path(host: Host, machine: Machine, project: str | None) -> Path:
    """The file to change: the project's, or the first of the person's whose folder is there.

    Raises:
        BadSetting: This host has no config for projects.
    """
    if project is None:
        paths = host.config_paths(machine)
        return next((path for path in paths if path.parent.is_dir()), paths[-1])
    if host.project is None:
        msg = f"{host.title} has no config for a project, only one for a person."
        raise BadSetting(msg, remedy="Leave --project out.")
    return Path(project).expanduser().absolute().joinpath(*host.project)


@dataclass(frozen=True)
class NewEntry:
    """Our entry as it should be in a host's config."""

    host: Host
    program: Start
    env: Mapping[str, str]
    key_listed: bool = False

    def text(self, old: str) -> str:
        """The config with our entry in it.

        Raises:
            UnreadableConfig: The old text is not understood, or would change in more than our entry.
        """
        path = (*self.host.section, NAME)
        members = self._members(self.host.entries(old).get(NAME))
        if isinstance(members, dict):
            new = self.host.format.put(old, path, members)
        else:
            new = old
            for keys, value in members:
                new = self.host.format.put(new, (*path, *keys), value)
        return checked_edit(self.host, old, new)

    def snippet(self) -> str:
        """A config with nothing but our entry."""
        return self.host.format.put("", (*self.host.section, NAME), self._fresh())

    def _fresh(self) -> dict[str, Setting]:
        keys = self.host.keys
        entry: dict[str, Setting] = {**self.host.extras, keys.command: self.program.command}
        entry[keys.args] = list(self.program.args)
        if self.env:
            entry[keys.env] = dict(self.env)
        if self.key_listed and self.host.key_list:
            entry[self.host.key_list] = [KEY]
        return entry

    def _members(self, present: object) -> dict[str, Setting] | list[tuple[tuple[str, ...], Setting]]:
        """A whole entry, or the members to set in an existing one, so that what a person added to it stays."""
        keys = self.host.keys
        if not isinstance(present, Mapping) or keys.command not in present:
            return self._fresh()
        there = cast("Mapping[str, object]", present)
        members: list[tuple[tuple[str, ...], Setting]] = [
            ((name,), value) for name, value in self._fresh().items() if name in {keys.command, keys.args}
        ]
        members += [((name,), value) for name, value in self.host.extras.items() if name not in there]
        if isinstance(there.get(keys.env), Mapping):
            members += [((keys.env, name), value) for name, value in self.env.items()]
        elif self.env:
            members.append(((keys.env,), dict(self.env)))
        if self.key_listed and self.host.key_list:
            listed = there.get(self.host.key_list)
            names = [str(each) for each in cast("list[object]", listed)] if isinstance(listed, list) else []
            members.append(((self.host.key_list,), list(dict.fromkeys([*names, KEY]))))
        return members


def checked_edit(host: Host, old: str, new: str) -> str:
    """The new text, once it is certain that nothing but our entry differs.

    Raises:
        UnreadableConfig: Something else does.
    """
    if _others(host, new) != _others(host, old):
        msg = "Its layout is one that cannot be changed safely from here."
        raise UnreadableConfig(msg)
    return new


def _others(host: Host, text: str) -> object:
    """Everything in the config but our entry, and without empty sections."""
    config = cast("dict[str, object]", _as_dicts(host.format.read(text)))
    section = config
    parents: list[dict[str, object]] = []
    for key in host.section:
        inner = section.get(key)
        if not isinstance(inner, dict):
            return config
        parents.append(section)
        section = cast("dict[str, object]", inner)
    section.pop(NAME, None)
    for key, parent in zip(reversed(host.section), reversed(parents), strict=True):
        if not parent[key]:
            del parent[key]
    return config


def _as_dicts(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _as_dicts(each) for key, each in cast("Mapping[object, object]", value).items()}
    return value


def _env(given: Sequence[str], machine: Machine) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    for name, equals, value in pairs:
        if name == KEY:
            msg = f"{KEY} does not belong on a command line or in this file: others can read both."
            raise BadSetting(
                msg, remedy=f"Run `{command('login')}`, which saves it once for every host, or use --key-from-env."
            )
        if not equals or not re.fullmatch(r"\w+", name) or not value:
            msg = "--env takes NAME=VALUE, such as --env FLUX2_OUTPUT_DIR=~/Art."
            raise BadSetting(msg)
    env = {name: _absolute(value, machine) if name in FOLDERS else value for name, _, value in pairs}
    known = {str(field.alias) for field in Settings.model_fields.values()}
    if unknown := [name for name in env if name.startswith(("FLUX2_", "RUNAPI_")) and name not in known]:
        settings = ", ".join(sorted(name for name in known - {KEY} if name.startswith(("FLUX2_", "RUNAPI_"))))
        msg = f"There is no setting {unknown[0]}. There are {settings}."
        raise BadSetting(msg)
    Settings.from_environ(env)
    return env


def _absolute(folder: str, machine: Machine) -> str:
    # ~ by hand, because the home folder is passed in.
    return str(machine.home / folder[2:] if folder.startswith("~/") else Path(folder).absolute())


def _key(host: Host, *, asked: bool) -> dict[str, str]:
    if not asked or host.key_list:
        return {}
    if host.key_reference is None:
        msg = f"{host.title} cannot refer to a variable of its environment."
        raise BadSetting(msg, remedy=f"Leave --key-from-env out, and run `{command('login')}` once.")
    return {KEY: host.key_reference}


def _print_entry(entry: NewEntry, path: Path) -> int:
    print(f"This would go into {path}, beside what is there:", file=sys.stderr)
    print(entry.snippet(), end="")
    return 0


def _kept(entry: NewEntry, text: str) -> str:
    """The settings that the entry has from before; without their values, which may be secret, but for the address."""
    now = entry.host.entry(text)
    names = [name for name in now.env if name not in entry.env] if now else []
    return ", ".join(f"{name}={now.env[name]}" if now and name == "RUNAPI_BASE_URL" else name for name in names)


def _print_result(
    entry: NewEntry, file: ConfigFile, text: str, backup: Path | None, options: argparse.Namespace
) -> None:
    host, program = entry.host, entry.program
    lines = [
        f"{host.title} starts flux2-mcp now: see {NAME} in {file.path}.",
        f"Command: {' '.join((program.command, *program.args))}",
    ]
    if text == file.text:
        lines = [f"{host.title} starts flux2-mcp already: see {NAME} in {file.path}. Nothing was changed."]
    if backup:
        lines.append(f"The file as it was: {backup}")
    if kept := _kept(entry, text):
        where = "" if options.project is None else f" --project {options.project}"
        uninstall = command(f"uninstall {host.name}{where}")
        lines.append(f"It still has {kept}, from before. `{uninstall}` takes that out, too.")
    lines += [
        f"Beside it {name} starts flux2-mcp too: remove one, or every tool is there twice."
        for name in host.names_of_ours(text)
        if name != NAME
    ]
    if options.project is not None and program.only_here:
        lines.append("The command is a path on this machine: others who use this project need their own.")
    if not options.key_from_env:
        lines.append(f"Key: the one that `{command('login')}` saves, once for every host.")
    print("\n".join((*lines, f"Next: {host.restart}.")))
