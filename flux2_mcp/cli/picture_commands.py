"""Have pictures made from a terminal, with the real key: what `generate` and `remix` share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from flux2_mcp.budget import Agreement, Quote
from flux2_mcp.catalogue import Request
from flux2_mcp.cli.job_command import JobCommand
from flux2_mcp.cli.showing import add_show_argument
from flux2_mcp.cli.terminal import (
    add_picture_arguments,
    add_save_to_argument,
    agreed,
    allowing,
    amount,
    checked_count,
    number,
    settings_here,
    with_save_to,
)
from flux2_mcp.errors import OverLimit
from flux2_mcp.invocation import command
from flux2_mcp.presenters.estimate import words_for_order
from flux2_mcp.presenters.models import ModelHelp
from flux2_mcp.presenters.results import dollars
from flux2_mcp.studio import LONGEST_WAIT, Job, Plan, Report, Studio

EXIT_HELP = """\
exit codes:
  0  done: the picture is there
  1  failed: RunAPI could not make it, or it could not be fetched or saved
  2  refused: an argument, a setting, the key or a limit of yours; nothing was ordered
  5  still running: the time was up, or Ctrl-C. `{status}` waits for it, `{recover}` fetches all;
     where it is not known whether RunAPI has the order, the same command finds out
130  stopped: Ctrl-C before anything was ordered

The same command again within 15 minutes takes up an order that was interrupted, and pays once.
"""


def add_arguments(parser: argparse.ArgumentParser, models: ModelHelp, *, example: str = "") -> None:
    """Declare what `generate`, `remix` and `estimate` have in common."""
    add_picture_arguments(parser, models)
    add_save_to_argument(parser, "folder or file, instead of your Pictures folder")
    parser.add_argument("--safety-checker", action=argparse.BooleanOptionalAction, help=models.safety)
    parser.add_argument("--callback-url", default="", metavar="URL", help="RunAPI notifies it when the picture is done")
    parser.add_argument("--max-cost", type=amount, metavar="USD", help="refuse if it would cost more than this")
    parser.add_argument("--repeat", action="store_true", help="order anew what is still running or was interrupted")
    parser.add_argument(
        "--wait",
        type=number(0, LONGEST_WAIT),
        default=LONGEST_WAIT,
        metavar="SECONDS",
        help="0 to 600 (the default)",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask about the price (see FLUX2_CONFIRM_OVER)")
    add_show_argument(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout, for scripts")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    exits = EXIT_HELP.format(recover=command("recover"), status=command("status ID --wait"))
    parser.epilog = f"example:\n  {command(example)}\n\n{exits}"


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
    return PictureCommand(options, request=request).run()


@dataclass
class PictureCommand(JobCommand):
    """One command's pictures, from the words to the files."""

    request: Request = field(kw_only=True)
    save_to: str | None = None
    agreed: Agreement | None = None
    """What may be spent without asking the person again, where they are asked at all."""

    @property
    def ask_again(self) -> str:
        """The same order, which --repeat would make once more."""
        return "Run the same command again, without --repeat"

    def prepare(self) -> None:
        """Read the person's settings, and ask them about the price where they want that.

        What they name on the command line may be read and written, wherever it is.

        Raises:
            RequestRefused: Too many pictures, or none.
            BadSetting: An environment variable cannot be used.
            OverLimit: They do not agree to the price, or set a limit that cannot be kept.
        """
        checked_count(self.options)
        settings = settings_here()
        folders = [Path(each).parent for each in self.request.source_image_urls if Path(each).is_absolute()]
        if settings.history == "off" and settings.daily_budget is not None:
            msg = "FLUX2_DAILY_BUDGET cannot be kept with FLUX2_HISTORY=off: no command knows what others have spent."
            raise OverLimit(msg, remedy="Set FLUX2_HISTORY=private, which keeps no prompts, or leave one of them out.")
        settings, self.save_to = with_save_to(allowing(settings, folders), self.options.save_to)
        self.settings = self.as_needed(settings)
        limit = settings.confirm_over
        if limit is not None and not self.options.yes:
            self.ask(*anyio.run(self.quote), limit)

    async def quote(self) -> tuple[str, Quote]:
        """What would be ordered, in words, and its price.

        Raises:
            Flux2Error: It cannot be ordered.
        """
        async with self.studio() as studio:
            plan = await self.plan(studio)
            new = plan.new
            if studio.budget.must_ask(new):
                studio.budget.check(new, most_usd=self.options.max_cost)
            self.agreed = studio.budget.agreed(new)
            return words_for_order(studio.catalogue, plan.request, new, asked=plan.quote.count), new

    def ask(self, order: str, quote: Quote, limit: int) -> None:
        """Ask the person about a price above `limit`, in US cents.

        Raises:
            OverLimit: They do not agree, or are not there.
        """
        if quote.total is not None and quote.total <= limit:
            return
        price = "a price that nobody states" if quote.total is None else dollars(quote.total)
        answer = agreed(f"{order}. Order?")
        if answer is None:
            msg = f"That is {price}, more than the {dollars(limit)} of FLUX2_CONFIRM_OVER, and there is nobody to ask."
            raise OverLimit(msg, remedy="Add --yes to order it all the same.")
        if not answer:
            msg = "You did not agree to the price."
            raise OverLimit(msg)

    async def jobs_of(self, studio: Studio, report: Report) -> Sequence[Job]:
        """Order the pictures and wait for them."""
        plan = await self.plan(studio)
        return await studio.make(plan, max_cost_usd=self.options.max_cost, agreed=self.agreed, report=report)

    async def plan(self, studio: Studio) -> Plan:
        """What the command line comes to.

        Raises:
            Flux2Error: It cannot be ordered.
        """
        return await studio.plan(
            self.request,
            count=self.options.count,
            wait=self.options.wait,
            repeat=self.options.repeat,
            save_to=self.save_to,
        )
