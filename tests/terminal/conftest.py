"""Commands as a person types them; in this process, where a start costs nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import pytest

from flux2_mcp.cli import main
from tests.processes import environment


@dataclass
class Ended:
    """What a command printed, and its exit code."""

    code: object
    out: str
    err: str


Command = Callable[..., Awaitable[Ended]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `flux2-mcp ARGUMENTS` against a RunAPI, with a home of its own."""

    async def run(*arguments: str, base_url: str = "https://runapi.test", **environ: str) -> Ended:
        for name, value in {**environment(tmp_path, base_url), **environ}.items():
            monkeypatch.setenv(name, value)
        with anyio.fail_after(30):
            code = await anyio.to_thread.run_sync(partial(_exit_code, arguments))
        out, err = capsys.readouterr()
        return Ended(code, out, err)

    return run


def _exit_code(arguments: tuple[str, ...]) -> object:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code
