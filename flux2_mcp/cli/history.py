"""flux2-mcp history: the pictures that were asked for, and how to forget them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import anyio
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flux2_mcp.app_state import Environment, address_of, app_state
from flux2_mcp.cli.showing import Screen, screen_for
from flux2_mcp.cli.terminal import Printer, agreed, settings_here, whole_number
from flux2_mcp.errors import BadSetting, Flux2Error
from flux2_mcp.history import utcnow
from flux2_mcp.invocation import command
from flux2_mcp.presenters.account import STATES, Entries, Entry, entries

USUALLY = 20
HANDFUL = 5
"""How many pictures --show shows."""
SMALL = 3
"""As what part of half the screen's height it shows each."""
MORE = "There are more; --limit shows them."

EPILOG = """\
examples:
  {history} --status completed --text "red fox"
  {history} --all
  {history} --forget --before 2026-01-31

Each RunAPI, such as a simulator, has a history of its own; --all is about all of them. --forget takes orders out of the
history, and with them what was spent today. One that is still open is forgotten too; `{recover}` cannot fetch it any
more. The files of pictures stay where they are.
exit codes: 0 done, 1 nothing was forgotten, 2 an argument or a setting cannot be used
"""


class AddressedEntry(Entry):
    """One picture that was asked for, and the address of its RunAPI."""

    address: str


class Listing(Entries):
    """The newest orders, and how many there are elsewhere."""

    tasks: Sequence[Entry]  # pyright: ignore[reportIncompatibleVariableOverride] it is only read
    elsewhere: dict[str, int] | None = None
    """How many orders there are at other addresses."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `history` takes."""
    parser.add_argument("--limit", type=whole_number(1, 1000), help=f"how many, 1 to 1000 (default: {USUALLY})")
    parser.add_argument("--status", choices=[name for name in STATES if name], help="only these")
    parser.add_argument("--text", default="", metavar="WORDS", help="only those whose prompt has all these words")
    parser.add_argument("--all", action="store_true", help="at every address, not only at RUNAPI_BASE_URL")
    parser.add_argument("--show", action="store_true", help=f"show the newest {HANDFUL} of the saved pictures, small")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout, for scripts")
    parser.add_argument("--forget", action="store_true", help="forget the pictures instead; asks first")
    parser.add_argument("--before", type=_day, metavar="DATE", help="with --forget: only those from before this day")
    parser.add_argument("--yes", action="store_true", help="with --forget: do not ask")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG.format(history=command("history"), recover=command("recover"))
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """List the pictures, or forget them.

    Raises:
        Flux2Error: A setting or an option cannot be used, or there is nobody to ask.
    """
    if options.forget:
        if options.status or options.text or options.limit:
            msg = "--forget takes no --status, --text or --limit: it would forget the other pictures, too."
            raise BadSetting(msg, remedy="Leave them out, or say with --before up to which day.")
        return _forget(options)
    if options.before or options.yes:
        msg = "--before and --yes only say what --forget deletes."
        raise BadSetting(msg, remedy="To look at the history, leave them out.")
    screen = screen_for(options.show, json=options.json) if options.show else None
    page = anyio.run(_page, options, _environment())
    if options.json:
        print(page.model_dump_json(indent=1, exclude_none=True, ensure_ascii=True, serialize_as_any=True))
    else:
        _print(page, screen)
    return 0


async def _page(options: argparse.Namespace, environment: Environment) -> Listing:
    async with app_state(environment) as state:
        studio = await state.studio(without_key=True)
        look = partial(
            entries, limit=options.limit or USUALLY, states=STATES[options.status or ""], text=options.text, typed=True
        )
        owners = await state.owners()
        if not options.all:
            page = await look(studio)
            elsewhere = {address_of(owner): count for owner, count in owners.items() if owner != studio.owner}
            return Listing(**page.model_dump(), elsewhere=elsewhere or None)
        pages = {address_of(owner): await look(replace(studio, owner=owner)) for owner in owners}
    found = [
        AddressedEntry(**entry.model_dump(), address=address) for address, page in pages.items() for entry in page.tasks
    ]
    newest = sorted(found, key=lambda entry: entry.asked_at, reverse=True)[: options.limit or USUALLY]
    # A cursor is for one owner; here it only says that there is more.
    is_more = len(newest) < len(found) or any(page.next_cursor for page in pages.values())
    note = next((page.note for page in pages.values() if page.note), None)
    return Listing(tasks=newest, note=note or (MORE if is_more else None))


