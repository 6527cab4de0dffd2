"""flux2-mcp account: the balance, and what the limits leave of it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import anyio

from flux2_mcp.app_state import Environment, address_of, app_state
from flux2_mcp.cli.terminal import settings_here
from flux2_mcp.errors import NoApiKey
from flux2_mcp.invocation import command
from flux2_mcp.presenters.account import Money, money
from flux2_mcp.studio import Account


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `account` takes."""
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout, for scripts")
    parser.epilog = (
        "exit codes: 0 done, 1 RunAPI does not say what the balance is, "
        "2 a setting cannot be used, there is no key, or RunAPI refuses it"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print it; see --help for the exit codes. What is not known is left out of the JSON.

    Raises:
        Flux2Error: A setting or the key cannot be used.
    """
    account, address, no_key = anyio.run(_account)
    known = money(account)
    if options.json:
        print(known.model_dump_json(indent=1, exclude_none=True, ensure_ascii=True))
    else:
        print("\n".join(_lines(known, address)))
    if error := account.key_error or no_key:
        print(f"flux2-mcp: {error.typed_message} {error.typed_remedy}", file=sys.stderr)
        return 2
    if known.balance_usd is None:
        print(f"flux2-mcp: RunAPI does not say what the balance is. `{command('doctor')}` says why.", file=sys.stderr)
        return 1
    return 0


async def _account() -> tuple[Account, str, NoApiKey | None]:
    """What is known, at which address, and why there is no key to ask RunAPI with."""
    async with app_state(Environment(settings_here(), home=Path.home())) as state:
        studio = await state.studio(without_key=True)
        account, address = await studio.account(), address_of(studio.owner)
        if not studio.runapi.has_key:
            try:
                await state.studio()
            except NoApiKey as error:
                return account, address, error
        return account, address, None


def _lines(known: Money, address: str) -> list[str]:
    return [
        f"address: {address}",
        f"balance: {'not known' if known.balance_usd is None else f'${known.balance_usd:.2f}'}",
        f"spent today: ${known.spent_today_usd:.2f}, at this address, from midnight UTC",
        f"left today: {_or_no_limit(known.left_today_usd)}",
        f"at most per call: {_or_no_limit(known.max_cost_per_call_usd)}",
    ]


def _or_no_limit(amount: float | None) -> str:
    return "no limit" if amount is None else f"${amount:.2f}"
