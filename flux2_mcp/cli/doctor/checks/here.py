"""What can be checked on this computer alone."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

import anyio

import flux2_mcp
from flux2_mcp import credentials
from flux2_mcp.app_state import data_folder
from flux2_mcp.cli.doctor.checks.finding import Computer, Finding
from flux2_mcp.errors import BadSetting, HistoryUnusable, NoApiKey, UnusableApiKey
from flux2_mcp.history import FILE_NAME, History
from flux2_mcp.images import default_folder
from flux2_mcp.settings import Settings, misspelt

OLDEST_PYTHON = (3, 11)


def python(computer: Computer) -> Finding:
    """Whether this Python is new enough."""
    version = ".".join(map(str, computer.python))
    if computer.python >= OLDEST_PYTHON:
        return Finding("Python", version)
    return Finding(
        "Python", f"{version} is too old for flux2-mcp", "Install Python 3.11 or newer, and flux2-mcp with it."
    )


def package() -> Finding:
    """Which flux2-mcp this is."""
    return Finding("flux2-mcp", f"{flux2_mcp.__version__} in {Path(flux2_mcp.__file__).parent}")


def settings(computer: Computer) -> Finding:
    """Whether every variable of ours can be used."""
    try:
        given = Settings.from_environ(computer.environ)
    except BadSetting as error:
        return Finding.of("Settings", error)
    if problem := misspelt(computer.environ):
        return Finding("Settings", problem, "Correct the name where it is set; until then it has no effect.")
    names = {name: str(field.alias) for name, field in Settings.model_fields.items()}
    found = sorted(names[name] for name in given.model_fields_set)
    return Finding("Settings", ", ".join(found) if found else "all at their defaults")


async def key(computer: Computer) -> Finding:
    """Whether there is a key, and which; whether RunAPI knows it is another question."""
    try:
        held = await anyio.to_thread.run_sync(partial(credentials.credentials, computer.settings, home=computer.home))
    except (NoApiKey, UnusableApiKey) as error:
        return Finding.of("Key", error)
    source = credentials.source(computer.settings, home=computer.home)
    return Finding("Key", f"{credentials.masked(held.key)} from {source}")


async def folders(computer: Computer) -> AsyncGenerator[Finding, None]:
    """Whether pictures and the history can be kept."""
    yield await anyio.to_thread.run_sync(_pictures, computer)
    yield await _history(computer)


def _pictures(computer: Computer) -> Finding:
    name = "Pictures"
    if computer.settings.save == "off":
        return Finding(name, "are not saved, as FLUX2_SAVE says")
    try:
        folder = default_folder(computer.settings.output_dir, home=computer.home)
    except BadSetting as error:
        return Finding.of(name, error)
    problem = _write_problem(folder)
    fix = "Name another folder in FLUX2_OUTPUT_DIR, or make this one writable." if problem else ""
    return Finding(name, f"{folder}: {problem}" if problem else f"are saved in {folder}", fix)


async def _history(computer: Computer) -> Finding:
    name, mode = "History", computer.settings.history
    if mode == "off":
        return Finding(name, "is not kept, as FLUX2_HISTORY says")
    if computer.settings.database_url:
        return await _history_on_a_server(computer.settings.database_url.get_secret_value())
    folder = data_folder(computer.settings, home=computer.home)
    fix = "Name another folder in FLUX2_DATA_DIR, or make this one writable."
    if problem := await anyio.to_thread.run_sync(_write_problem, folder):
        return Finding(name, f"{folder}: {problem}", fix)
    if not await anyio.Path(folder, FILE_NAME).exists():
        return Finding(name, f"will be kept in {folder}; there is none yet")
    history = History(folder, mode=mode)
    try:
        await history.recent("nobody", limit=1)
        degraded = history.degraded
    except HistoryUnusable as error:
        return Finding(name, error.typed_message, f"{fix} FLUX2_HISTORY=off goes on without a history.")
    finally:
        await history.aclose()
    return Finding(name, degraded, fix) if degraded else Finding(name, f"is kept in {folder}")


async def _history_on_a_server(url: str) -> Finding:
    name, history = "History", History(None, url=url)
    try:
        await history.recent("nobody", limit=1)
    except HistoryUnusable as error:
        return Finding(name, error.typed_message, "See that FLUX2_DATABASE_URL is right, and that its server runs.")
    except BadSetting as error:
        return Finding.of(name, error)
    finally:
        await history.aclose()
    return Finding(name, "is kept on the server of FLUX2_DATABASE_URL")


def _write_problem(folder: Path) -> str:
    """Why nothing can be written there, as it is or once it is made; empty when it can. Leaves nothing behind."""
    # On Windows there may be no such drive.
    nearest = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), Path(folder.anchor))
    if not nearest.is_dir():
        return f"{nearest} is not a folder"
    try:
        with TemporaryFile(dir=nearest):
            return ""
    except OSError as error:
        return f"{nearest} cannot be written to: {error.strerror or type(error).__name__}"
