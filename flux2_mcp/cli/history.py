"""flux2-mcp history: the pictures that were asked for, and how to forget them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import datetime
from pathlib import Path

import anyio
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flux2_mcp.cli.terminal import agreed
from flux2_mcp.errors import BadSetting, Flux2Error
from flux2_mcp.server.books import STATES, Entries, Entry, entries
from flux2_mcp.server.wiring import Surroundings, connected
from flux2_mcp.settings import Settings

EPILOG = """\
examples:
  flux2-mcp history --status completed --text "red fox"
  flux2-mcp history --forget --before 2026-01-31

--forget takes orders out of the history, and with them what was spent today. One that is still open is forgotten too;
`flux2-mcp recover` cannot fetch it any more. The files of pictures stay where they are.
exit codes: 0 done, 1 nothing was forgotten, 2 an argument or a setting cannot be used
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `history` takes."""
    parser.add_argument("--limit", type=int, default=20, help="how many, 1 to 1000 (default: %(default)s)")
    parser.add_argument("--status", choices=[name for name in STATES if name], help="only these")
    parser.add_argument("--text", default="", metavar="WORDS", help="only those whose prompt has all these words")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout, for scripts")
    parser.add_argument("--forget", action="store_true", help="forget the pictures instead; asks first")
    parser.add_argument("--before", type=_day, metavar="DATE", help="with --forget: only those from before this day")
    parser.add_argument("--yes", action="store_true", help="with --forget: do not ask")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """List the pictures, or forget them.

    Raises:
        Flux2Error: A setting or an option cannot be used, or there is nobody to ask.
    """
    if options.forget:
        return _forget(options)
    if options.before or options.yes:
        msg = "--before and --yes go with --forget."
        raise BadSetting(msg, remedy="Add --forget, or leave them out.")
    page = anyio.run(_page, options)
    if options.json:
        print(page.model_dump_json(indent=1, exclude_none=True))
    else:
        _show(page)
    return 0


async def _page(options: argparse.Namespace) -> Entries:
    async with connected(_surroundings()) as wiring:
        studio = await wiring.studio(without_key=True)
        states = STATES[options.status or ""]
        return await entries(studio, limit=options.limit, states=states, text=options.text)


def _forget(options: argparse.Namespace) -> int:
    which = f"asked for before {options.before:%Y-%m-%d}" if options.before else "of the whole history"
    answer = options.yes or agreed(f"Forget all pictures {which}? Their files stay where they are.")
    if answer is None:
        msg = "There is nobody to ask."
        raise Flux2Error(msg, charge="Nothing was forgotten.", remedy="Add --yes to forget them all the same.")
    if not answer:
        print("Nothing was forgotten.", file=sys.stderr)
        return 1
    count = anyio.run(_forgotten, options.before)
    print(json.dumps({"forgotten": count}) if options.json else f"Forgotten: {count}.")
    return 0


async def _forgotten(before: datetime | None) -> int:
    async with connected(_surroundings()) as wiring:
        return await wiring.history.forget(await wiring.owner(), before=before)


def _surroundings() -> Surroundings:
    return Surroundings(Settings.from_environ(os.environ), home=Path.home())


def _show(page: Entries) -> None:
    # In a pipe there is no edge to keep within: grep finds whole prompts and whole paths.
    console = Console() if sys.stdout.isatty() else Console(width=100_000)
    if not page.tasks:
        console.print("No pictures were asked for yet, or none like that.", highlight=False)
    else:
        console.print(_table(page, console))
    if page.next_cursor:
        console.print("There are more; --limit shows them.", style="dim", highlight=False)
    if page.note:
        console.print(page.note, style="dim", highlight=False, markup=False)


def _table(page: Entries, console: Console) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("asked", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("cost", justify="right", no_wrap=True)
    table.add_column(
        "prompt", no_wrap=True, overflow="ellipsis", max_width=console.width // 4 if console.is_terminal else None
    )
    table.add_column("file, or task", overflow="fold")
    for entry in page.tasks:
        table.add_row(
            f"{entry.asked_at.astimezone():%Y-%m-%d %H:%M}",
            entry.status,
            "" if entry.cost_usd is None else f"${entry.cost_usd:.2f}",
            Text(" ".join(entry.prompt.split())),
            Text(_where(entry)),
        )
    return table


def _where(entry: Entry) -> str:
    place = "\n".join(entry.files) or f"task {entry.task_id}"
    return f"{place}: {entry.error}" if entry.error else place


def _day(text: str) -> datetime:
    """The beginning of a day, here.

    Raises:
        ArgumentTypeError: Not a date.
    """
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        msg = "a date such as 2026-01-31"
        raise argparse.ArgumentTypeError(msg) from None
