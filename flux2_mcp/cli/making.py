"""Have pictures made from a terminal, with the real key: what `generate` and `remix` share."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import anyio
from rich.console import Console

from flux2_mcp.budget import Agreement, Quote
from flux2_mcp.catalogue import Request
from flux2_mcp.cli.terminal import Moved, absolute, add_picture_arguments, agreed, live_bar
from flux2_mcp.errors import Flux2Error, KeyRejected, OutcomeUnknown, OverLimit, RequestRefused, TaskOutOfSight
from flux2_mcp.server.progress import words_for
from flux2_mcp.server.wiring import Surroundings, connected
from flux2_mcp.server.wording import about_sharing, dollars, facts_of
from flux2_mcp.settings import Settings, misspelt
from flux2_mcp.studio import LONGEST_WAIT, MOST_PICTURES, Piece, Studio

Outcome = Literal["done", "failed", "refused", "running"]

EXIT_CODES: dict[Outcome, int] = {"running": 5, "failed": 1, "refused": 2, "done": 0}
"""In the order of what matters most, when several pictures end differently."""
OPTIONS = {"max_cost_usd": "--max-cost", "output_resolution": "--resolution", "aspect_ratio": "--aspect-ratio"}
"""What errors call an argument of the tools, and what the option for it is called here."""
INTERRUPTED = 130
TIME_TO_PLACE = 1.0
"""Seconds after Ctrl-C for an order that is on its way to RunAPI."""

EXIT_HELP = """\
exit codes:
  0  done: the picture is there
  1  failed: RunAPI could not make it, or it could not be fetched or saved
  2  refused: an argument, a setting, the key or a limit of yours; nothing was ordered
  5  still running: the time was up, or Ctrl-C. `flux2-mcp recover` fetches it later
130  stopped: Ctrl-C before anything was ordered

