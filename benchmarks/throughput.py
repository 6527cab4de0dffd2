"""How many cheap calls a server answers in a second, beside a bare one."""

from __future__ import annotations

from time import monotonic

import anyio

from benchmarks.report import Report, Row, main, middle
from benchmarks.servers import BARE, OURS, Message, Server, running

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


async def measure() -> Report:
    """Both servers in turn."""
    paces: dict[tuple[str, str], list[float]] = {}
    async with running(BARE) as bare, running(OURS) as ours:
        for _ in range(ROUNDS):
            for name, (method, to_bare, to_ours) in QUESTIONS.items():
                for server, process, params in (("bare MCPServer", bare, to_bare), ("flux2-mcp", ours, to_ours)):
                    paces.setdefault((server, name), []).append(await _pace(process, method, params))
    rows: list[Row] = [
        {"server": server, **{f"{name} per second": middle(paces[server, name]) for name in QUESTIONS}}
        for server in ("bare MCPServer", "flux2-mcp")
    ]
    return Report(f"Cheap calls, {AT_ONCE} at once; a refused call beside an addition", rows)


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
