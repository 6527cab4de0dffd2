"""A pytest plugin: a real PostgreSQL for tests that need one, and for suites that run on it (make test-postgresql)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from tests.databases import VARIABLE, schema_for

OPTION = "--on-postgresql"
ABOUT_FILES = "history_file"
SETTINGS = (
    "fsync=off",
    "full_page_writes=off",
    "max_connections=300",
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
)
WHY_NOT = "PostgreSQL is not installed (Debian's package postgresql)"


@dataclass
class Cluster:
    """A PostgreSQL server of its own, with its data in memory where that is possible."""

    binaries: Path
    data: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def url_for(self, folder: Path) -> str:
        """The address of a schema of its own, for the history of this data folder."""
        return schema_for(self.url, folder)

    def start(self) -> None:
        settings = " ".join(f"-c {each}" for each in (f"port={self.port}", *SETTINGS))
        self._pg_ctl("-w", "-l", str(self.data / "log"), "-o", settings, "start")

    def stop(self, how: str = "immediate") -> None:
        self._pg_ctl("-w", "-m", how, "stop")

    def _pg_ctl(self, *arguments: str) -> None:
        _run(self.binaries / "pg_ctl", "-D", str(self.data), *arguments)


@contextmanager
def running() -> Generator[Cluster]:
    """A server until this ends; skips the test where there can be none."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip(WHY_NOT)
    # Not pytest's folder: the server's user may not go into it.
    memory = Path("/dev/shm")  # noqa: S108 made for this
    data = Path(mkdtemp(prefix="flux2-postgresql-", dir=memory if memory.is_dir() else None))
    try:
        if user := _user():
            shutil.chown(data, user)
        _run(binaries / "initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        cluster = Cluster(binaries, data, port)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(data)


def _binaries() -> Path | None:
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    # Where Debian has them.
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: int(path.parent.name))


def _user() -> str | None:
    """As whom to run it: it refuses to run as root."""
    return "postgres" if hasattr(os, "geteuid") and os.geteuid() == 0 else None


def _run(program: Path, *arguments: str) -> None:
    as_user: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if (user := _user()) else {}
    subprocess.run(  # noqa: S603 PostgreSQL's own programs
        [program, *arguments], check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **as_user
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, action="store_true", help="keep every history on a PostgreSQL server")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with running() as cluster:
        yield cluster


@pytest.fixture(scope="session", autouse=True)
def where_histories_are(request: pytest.FixtureRequest) -> Iterator[None]:
    if not request.config.getoption(OPTION):
        yield
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    os.environ[VARIABLE] = cluster.url
    yield
    del os.environ[VARIABLE]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about the file."""
    if config.getoption(OPTION):
        left_out = [item for item in items if item.get_closest_marker(ABOUT_FILES)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