The same command again within 15 minutes takes up an order that was interrupted, and pays once.
"""


def add_arguments(parser: argparse.ArgumentParser, *, example: str) -> None:
    """Declare what `generate` and `remix` have in common."""
    add_picture_arguments(parser)
    parser.add_argument("--save-to", default="", metavar="PATH", help="folder or file, instead of your Pictures folder")
    parser.add_argument(
        "--safety-checker", action=argparse.BooleanOptionalAction, help="RunAPI's content check; not for flux-2-max"
    )
    parser.add_argument("--callback-url", default="", metavar="URL", help="RunAPI notifies it when the picture is done")
    parser.add_argument(
        "--max-cost", type=_number_to(1_000_000), metavar="USD", help="refuse if it would cost more than this"
    )
    parser.add_argument("--repeat", action="store_true", help="order anew what is still running or was interrupted")
    parser.add_argument(
        "--wait",
        type=_number_to(LONGEST_WAIT),
        default=LONGEST_WAIT,
        metavar="SECONDS",
        help="0 to 600 (the default)",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask about the price (see FLUX2_CONFIRM_OVER)")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout, for scripts")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"example:\n  {example}\n\n{EXIT_HELP}"


def request_of(options: argparse.Namespace, sources: Sequence[str] = ()) -> Request:
    """What the command line asks for."""
    return Request(
        action="remix_image" if sources else "text_to_image",
        prompt=sys.stdin.read().strip() if options.prompt == "-" else options.prompt,
        model=options.model,
        aspect_ratio=options.aspect_ratio,
        output_resolution=options.resolution,
        source_image_urls=tuple(sources),
        enable_safety_checker=options.safety_checker,
        callback_url=options.callback_url,
    )


def make(request: Request, options: argparse.Namespace) -> int:
    """Have it made, show how it goes, and say where it is and what it cost."""
    making = Making(request, options)
    try:
        making.prepare()
        limit = making.settings.confirm_over
        if limit is not None and not options.yes:
            making.ask(anyio.run(making.quote), limit)
        anyio.run(making.make)
    except Flux2Error as error:
        making.error = error
    except KeyboardInterrupt:
        if not making.pieces:
            making.error = Flux2Error("Stopped before anything was ordered.")
            making.tell()
            return INTERRUPTED
    making.tell()
    return EXIT_CODES[making.outcome]


@dataclass
class Making:
    """One command's pictures, from the arguments to the exit code."""

    request: Request
    options: argparse.Namespace
    pieces: Sequence[Piece] = ()
    error: Flux2Error | None = None
    """Why nothing was ordered."""
    settings: Settings = field(init=False)
    save_to: str | None = None
    agreed: Agreement | None = None
    """What may be spent without asking the person again, where they are asked at all."""
    _console: Console = field(default_factory=lambda: Console(stderr=True))

    def prepare(self) -> None:
        """Read the person's settings. What they name on the command line may be read and written, wherever it is.

        Raises:
            RequestRefused: Too many pictures, or none.
            BadSetting: An environment variable cannot be used.
        """
        if not 1 <= self.options.count <= MOST_PICTURES:
            msg = f"--count is 1 to {MOST_PICTURES}."
            raise RequestRefused(msg)
        if words := misspelt(os.environ):
            self._console.print(f"{words} It has no effect.", highlight=False, markup=False, soft_wrap=True)
        settings = Settings.from_environ(os.environ)
        folders = [Path(each).parent for each in self.request.source_image_urls if Path(each).is_absolute()]
        if self.options.save_to:
            self.save_to = absolute(self.options.save_to)
            target = Path(self.save_to)
            folders.append(target.parent if target.suffix else target)
        named = [str(folder) for folder in folders if os.pathsep not in str(folder)]
        roots = os.pathsep.join([settings.input_roots or "", *named])
        self.settings = settings.model_copy(update={"input_roots": roots, "preview": "off"})

    async def quote(self) -> Quote:
        """The price.

        Raises:
            Flux2Error: It cannot be ordered.
        """
        async with self._studio() as studio:
            quote = await studio.offer(self.request, count=self.options.count, repeat=self.options.repeat)
            if studio.budget.must_ask(quote):
                studio.budget.check(quote, most_usd=self.options.max_cost)
            self.agreed = studio.budget.agreed(quote)
            return quote

    def ask(self, quote: Quote, limit: int) -> None:
        """Ask the person about a price above `limit`, in US cents.

        Raises:
            OverLimit: They do not agree, or are not there.
        """
        if quote.total is not None and quote.total <= limit:
            return
        price = "a price that nobody states" if quote.total is None else dollars(quote.total)
        answer = agreed(f"Order for {price}?")
        if answer is None:
            msg = f"That is {price}, more than the {dollars(limit)} of FLUX2_CONFIRM_OVER, and there is nobody to ask."
            raise OverLimit(msg, remedy="Add --yes to order it all the same.")
        if not answer:
            msg = "You did not agree to the price."
            raise OverLimit(msg)

    async def make(self) -> None:
        """Order the pictures and wait for them.

        Raises:
            Flux2Error: Nothing was ordered.
        """
        async with self._studio() as studio:
            try:
                with live_bar(self._console) as moved:
                    await self._make(studio, moved)
            except anyio.get_cancelled_exc_class():
                await self._look_up(studio)
                raise
            studio.hand_over(self.pieces)
            await studio.deliveries.write_down()

    async def _make(self, studio: Studio, moved: Moved) -> None:
        def heard(pieces: Sequence[Piece]) -> None:
            self.pieces = pieces
            expected = [piece.expected_seconds for piece in pieces if piece.expected_seconds]
            moved(words_for(pieces), max(expected, default=None))

        self.pieces = await studio.make(
            self.request,
            count=self.options.count,
            wait=self.options.wait,
            repeat=self.options.repeat,
            max_cost_usd=self.options.max_cost,
            agreed=self.agreed,
            save_to=self.save_to,
            report=heard,
        )

    async def _look_up(self, studio: Studio) -> None:
        """Learn after Ctrl-C how far the orders came: the last may just have been on its way."""
        with anyio.move_on_after(TIME_TO_PLACE):
            await studio.errands.all_done()
        for piece in self.pieces:
            piece.order = await studio.history.find(studio.owner, piece.order.id) or piece.order

    @asynccontextmanager
    async def _studio(self) -> AsyncGenerator[Studio]:
        async with connected(Surroundings(self.settings, home=Path.home())) as wiring:
            yield await wiring.studio()

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        if self.error:
            return "refused"
        ends = {_outcome(piece) for piece in self.pieces}
        return next(outcome for outcome in EXIT_CODES if outcome in ends)

    @property
    def next_step(self) -> str:
        """What to do about pictures that are not there yet; empty when all are."""
        open_ones = [piece.order for piece in self.pieces if _outcome(piece) == "running"]
        known = " and ".join(order.task_id for order in open_ones if order.task_id)
        steps: list[str] = []
        if known:
            steps.append(f"RunAPI has the order: task {known}. Run `flux2-mcp recover` in a minute to get the picture.")
        if any(order.task_id is None for order in open_ones):
            steps.append(
                "It is not known whether RunAPI has the order. Run the same command again, without --repeat: it asks "
                "with the same Idempotency-Key, so that nothing is paid twice."
            )
        return " ".join(steps)

    def tell(self) -> None:
        """Say how it ended: as one JSON document, or as lines for a person."""
        if self.options.json:
            print(json.dumps(self._document(), ensure_ascii=False, indent=1))
            return
        if self.error:
            print(f"flux2-mcp: {_for_the_terminal(self.error)}", file=sys.stderr)
        for piece in self.pieces:
            _tell(piece)
        if self.next_step:
            print(f"flux2-mcp: {self.next_step}", file=sys.stderr)

    def _document(self) -> dict[str, object]:
        document: dict[str, object] = {"outcome": self.outcome}
        if self.error:
            return {**document, "error": _for_the_terminal(self.error), "pictures": []}
        document |= facts_of(self.pieces) | {"completed": self.outcome != "running"}
        return document | ({"next_step": self.next_step} if self.next_step else {})


