"""Whether the hosts on this computer would start us: our entries are run as they stand, and no others."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import TextIO

import anyio
from mcp import MCPError, StdioServerParameters
from mcp.client import Client
from mcp.client.stdio import stdio_client
from mcp_types import Implementation

from flux2_mcp import __version__
from flux2_mcp.cli.config_files import ConfigFile
from flux2_mcp.cli.doctor.checks.finding import Computer, Finding
from flux2_mcp.cli.doctor.checks.upstream import unreachable
from flux2_mcp.cli.hosts import HOSTS, KEY, NAME, Entry, Host, runs_us
from flux2_mcp.credentials import checked_key, masked
from flux2_mcp.errors import BadSetting, NoApiKey, UnreadableConfig, UnusableApiKey
from flux2_mcp.invocation import command
from flux2_mcp.settings import PLACEHOLDER, Settings, misspelt

LONGEST_EXCERPT = 200


async def hosts(computer: Computer) -> AsyncGenerator[Finding, None]:
    """One finding for each config that mentions us."""
    found = False
    for host in HOSTS.values():
        for path in await anyio.to_thread.run_sync(host.config_paths, computer):
            if finding := await _host(computer, host, path):
                found = True
                yield finding
    if not found:
        yield Finding("Hosts", f"none on this computer has flux2-mcp yet; `{command('install HOST')}` adds it")


async def _host(computer: Computer, host: Host, path: Path) -> Finding | None:
    try:
        text = (await anyio.to_thread.run_sync(ConfigFile.read, path)).text or ""
        entry = host.entry(text) if "flux2" in text else None
    except UnreadableConfig as error:
        return Finding.of(host.title, error, fix=f"Fix {path}; {host.title} cannot read it either.")
    if entry is None:
        return None
    if not runs_us(entry):
        message = f"its entry flux2 in {path} starts something else: {entry.command}"
        return Finding(host.title, message, _reinstall(host))
    started = await _started(computer, host, entry)
    return await _settings_problem(computer, host, entry, path) or started if started.is_ok else started


async def _settings_problem(computer: Computer, host: Host, entry: Entry, path: Path) -> Finding | None:
    """What the entry's own settings would do to a server that starts; no value of a key is ever quoted."""
    fix = f"Correct it in {path}, under {'.'.join((*host.section, NAME))}."
    unfilled = [name for name, value in entry.env.items() if PLACEHOLDER.fullmatch(value) and not host.fills_in(value)]
    if unfilled:
        message = f"its entry leaves {', '.join(unfilled)} to a placeholder that {host.title} does not fill in."
        return Finding(host.title, message, fix)
    if message := misspelt(entry.env):
        return Finding(host.title, f"in its entry: {message}", f"{fix} Until then it has no effect.")
    try:
        settings = Settings.from_environ(_own(entry))
        if settings.api_key is not None:
            checked_key(settings.api_key.get_secret_value(), KEY)
    except (BadSetting, NoApiKey, UnusableApiKey) as error:
        return Finding.of(host.title, error, fix=fix)
    if settings.base_url and (problem := await unreachable(computer, settings.base_url, settings.dialect)):
        return Finding(host.title, f"RUNAPI_BASE_URL in its entry: {problem}", fix)
    return None


async def _started(computer: Computer, host: Host, entry: Entry) -> Finding:
    """Start it as the host would, and list its tools."""
    with await anyio.to_thread.run_sync(
        partial(tempfile.TemporaryFile, "w+", encoding="utf-8", errors="replace")
    ) as log:
        try:
            with anyio.fail_after(computer.host_timeout):
                return await _listed(computer, host, entry, log)
        except FileNotFoundError:
            return Finding(host.title, f"starts {entry.command}, which is not there.", _reinstall(host))
        except TimeoutError:
            message = f"{_command_line(entry)} does not answer within {computer.host_timeout:.0f} s."
            return Finding(host.title, message, f"Run it in a terminal to see why. {_reinstall(host)}")
        except (MCPError, OSError, ExceptionGroup):
            said = _without_key(await anyio.to_thread.run_sync(_last_line, log), entry)
            message = f"{_command_line(entry)} does not start" + (f": {said}" if said else ".")
            return Finding(host.title, message, _reinstall(host))


async def _listed(computer: Computer, host: Host, entry: Entry, log: TextIO) -> Finding:
    parameters = StdioServerParameters(
        command=entry.command, args=list(entry.args), env=_environment(entry), cwd=computer.home
    )
    about = Implementation(name="flux2-mcp-doctor", version=__version__)
    async with Client(stdio_client(parameters, errlog=log), client_info=about, mode="legacy") as client:
        server, tools = client.server_info, (await client.list_tools()).tools
    if server is None or server.name != "flux2":
        return Finding(host.title, f"{_command_line(entry)} is another server.", _reinstall(host))
    if server.version != __version__:
        message = f"starts another version, {server.version}; this is {__version__}."
        return Finding(host.title, message, f"Update that one. Or else: {_reinstall(host)}")
    key = entry.env.get("RUNAPI_API_KEY", "")
    with_key = f", with the key {masked(key)}" if key and not PLACEHOLDER.fullmatch(key) else ""
    return Finding(host.title, f"starts it and sees {len(tools)} tools{with_key}")


def _environment(entry: Entry) -> dict[str, str]:
    """The entry's own, without what only the host can fill in. Without a history no open order is fetched."""
    return {**_own(entry), "FLUX2_HISTORY": "off"}


def _own(entry: Entry) -> dict[str, str]:
    return {name: value for name, value in entry.env.items() if not PLACEHOLDER.fullmatch(value)}


def _reinstall(host: Host) -> str:
    return f"Run `{command(f'install {host.name}')}`."


def _command_line(entry: Entry) -> str:
    return _without_key(" ".join((entry.command, *entry.args)), entry)[:LONGEST_EXCERPT]


def _without_key(text: str, entry: Entry) -> str:
    """The text with the key of the config masked."""
    key = entry.env.get("RUNAPI_API_KEY", "")
    return text.replace(key, masked(key)) if key else text


def _last_line(log: TextIO) -> str:
    log.seek(0)
    lines = [line.strip() for line in log.read().splitlines() if line.strip()]
    return lines[-1][:LONGEST_EXCERPT] if lines else ""
