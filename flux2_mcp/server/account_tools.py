"""What was made and what it costs: tools that return data, and the resources that show the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from flux2_mcp.catalogue import Request
from flux2_mcp.errors import KeyRejected, NoApiKey, OutOfCredits, OverLimit, RequestRefused
from flux2_mcp.presenters.account import STATES, Entries, Money, entries, in_dollars, money
from flux2_mcp.server.arguments import AnyStudio, Ctx, Text, ToEstimate, request_of
from flux2_mcp.server.consent import can_ask, check_can_ask, order_of
from flux2_mcp.studio import Account, Studio

Limit = Annotated[int, Field(ge=1, le=50)]
StatusFilter = Annotated[Text, Field(description="running, completed or failed.")]
Words = Annotated[Text, Field(description="Words of the prompt.")]
Cursor = Annotated[Text, Field(description="next_cursor of the page before.")]


class Estimate(Money):
    """What a call would cost, and what it would be paid from."""

    cost_usd: float | None = None
    cost_usd_each: float | None = None
    pictures: int
    model: str
    price_source: str
    price_as_of: str
    allowed: bool
    why_not: str | None = None
    asks_first: bool
    """Whether the person is asked before anything is ordered."""


async def estimate_cost(ctx: Ctx, studio: AnyStudio, ask: ToEstimate) -> Estimate:
    """Say what generate, or with sources remix, would cost, and what limits and balance leave; free. No cost_usd: no
    price is known.
    """  # noqa: D205 one paragraph, written for a model
    request = request_of(ask)
    if not request.prompt:
        request = replace(request, prompt="any picture")
    return await estimate_of(studio, request, count=ask.count, most_usd=ask.max_cost_usd, can_ask=can_ask(ctx))


async def estimate_of(
    studio: Studio, request: Request, *, count: int, most_usd: float | None, can_ask: bool, typed: bool = False
) -> Estimate:
    """What this would cost, and whether it would go through where the person can be asked, or cannot.

    What is in the way is said for a model, or as it is `typed` in a terminal.
    """
    quote = await studio.estimate(request, count=count)
    account = await studio.account()
    asks = studio.budget.must_ask(quote)
    why_not = None
    try:
        _check_key(studio, account)
        studio.budget.check(quote, most_usd=most_usd)
        if asks:
            check_can_ask(studio, order_of(studio, request, quote, count), can_ask=can_ask)
        studio.budget.check_day(quote, spent=account.spent_today)
        studio.budget.check_balance(quote, balance=account.balance)
    except (NoApiKey, KeyRejected, OverLimit, OutOfCredits) as refusal:
        why_not = f"{refusal.message} {refusal.remedy}"
        if typed:
            why_not = f"{refusal.typed_message} {refusal.typed_remedy}"
    return Estimate(
        **money(account).model_dump(),
        cost_usd=in_dollars(quote.total),
        cost_usd_each=in_dollars(quote.each),
        pictures=count,
        model=studio.catalogue.check(request).model,
        price_source=quote.source,
        price_as_of=quote.as_of,
        allowed=why_not is None,
        why_not=why_not,
        asks_first=asks and why_not is None,
    )


def _check_key(studio: Studio, account: Account) -> None:
    """Go on only with a key that RunAPI accepts.

    Raises:
        NoApiKey: There is none.
        KeyRejected: It is wrong, revoked, or not allowed to do this.
    """
    if not studio.runapi.has_key:
        raise NoApiKey
    if account.refusal:
        raise account.refusal


async def recent_tasks(
    studio: AnyStudio, limit: Limit = 10, status: StatusFilter = "", text: Words = "", cursor: Cursor = ""
) -> Entries:
    """List the pictures ordered through this server, newest first; free."""
    if (states := STATES.get(status.strip().lower())) is None:
        msg = f"There is no status {status[:40]!r}. There are running, completed and failed."
        raise RequestRefused(msg)
    return await entries(studio, limit=limit, states=states, text=text, cursor=cursor)
