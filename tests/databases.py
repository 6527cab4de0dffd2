"""Where the histories of tests are: in their folders, or on a server when the suite runs on one."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from flux2_mcp.history import FILE_NAME, History

VARIABLE = "TESTS_DATABASE_URL"
"""Where every history of these tests is kept; the processes that they start inherit it."""


@cache
def schema_for(base: str, folder: Path) -> str:
    """The address of a schema of its own, for the history of this data folder."""
    name = f"folder_{hashlib.sha256(str(folder).encode()).hexdigest()[:20]}"
    with psycopg.connect(base, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {name}".encode())
    return f"{base}?options={quote(f'-csearch_path={name}')}"


def database_url(folder: Path) -> str | None:
    """Where the history of this data folder is kept; None when in the folder."""
    if not (base := os.environ.get(VARIABLE)):
        return None
    return schema_for(base, folder)


def database_setting(environ: dict[str, str]) -> dict[str, str]:
    """These variables, and where their history is."""
    folder = environ.get("FLUX2_DATA_DIR")
    url = database_url(Path(folder)) if folder else None
    return {"FLUX2_DATABASE_URL": url, **environ} if url else environ


def history_in(folder: Path | None, *, url: str | None = None, **more: Any) -> History:  # noqa: ANN401 as History takes
    """The history of this data folder, wherever it is kept, or the one at this address."""
    return History(folder, url=url or (database_url(folder) if folder else None), **more)


def execute(folder: Path, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Run a statement, with ? for its parameters, on the history of this data folder as another program would."""
    if url := database_url(folder):
        with psycopg.connect(url, autocommit=True) as server:
            cursor = server.execute(statement.replace("?", "%s").encode(), parameters)
            return cursor.fetchall() if cursor.description else []
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as file:
        return file.execute(statement, parameters).fetchall()


@contextmanager
def locked(folder: Path, *, also_for_readers: bool = False) -> Generator[None]:
    """Another program holds the history."""
    if url := database_url(folder):
        mode = "ACCESS EXCLUSIVE" if also_for_readers else "EXCLUSIVE"
        with psycopg.connect(url) as server:
            server.execute(f"LOCK TABLE orders IN {mode} MODE".encode())
            yield
        return
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as file:
        file.execute(f"PRAGMA locking_mode = {'EXCLUSIVE' if also_for_readers else 'NORMAL'}")
        file.execute(f"BEGIN {'EXCLUSIVE' if also_for_readers else 'IMMEDIATE'}")
        yield


def copy(old: Path, new: Path) -> None:
    """Have a second history that is what the first is at this instant."""
    if (url := database_url(old)) and (other := database_url(new)):
        there = other.rpartition("%3D")[2]
        with psycopg.connect(url) as server:
            server.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            for table in ("orders", "schema_version"):
                server.execute(f"CREATE TABLE {there}.{table} (LIKE {table} INCLUDING ALL)".encode())
                server.execute(f"INSERT INTO {there}.{table} SELECT * FROM {table}".encode())  # noqa: S608 names of ours
        return
    new.mkdir()
    with closing(sqlite3.connect(old / FILE_NAME)) as before, closing(sqlite3.connect(new / FILE_NAME)) as after:
        before.backup(after)