def _forget(options: argparse.Namespace) -> int:
    environment = _environment()
    addresses = anyio.run(_addresses, environment)
    which = f"asked for before {options.before:%Y-%m-%d}" if options.before else "of the whole history"
    where = "at every address" if options.all else f"at {addresses.address}"
    answer = options.yes or agreed(f"Forget all pictures {which}, {where}? Their files stay where they are.")
    if answer is None:
        msg = "There is nobody to ask."
        raise Flux2Error(msg, charge="Nothing was forgotten.", remedy="Add --yes to forget them all the same.")
    if not answer:
        print("Nothing was forgotten.", file=sys.stderr)
        return 1
    count = anyio.run(_forgotten, options.before, options.all, environment)
    if options.json:
        print(json.dumps({"forgotten": count}))
        return 0
    print(f"Forgotten: {count}.")
    if addresses.elsewhere and not options.all:
        print(f"{_about(addresses.elsewhere)}; --forget --all forgets them too.", file=sys.stderr)
    return 0


@dataclass(frozen=True)
class Addresses:
    """The address that is configured, and how many orders there are at others."""

    address: str
    elsewhere: dict[str, int]


async def _addresses(environment: Environment) -> Addresses:
    async with app_state(environment) as state:
        own, owners = await state.owner(), await state.owners()
        return Addresses(address_of(own), {address_of(owner): count for owner, count in owners.items() if owner != own})


async def _forgotten(before: datetime | None, everywhere: bool, environment: Environment) -> int:  # noqa: FBT001 anyio.run passes no names
    async with app_state(environment) as state:
        owners = list(await state.owners()) if everywhere else [await state.owner()]
        return sum([await state.history.forget(owner, before=before) for owner in owners])


def _environment() -> Environment:
    return Environment(settings_here(), home=Path.home())


def _about(elsewhere: dict[str, int]) -> str:
    return "Orders at other addresses: " + ", ".join(f"{count} at {address}" for address, count in elsewhere.items())


def _print(page: Listing, screen: Screen | None) -> None:
    # In a pipe there is no edge to keep within: grep finds whole prompts and whole paths.
    is_terminal = sys.stdout.isatty()
    console = Printer() if is_terminal else Printer(width=100_000)
    if not page.tasks:
        console.print("No pictures were asked for yet, or none like that.", highlight=False)
    elif is_terminal:
        left = HANDFUL
        for entry in page.tasks:
            _print_entry(entry, console)
            if screen:
                for file in entry.files[:left]:
                    screen.show(Path(file), share=SMALL)
                left = max(0, left - len(entry.files))
    else:
        console.print(_table(page))
    if page.next_cursor:
        console.print(MORE, style="dim", highlight=False)
    if page.note:
        console.print(page.note, style="dim", highlight=False, markup=False)
    if page.elsewhere:
        line = f"{_about(page.elsewhere)}; --all lists them."
        console.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)


def _print_entry(entry: Entry, console: Console) -> None:
    """One line as wide as the screen; ids and places below it, for they must not be broken, to be copied whole."""
    cost = "" if entry.cost_usd is None else f"${entry.cost_usd:.2f}"
    prompt = " ".join(entry.prompt.split())
    line = Text(f"{entry.asked_at.astimezone():%Y-%m-%d %H:%M}  {entry.status:9}  {cost:>6}  {prompt}")
    console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
    address = [f"at {entry.address}"] if isinstance(entry, AddressedEntry) else []
    for below in (entry.task_id, *address, *_places(entry)):
        console.print(Text(f"  {below}"), style="dim" if below == entry.task_id else "", soft_wrap=True)


def _places(entry: Entry) -> list[str]:
    """Where its pictures are: in files, or at addresses that still work; and what went wrong."""
    live = entry.urls_expire_at is None or entry.urls_expire_at > utcnow()
    places = entry.files or [f"not saved: {url if live else 'its link has expired'}" for url in entry.urls]
    return [*places, *([entry.error] if entry.error else [])]


def _table(page: Listing) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("asked, local time", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("cost", justify="right", no_wrap=True)
    addresses = [entry.address for entry in page.tasks if isinstance(entry, AddressedEntry)]
    if addresses:
        table.add_column("address", no_wrap=True)
    table.add_column("id", no_wrap=True)
    table.add_column("prompt", no_wrap=True)
    table.add_column("file, or error", no_wrap=True)
    for entry in page.tasks:
        table.add_row(
            f"{entry.asked_at.astimezone():%Y-%m-%d %H:%M}",
            entry.status,
            "" if entry.cost_usd is None else f"${entry.cost_usd:.2f}",
            *([entry.address] if isinstance(entry, AddressedEntry) else []),
            entry.task_id,
            Text(" ".join(entry.prompt.split())),
            Text("\n".join(_places(entry))),
        )
    return table


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
