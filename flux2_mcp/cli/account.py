"""flux2-mcp account: the balance, and what the limits leave of it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import anyio

from flux2_mcp.app_state import Environment, app_state
from flux2_mcp.errors import NoApiKey
from flux2_mcp.invocation import command
from flux2_mcp.presenters.account import Money, money
from flux2_mcp.settings import Settings
from flux2_mcp.studio import Account


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `account` takes."""
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout, for scripts")
    parser.epilog = "exit codes: 0 done, 2 a setting cannot be used, or RunAPI refuses the key"
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print it; 2 when RunAPI refuses the key. What is not known is left out of the JSON.

    Raises:
        Flux2Error: A setting or the key cannot be used.
    """
    account, missing = anyio.run(_account)
    known = money(account)
    if options.json:
        print(known.model_dump_json(indent=1, exclude_none=True, ensure_ascii=True))
    else:
        print("\n".join(_lines(known, missing)))
    if account.key_error:
        print(f"flux2-mcp: {account.key_error.typed}", file=sys.stderr)
    return 2 if account.key_error else 0


async def _account() -> tuple[Account, NoApiKey | None]:
    """What is known, and why there is no key to ask RunAPI with."""
    async with app_state(Environment(Settings.from_environ(os.environ), home=Path.home())) as state:
        studio = await state.studio(without_key=True)
        account = await studio.account()
        if not studio.runapi.has_key:
            try:
                await state.studio()
            except NoApiKey as error:
                return account, error
        return account, None


def _lines(known: Money, missing: NoApiKey | None) -> list[str]:
    unknown = f"not known; `{command('doctor')}` says why"
    if missing:
        unknown = f"not known. {missing.typed_message} {missing.typed_remedy}"
    return [
        f"balance: {unknown if known.balance_usd is None else f'${known.balance_usd:.2f}'}",
        f"spent today: ${known.spent_today_usd:.2f}, at this address, from midnight UTC",
        f"left today: {_or_no_limit(known.left_today_usd)}",
        f"at most per call: {_or_no_limit(known.max_cost_per_call_usd)}",
    ]


def _or_no_limit(amount: float | None) -> str:
    return "no limit" if amount is None else f"${amount:.2f}"