def _for_the_terminal(error: Flux2Error) -> str:
    """What it says, with the options that a person types instead of what a model calls them."""
    words = str(error)
    for argument, option in OPTIONS.items():
        words = words.replace(argument, option)
    return words


def _outcome(piece: Piece) -> Outcome:
    if isinstance(piece.error, OutcomeUnknown | TaskOutOfSight):
        return "running"
    if isinstance(piece.error, RequestRefused | KeyRejected):
        return "refused"
    if piece.error or any(shot.trouble for shot in piece.shots):
        return "failed"
    return "done" if piece.has_pictures else "running"


def _tell(piece: Piece) -> None:
    """The place alone on its line, so that it can be copied; then what it cost."""
    if piece.error:
        words = str(piece.error) if _outcome(piece) != "running" else f"{piece.error.message} {piece.error.charge}"
        print(f"flux2-mcp: {words}", file=sys.stderr)
    for shot in piece.shots:
        print(shot.path or shot.url)
        if shot.trouble:
            print(f"flux2-mcp: {shot.trouble}", file=sys.stderr)
    if piece.is_made:
        print(" · ".join(_facts(piece)))
    if words := about_sharing(piece.order):
        print(f"flux2-mcp: {words}", file=sys.stderr)


def _facts(piece: Piece) -> Iterator[str]:
    order = piece.order
    yield f"cost: {dollars(order.settled_cents)}"
    yield order.model or "model not stated"
    yield from (f"{shot.picture.width} × {shot.picture.height}" for shot in piece.shots if shot.picture)
    yield f"task {piece.id}"


def _number_to(most: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = float(text)
        if not 0 <= value <= most:
            msg = f"a number from 0 to {most:.0f} is needed"
            raise argparse.ArgumentTypeError(msg)
        return value

    return number
