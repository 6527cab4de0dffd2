"""From a picture's last byte to the result on the wire, and how many pictures a second, beside Pillow alone."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import repeat
from statistics import median
from time import monotonic

import anyio
from PIL import Image

from benchmarks.report import Goal, Report, main, middle
from benchmarks.runapi import PlainRunAPI
from benchmarks.servers import BEATING, OURS, Server, running, served

ONE_MEGAPIXEL, FOUR_MEGAPIXELS = 1024, 2048
RUNS = 7
ROUNDS = 3
PICTURES = 40
"""In each round."""
ALL_END_AFTER = 4.0
"""Seconds: they were all ordered by then, and all end at once, so that only the pictures are measured."""
PING_EVERY = 0.01
"""Seconds."""


async def measure() -> Report:
    """One large picture at a time with other calls meanwhile; then a crowd of small ones, and Pillow alone."""
    took, answered = await _one_at_a_time()
    ours, alone, longest = await _many_at_once(photograph(ONE_MEGAPIXEL))
    return Report(
        "Pictures: PNG with as much detail as a photograph, saved and previewed at 1024",
        [
            {"what": f"4 megapixels, last byte → result, median of {RUNS}", "": middle(took), "unit": "s"},
            {"what": "the slowest of these", "": max(took), "unit": "s"},
            {"what": "the slowest answer to another call meanwhile", "": max(answered) * 1000, "unit": "ms"},
            {"what": "1 megapixel, flux2-mcp", "": ours, "unit": "per second"},
            {"what": "1 megapixel, Pillow alone on as many threads as CPUs", "": alone, "unit": "per second"},
            {"what": "the event loop's longest hold-up meanwhile", "": longest * 1000, "unit": "ms"},
        ],
        [
            Goal("4 megapixels: last byte to result", middle(took), 0.6, "s"),
            Goal("4 megapixels: another call's answer", max(answered) * 1000, 50, "ms"),
            Goal("1 megapixel: pictures per second, beside Pillow alone", ours / alone, 0.6, "×", at_least=True),
            Goal("1 megapixel: the event loop held up", longest * 1000, 50, "ms"),
        ],
    )


async def _one_at_a_time() -> tuple[list[float], list[float]]:
    runapi, took, answered = PlainRunAPI(repeat(0.0), photograph(FOUR_MEGAPIXELS)), list[float](), list[float]()
    async with served(runapi) as base_url, running(OURS, base_url) as server:
        await server.call("generate", {"prompt": "the first"})
        for run in range(RUNS):
            async with anyio.create_task_group() as group:
                group.start_soon(_ping, server, answered)
                at, answer = await server.call("generate", {"prompt": f"fox {run}"})
                took.append(at - runapi.sent[f"fox {run}"])
                assert "A preview is attached" in str(answer)
                group.cancel_scope.cancel()
    return took, answered


async def _many_at_once(picture: bytes) -> tuple[float, float, float]:
    """Pictures per second from the first that arrived to the last result, beside Pillow's in turn; the median of both.

    Then the event loop's longest hold-up, in seconds.
    """
    runapi, ours, alone, longest = PlainRunAPI(repeat(0.0), picture), list[float](), list[float](), 0.0
    async with served(runapi) as base_url, running(BEATING, base_url) as server:
        await server.call("generate", {"prompt": "the first"})
        for turn in range(ROUNDS):
            alone.append(_pillow(picture))
            runapi.sent.clear()
            began = monotonic()
            runapi.durations = iter(lambda began=began: began + ALL_END_AFTER - monotonic(), None)
            async with anyio.create_task_group() as group:
                for n in range(PICTURES):
                    group.start_soon(server.call, "generate", {"prompt": f"fox {turn} {n}", "wait_seconds": 120})
            ours.append(PICTURES / (monotonic() - min(runapi.sent.values())))
            longest = max(longest, server.longest_hold_up(since=began))
    return median(ours), median(alone), longest


async def _ping(server: Server, answered: list[float]) -> None:
    """Ask something that needs the event loop and nothing else, again and again."""
    while True:
        asked = monotonic()
        at, _ = await server.request("ping", {})
        answered.append(at - asked)
        await anyio.sleep(PING_EVERY)


def _pillow(picture: bytes) -> float:
    """Decoded, resized and encoded as our previews are, and nothing else."""

    def one(_: int) -> None:
        with Image.open(BytesIO(picture)) as image:
            image.load()
            small = image.convert("RGB")
        small.thumbnail((1024, 1024), Image.Resampling.LANCZOS, reducing_gap=3.0)
        small.save(BytesIO(), "JPEG", quality=90, subsampling="4:4:4")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        began = monotonic()
        list(pool.map(one, range(PICTURES)))
    return PICTURES / (monotonic() - began)


def photograph(edge: int) -> bytes:
    """A square PNG that compresses about as badly as a photograph: soft shapes with a little grain."""
    soft = Image.effect_noise((edge // 16, edge // 16), 90).resize((edge, edge))  # pyright: ignore[reportUnknownMemberType] as Pillow declares it
    grain = Image.effect_noise((edge, edge), 6)
    layers = [Image.blend(soft.rotate(turn), grain, 0.2) for turn in (0, 90, 180)]
    file = BytesIO()
    Image.merge("RGB", layers).save(file, "PNG", compress_level=6)
    return file.getvalue()


if __name__ == "__main__":
    main(measure)
