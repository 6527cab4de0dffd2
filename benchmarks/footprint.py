"""What we take: memory of the machine, and words of the model's context."""

from __future__ import annotations

import json

import anyio

from benchmarks.report import Goal, Report, main
from benchmarks.runapi import PlainRunAPI
from benchmarks.servers import BARE, OURS, running, served
from benchmarks.waiting import tiny_picture

SETTLED = 4.0
"""Seconds after which everything that is done in the background of a start is done."""


async def measure() -> Report:
    """An idle server, one picture, and every text that reaches the model."""
    async with running(BARE) as bare:
        bare_idle = bare.memory("VmRSS")
    async with served(PlainRunAPI(iter([0.0]), tiny_picture())) as base_url, running(OURS, base_url) as ours:
        first = ours.memory("VmRSS")
        await anyio.sleep(SETTLED)
        idle = ours.memory("VmRSS")
        listed = (await ours.request("tools/list", {}))[1]["result"]["tools"]
        result = (await ours.call("generate", {"prompt": "a fox in the snow, at dawn"}))[1]["result"]
        peak, instructions = ours.memory(), ours.greeting["instructions"]
    texts = {
        "tools/list": _compact(listed),
        "instructions": instructions,
        "a finished result's text": result["content"][0]["text"],
        "a finished result's links": _compact([each for each in result["content"] if each["type"] == "resource_link"]),
    }
    return Report(
        "Memory, and words in the model's context",
        [
            {"what": "bare MCPServer, idle", "MiB": round(bare_idle)},
            {"what": "flux2-mcp, after the first answer", "MiB": round(first)},
            {"what": "flux2-mcp, idle", "MiB": round(idle)},
            {"what": "flux2-mcp, after one picture: the most", "MiB": round(peak)},
            *({"what": name, "characters": len(text), "tokens, about": len(text) // 4} for name, text in texts.items()),
        ],
        [
            Goal("tools/list", len(texts["tools/list"]), 6800, "characters"),
            Goal("a finished result's text", len(texts["a finished result's text"]), 900, "characters"),
        ],
    )


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    main(measure)
