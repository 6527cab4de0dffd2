"""flux2-mcp recover: fetch what was finished while nobody looked."""

from __future__ import annotations

import argparse
from pathlib import Path

import anyio

from flux2_mcp.app_state import Environment, app_state
from flux2_mcp.cli.terminal import settings_here
from flux2_mcp.errors import TaskForgotten
from flux2_mcp.presenters.results import about_image
from flux2_mcp.studio import LONGEST_WAIT, Job, ResultImage

NOT_SAVED = 1
STILL_OPEN = 5
"""The exit codes that `generate` and `remix` have for it too."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `recover` takes: nothing."""
    parser.epilog = (
        "exit codes: 0 nothing is open any more, 1 a picture is made, but could not be fetched or saved, "
        "2 a setting or the key cannot be used, 5 a picture is still being made or unknown"
    )
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Look once at every order that was left open, and say what was found; 5 when some are open still."""
    return anyio.run(_recover)


async def _recover() -> int:
    async with app_state(Environment(settings_here(), home=Path.home())) as state:
        studio = await state.studio()
        jobs = await studio.recover(patience=LONGEST_WAIT)
    for job in jobs:
        print(_line(job))
    if not jobs:
        print("Nothing was left open.")
    if any(_is_open(job) for job in jobs):
        return STILL_OPEN
    return NOT_SAVED if any(image.error for job in jobs for image in job.images) else 0


def _is_open(job: Job) -> bool:
    """Whether its picture may still come."""
    is_fetched = all(image.error or not image.is_missing for image in job.images)
    return not ((job.order.is_over and is_fetched) or isinstance(job.error, TaskForgotten))


def _line(job: Job) -> str:
    if job.error:
        return f"{job.id}: {job.error.typed}"
    if not job.is_made:
        unseen = f" The last look saw nothing: {job.poll_error.typed_message}" if job.poll_error else ""
        return f"{job.id}: still being made.{unseen}"
    return f"{job.id}: made; " + ", ".join(_where(job, image) for image in job.images)


def _where(job: Job, image: ResultImage) -> str:
    """Where it is; and why not in a file, where it should be in one."""
    return str(image.path or " ".join(filter(None, (image.url, about_image(job, image, typed=True)))))
