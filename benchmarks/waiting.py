"""Many calls that wait for pictures at the same time: what the benchmarks of waiting have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import chain
from time import monotonic

import anyio
from PIL import Image

from benchmarks.runapi import Bucket, PlainRunAPI
from benchmarks.servers import PLAIN, Server, running, served


@dataclass
class Waits:
    """How a crowd of calls fared."""

    late: list[float] = field(default_factory=list[float])
    """Seconds from RunAPI's end of each task to the result's line."""
    errors: list[str] = field(default_factory=list[str])
    requests: int = 0
    refused: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of the server's process."""
    idle_mib: float = 0.0
    """Before the calls."""
    peak_mib: float = 0.0
    settled_mib: float = 0.0
    """Some seconds after the last result."""


async def waits(
    command: tuple[str, ...],
    durations: Sequence[float],
    *,
    known: Sequence[float] = (0.0,),
    apart: float = 0.0,
    pace: float | None = None,
    picture: bytes | None = None,
    environ: Mapping[str, str] = PLAIN,
    settles: float = 0.0,
) -> Waits:
    """One server, and a call for each of `durations`, so many seconds apart; after those `known` have come to an end.

    There is always one before them: the first call pays for what is imported and opened then. After the last, the
    server has `settles` seconds before its memory is looked at.
    """
    runapi = PlainRunAPI(chain(known, durations), picture or tiny_picture())
    found = Waits()
    async with served(runapi) as base_url, running(command, base_url, environ) as server:
        await _all(server, runapi, [f"known {n}" for n in range(len(known))], Waits(), apart=0.0)
        before, runapi.bucket = runapi.requests, Bucket(pace) if pace else None
        found.idle_mib, used = server.memory("VmRSS"), server.cpu_seconds
        began = monotonic()
        await _all(server, runapi, [f"fox {n}" for n in range(len(durations))], found, apart=apart)
        found.seconds, found.cpu_seconds = monotonic() - began, server.cpu_seconds - used
        found.requests, found.refused = runapi.requests - before, runapi.refused
        found.peak_mib = server.memory()
        await anyio.sleep(settles)
        found.settled_mib = server.memory("VmRSS")
    return found


async def _all(server: Server, runapi: PlainRunAPI, prompts: Sequence[str], found: Waits, *, apart: float) -> None:
    async def one(prompt: str) -> None:
        at, answer = await server.call("generate", {"prompt": prompt, "wait_seconds": 300})
        result = answer.get("result", answer)
        if "error" in answer or result.get("isError") or "made the picture" not in str(result):
            found.errors.append(str(result)[:300])
        else:
            found.late.append(at - runapi.ends[prompt])

    async with anyio.create_task_group() as group:
        for prompt in prompts:
            group.start_soon(one, prompt)
            await anyio.sleep(apart)


def tiny_picture() -> bytes:
    file = BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, "PNG")
    return file.getvalue()
