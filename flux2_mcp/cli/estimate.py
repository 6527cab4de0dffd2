"""flux2-mcp estimate: what a picture would cost."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path

import anyio

from flux2_mcp.app_state import Environment, app_state
from flux2_mcp.catalogue import Catalogue, Request, catalogue
from flux2_mcp.cli import picture_commands
from flux2_mcp.cli.terminal import checked_count, settings_here, sources
from flux2_mcp.invocation import command
from flux2_mcp.presenters.estimate import Estimate, estimate_of
from flux2_mcp.presenters.models import ModelHelp

EPILOG = """\
examples:
  {estimate} "a red fox" --resolution 2k --count 4
  {estimate} "as a watercolour" photo.jpg

It orders nothing. It takes the arguments of `generate` and, with files, of `remix`: to order the picture, type that
word instead. Files are counted, not read.
exit codes: 0 your limits allow it, 2 they do not, or an argument or a setting cannot be used
"""

SOURCES = {
    "RunAPI": "from RunAPI's price list",
    "quote": "RunAPI's answer to this very request",
    "built in": "built into flux2-mcp, as RunAPI did not answer",
}
"""Where a price comes from, in words."""


def add_arguments(parser: argparse.ArgumentParser, known: Catalogue | None = None) -> None:
    """Declare what `estimate` takes: what `generate` and `remix` do."""
    models = ModelHelp(known or catalogue())
    about = f"the images of a remix, 1 to {models.most_sources}; without any, the estimate is for generate"
    parser.add_argument("prompt", help="what the picture shows, as words or JSON; - reads it from stdin")
    parser.add_argument("source", nargs="*", metavar="FILE", help=about)
    picture_commands.add_arguments(parser, models)
    parser.epilog = EPILOG.format(estimate=command("estimate"))
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the price, and what the limits leave; 2 when a limit forbids it.

    Raises:
        Flux2Error: RunAPI would refuse it, or a setting cannot be used.
    """
    count = checked_count(options)
    request = picture_commands.request_of(options, sources(options.source))
    estimate = anyio.run(_estimate, request, count, options.max_cost)
    if options.json:
        print(estimate.model_dump_json(indent=1, exclude_none=True, ensure_ascii=True))
    else:
        print("\n".join(_lines(estimate)))
    return 0 if estimate.allowed else 2


async def _estimate(request: Request, count: int, most_usd: float | None) -> Estimate:
    async with app_state(Environment(settings_here(), home=Path.home())) as state:
        studio = await state.studio(without_key=True)
        return await estimate_of(studio, request, count=count, most_usd=most_usd, can_ask=True, typed=True)


def _lines(estimate: Estimate) -> list[str]:
    lines = [f"cost: {_price(estimate)}"]
    if source := SOURCES.get(estimate.price_source):
        lines.append(f"price: {source}, as of {_day(estimate.price_as_of)}")
    if estimate.balance_usd is not None:
        lines.append(f"balance: ${estimate.balance_usd:.2f}")
    if estimate.left_today_usd is not None:
        lines.append(f"left of today's budget: ${estimate.left_today_usd:.2f}")
    if estimate.asks_first:
        lines.append("you are asked before it is ordered")
    return lines if estimate.why_not is None else [*lines, f"not allowed: {estimate.why_not}"]


def _day(as_of: str) -> str:
    """To the minute, where a time is given; RunAPI and the catalogue do not write it alike."""
    try:
        when = datetime.fromisoformat(as_of)
    except ValueError:
        return as_of
    return as_of if len(as_of) <= len("2026-11-22") else f"{when:%Y-%m-%d %H:%M %Z}".rstrip()


def _price(estimate: Estimate) -> str:
    if estimate.cost_usd is None or estimate.cost_usd_each is None:
        return f"not published, for {estimate.model}"
    each = f" ({estimate.pictures} × ${estimate.cost_usd_each:.2f})" if estimate.pictures > 1 else ""
    return f"${estimate.cost_usd:.2f}{each}, for {estimate.model}"
