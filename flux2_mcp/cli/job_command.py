"""A command about pictures: it waits with a bar, stops at Ctrl-C, prints how it ended, and returns its exit code."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Literal

import anyio
from rich.console import Console

from flux2_mcp.app_state import Environment, app_state
from flux2_mcp.catalogue import Catalogue
from flux2_mcp.cli import INTERRUPTED
from flux2_mcp.cli.showing import Screen, screen_for
from flux2_mcp.cli.terminal import Moved, Printer, live_bar
from flux2_mcp.errors import (
    Flux2Error,
    HistoryUnusable,
    KeyRejected,
    OutcomeUnknown,
    RequestRefused,
    TaskOutOfSight,
    nobody_reads,
)
from flux2_mcp.invocation import command
from flux2_mcp.presenters.progress import words_for
from flux2_mcp.presenters.results import about_image, about_sharing, dollars, facts_of
from flux2_mcp.settings import Settings
from flux2_mcp.studio import Job, Report, Studio

Outcome = Literal["done", "failed", "refused", "running"]

EXIT_CODES: dict[Outcome, int] = {"running": 5, "failed": 1, "refused": 2, "done": 0}
"""In the order of what matters most, when several pictures end differently."""
FORGOTTEN = (
    "With FLUX2_HISTORY=off nothing is kept by which that could be found out: the same command would order anew. "
    "`{account}` shows the balance."
)
TIME_TO_PLACE = 1.0
"""Seconds after Ctrl-C for an order that is on its way to RunAPI."""


@dataclass
class JobCommand(ABC):
    """One command's pictures, from the arguments to the exit code."""

    options: argparse.Namespace
    jobs: Sequence[Job] = ()
    error: Flux2Error | None = None
    """Why there are none."""
    is_told: bool = False
    """Whether it was printed how it ended, or that was tried."""
    unprinted: OSError | None = None
    """Why it could not be printed."""
    settings: Settings = field(init=False)
    screen: Screen | None = None
    """Where pictures are shown, if anywhere."""
    console: Console = field(default_factory=lambda: Printer(stderr=True))

    stopped = "Stopped before anything was ordered."

    @property
    @abstractmethod
    def ask_again(self) -> str:
        """How to learn what became of an order whose answer was lost."""

    @abstractmethod
    def prepare(self) -> None:
        """Read the person's settings, and settle what has to be settled first.

        Raises:
            Flux2Error: It cannot be done.
        """

    @abstractmethod
    async def jobs_of(self, studio: Studio, report: Report) -> Sequence[Job]:
        """Ask the studio for the pictures.

        Raises:
            Flux2Error: There are none to wait for.
        """

    def as_needed(self, settings: Settings) -> Settings:
        """With previews only of what is shown and saved nowhere: what nobody looks at is not even fetched."""
        return settings if self.screen and settings.save == "off" else settings.model_copy(update={"preview": "off"})

    def run(self) -> int:
        """Do it, show how it goes, and say how it ended."""
        if threading.current_thread() is threading.main_thread():
            # A supervisor that ends it gets the same answer as Ctrl-C.
            signal.signal(signal.SIGTERM, _like_ctrl_c)
        try:
            # Now, before anybody types ahead.
            self.screen = screen_for(self.options.show, json=self.options.json)
            self.prepare()
            anyio.run(self._do)
        except Flux2Error as error:
            self.error = error
        except KeyboardInterrupt:
            if not self.jobs:
                self.error = Flux2Error(self.stopped)
                self.print_outcome()
                return INTERRUPTED
        if self.unprinted:
            return self._say_unprinted(self.unprinted)
        if not self.is_told:
            self.print_outcome()
        return EXIT_CODES[self.outcome]

    def _say_unprinted(self, error: OSError) -> int:
        # What is still to be flushed goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"flux2-mcp: The result could not be printed: {error.strerror}.", file=sys.stderr)
        for job in self.jobs:
            places = ", ".join(str(image.path or image.url) for image in job.images) or "ordered"
            print(f"flux2-mcp: {places}. `{command(f'status {job.id}')}` prints it; that is free.", file=sys.stderr)
        return EXIT_CODES["failed"]

    async def _do(self) -> None:
        async with self.studio() as studio:
            try:
                with live_bar(self.console) as moved:
                    self.jobs = await self.jobs_of(studio, self._heard(moved, studio.catalogue))
            except anyio.get_cancelled_exc_class():
                await self._look_up(studio)
                raise
            try:
                await anyio.to_thread.run_sync(self._tell)
            except OSError as error:
                if nobody_reads(error):
                    raise
                self.unprinted = error
                return
            # Only now: what nobody was told is taken up by the same command.
            studio.note_delivery(self.jobs)
            await studio.deliveries.count()

    def _tell(self) -> None:
        self.is_told = True
        self.print_outcome()
        sys.stdout.flush()

    def _heard(self, moved: Moved, known: Catalogue) -> Report:
        def heard(jobs: Sequence[Job]) -> None:
            self.jobs = jobs
            expected = [job.expected_seconds for job in jobs if job.expected_seconds]
            moved(words_for(jobs, known), max(expected, default=None))

        return heard

    async def _look_up(self, studio: Studio) -> None:
        """Learn after Ctrl-C how far the orders came: the last may just have been on its way."""
        with anyio.move_on_after(TIME_TO_PLACE):
            await studio.background.all_done()
        for job in self.jobs:
            job.order = await studio.history.latest(job.order)

    @asynccontextmanager
    async def studio(self) -> AsyncGenerator[Studio]:
        """Everything that pictures are asked of, for as long as this is open."""
        async with app_state(Environment(self.settings, home=Path.home())) as state:
            # To load the program and open the history is no part of the time since the person asked.
            with suppress(HistoryUnusable):
                await state.history.deliveries(await state.owner())
            yield await state.studio()

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        if self.error:
            return "refused"
        ends = {_outcome(job) for job in self.jobs}
        return next(outcome for outcome in EXIT_CODES if outcome in ends)

    @property
    def forgets(self) -> bool:
        """Whether nothing is kept by which another command could take an order up."""
        return self.settings.history == "off"

    @property
    def next_step(self) -> str:
        """What to do about pictures that are not there yet; empty when all are."""
        open_ones = [job.order for job in self.jobs if _outcome(job) == "running"]
        known = [order.task_id for order in open_ones if order.task_id]
        steps: list[str] = []
        if known:
            get_it = f"Run `{command(f'status {known[0]} --wait')}` to get it"
            if len(known) > 1:
                get_it = f"Run `{command('recover')}` in a minute to get them"
            resumed = "; until then the same command takes it up, too, and pays nothing again"
            steps.append(
                f"The picture is not ready yet. RunAPI has the order: task {' and '.join(known)}. "
                f"{get_it}{'' if self.forgets else resumed}."
            )
        if len(known) < len(open_ones) and self.forgets:
            return " ".join([*steps, FORGOTTEN.format(account=command("account"))])
        doubts = [job.error.typed_remedy for job in self.jobs if isinstance(job.error, OutcomeUnknown)]
        steps += dict.fromkeys(doubts)
        if not doubts and any(order.task_id is None for order in open_ones):
            steps.append(
                f"It is not known whether RunAPI has the order. {self.ask_again}: it asks with the same "
                "Idempotency-Key, so that nothing is paid twice."
            )
        return " ".join(steps)

    def print_outcome(self) -> None:
        """Print how it ended: as one JSON document, or as lines for a person."""
        if self.options.json:
            print(json.dumps(self._document(), indent=1))
            return
        if self.error:
            print(f"flux2-mcp: {self.error.typed}", file=sys.stderr)
        for job in self.jobs:
            self._print_job(job)
            self._show(job)
        if self.next_step:
            print(f"flux2-mcp: {self.next_step}", file=sys.stderr)

    def _print_job(self, job: Job) -> None:
        """The path or URL alone on its line, so that it can be copied; then what it cost."""
        if job.error:
            words = job.error.typed if _outcome(job) != "running" else f"{job.error.typed_message} {job.error.charge}"
            print(f"flux2-mcp: {words}", file=sys.stderr)
        for image in job.images:
            print(image.path or image.url)
            if words := about_image(job, image, typed=True):
                print(f"flux2-mcp: {words}", file=sys.stderr)
        if job.poll_error and not job.is_over:
            print(f"flux2-mcp: The last look saw nothing: {job.poll_error.typed_message}", file=sys.stderr)
        if job.is_resumed and not job.is_lost:
            print("flux2-mcp: This was ordered before; nothing was ordered anew.", file=sys.stderr)
        if job.is_made:
            print(" · ".join(_facts(job)))
        if words := about_sharing(job.order, typed=True):
            print(f"flux2-mcp: {words}", file=sys.stderr)

    def _show(self, job: Job) -> None:
        if self.screen is None:
            return
        for image in job.images:
            preview = image.picture.preview if image.picture else None
            if picture := image.path or (preview.data if preview else None):
                self.screen.show(picture, share=len(self.jobs))
            elif self.options.show and not image.wanted:
                print("flux2-mcp: It is not shown: with these settings it is not even fetched.", file=sys.stderr)

    def _document(self) -> dict[str, object]:
        document: dict[str, object] = {"outcome": self.outcome}
        if self.error:
            return {**document, "error": self.error.typed, "pictures": []}
        document |= facts_of(self.jobs, typed=True) | {"completed": self.outcome != "running"}
        return document | ({"next_step": self.next_step} if self.next_step else {})


def _like_ctrl_c(_number: int, _frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)


def _outcome(job: Job) -> Outcome:
    if isinstance(job.error, OutcomeUnknown | TaskOutOfSight):
        return "running"
    if isinstance(job.error, RequestRefused | KeyRejected):
        return "refused"
    if job.error or any(image.error for image in job.images):
        return "failed"
    return "done" if job.has_pictures else "running"


def _facts(job: Job) -> Iterator[str]:
    order = job.order
    yield f"cost: {dollars(order.settled_cents)}"
    yield order.model or "model not stated"
    yield from (f"{image.picture.width} × {image.picture.height}" for image in job.images if image.picture)
    yield f"task {job.id}"
