"""How many calls a server answers in a second: cheap ones beside a bare server, pictures beside a thin proxy."""

from __future__ import annotations

from itertools import repeat
from time import monotonic

import anyio

from benchmarks.report import Report, Row, main, middle
from benchmarks.runapi import PlainRunAPI
from benchmarks.servers import BARE, OURS, PLAIN, THIN, Message, Server, running, served
from benchmarks.waiting import tiny_picture

CALLS = 400
AT_ONCE = 20
ROUNDS = 3

# Each is answered without asking anybody else: ours refuses before anything is opened or sent.
QUESTIONS: dict[str, tuple[str, Message, Message]] = {
    "tools/list": ("tools/list", {}, {}),
    "tools/call": (
        "tools/call",
        {"name": "add", "arguments": {"a": 1, "b": 2}},
        {"name": "generate", "arguments": {"prompt": "a fox", "colour": "red"}},
    ),
}


CROWD = 100
PICTURES = 400


async def measure() -> Report:
    """The servers in turn."""
    paces: dict[tuple[str, str], list[float]] = {}
    async with running(BARE) as bare, running(OURS) as ours:
        for _ in range(ROUNDS):
            for name, (method, to_bare, to_ours) in QUESTIONS.items():
                for server, process, params in (("bare MCPServer", bare, to_bare), ("flux2-mcp", ours, to_ours)):
                    paces.setdefault((server, name), []).append(await _pace(process, method, params))
    rows: list[Row] = [
        {"server": server, "calls": name, "per second": middle(paces[server, name])}
        for name in QUESTIONS
        for server in ("bare MCPServer", "flux2-mcp")
    ]
    finished: dict[str, list[float]] = {"thin proxy": [], "flux2-mcp": []}
    for _ in range(ROUNDS):
        for name, command in (("thin proxy", THIN), ("flux2-mcp", OURS)):
            finished[name].append(await _finished(command))
    rows += [
        {"server": name, "calls": f"generate, {CROWD} at once", "per second": middle(paces)}
        for name, paces in finished.items()
    ]
    return Report(f"Calls per second; the cheap ones {AT_ONCE} at once: a refused call beside an addition", rows)


async def _finished(command: tuple[str, ...]) -> float:
    """Finished generates per second, of tasks that are over at the first look."""
    runapi = PlainRunAPI(repeat(0.0), tiny_picture())
    prompts = iter(f"fox {n}" for n in range(PICTURES))
    async with served(runapi) as base_url, running(command, base_url, PLAIN) as server:
        await server.call("generate", {"prompt": "the first"})

        async def some() -> None:
            for prompt in prompts:
                await server.call("generate", {"prompt": prompt})

        began = monotonic()
        async with anyio.create_task_group() as group:
            for _ in range(CROWD):
                group.start_soon(some)
        return PICTURES / (monotonic() - began)


async def _pace(server: Server, method: str, params: Message) -> float:
    async def some() -> None:
        for _ in range(CALLS // AT_ONCE):
            await server.request(method, params)

    began = monotonic()
    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(some)
    return CALLS / (monotonic() - began)


if __name__ == "__main__":
    main(measure)
