"""From spawning to the first answers, and from the end of stdin to the end of the process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep

from benchmarks.report import Goal, Report, Row, main, middle
from tests.processes import ABOUT, MODERN, Message, environment

RUNS = 7
IDLE = 0.1
"""Seconds between the last answer and the end of stdin: a host seldom hangs up in the same instant."""

HELLO: Message = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": ABOUT}
SERVERS = {"bare MCPServer": "benchmarks.bare", "flux2-mcp": "flux2_mcp"}

Times = dict[str, list[float]]


async def measure() -> Report:
    """Start both servers in turn, many times, in both protocol eras."""
    seen: dict[tuple[str, str], Times] = {}
    with TemporaryDirectory() as home:
        for _ in range(RUNS):
            for era in ("legacy", "modern"):
                for name, module in SERVERS.items():
                    times = seen.setdefault((name, era), {"first answer": [], "tools/list": [], "exit": []})
                    for step, took in _one_run(module, era, Path(home)).items():
                        times[step].append(took)
    rows: list[Row] = [
        {"server": name, "era": era, **{f"{step}, ms": middle(took) * 1000 for step, took in times.items()}}
        for (name, era), times in seen.items()
    ]
    ours, bare = seen["flux2-mcp", "legacy"], seen["bare MCPServer", "legacy"]
    exits = [middle(seen["flux2-mcp", era]["exit"]) for era in ("legacy", "modern")]
    return Report(
        f"Start, medians of {RUNS} interleaved runs",
        rows,
        [
            Goal("initialize, beside a bare MCPServer", _ratio(ours, bare), 1.10, "×"),
            Goal("exit after EOF, in the slower era", max(exits) * 1000, 30, "ms"),
        ],
    )


def _ratio(ours: Times, bare: Times) -> float:
    return middle(ours["first answer"]) / middle(bare["first answer"])


def _one_run(module: str, era: str, home: Path) -> dict[str, float]:
    began = perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(home, "http://127.0.0.1:9"),
    ) as process:
        if era == "legacy":
            _asked(process, 1, "initialize", HELLO)
            first = perf_counter()
            _tell(process, {"method": "notifications/initialized"})
            _asked(process, 2, "tools/list", {})
        else:
            _asked(process, 1, "server/discover", {"_meta": MODERN})
            first = perf_counter()
            _asked(process, 2, "tools/list", {"_meta": MODERN})
        listed = perf_counter()
        sleep(IDLE)
        assert process.stdin
        hung_up = perf_counter()
        process.stdin.close()
        process.wait()
        return {"first answer": first - began, "tools/list": listed - began, "exit": perf_counter() - hung_up}


def _asked(process: subprocess.Popen[bytes], number: int, method: str, params: Message) -> None:
    _tell(process, {"id": number, "method": method, "params": params})
    assert process.stdout
    while json.loads(process.stdout.readline()).get("id") != number:
        pass


def _tell(process: subprocess.Popen[bytes], message: Message) -> None:
    assert process.stdin
    process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    process.stdin.flush()


if __name__ == "__main__":
    main(measure)
