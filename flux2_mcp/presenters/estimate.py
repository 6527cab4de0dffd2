"""What a call would cost, whether it would go through, and how an order is put to the person."""

from __future__ import annotations

from flux2_mcp.budget import Quote
from flux2_mcp.catalogue import Catalogue, Request
from flux2_mcp.errors import KeyRejected, NoApiKey, OutOfCredits, OverLimit
from flux2_mcp.presenters.account import Money, in_dollars, money
from flux2_mcp.studio import Account, Studio


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


async def estimate_of(
    studio: Studio, request: Request, *, count: int, most_usd: float | None, can_ask: bool, typed: bool = False
) -> Estimate:
    """What this would cost, and whether it would go through where the person can be asked, or cannot.

    What is in the way is said for a model, or as it is `typed` in a terminal.
    """
    request = studio.catalogue.check(request)
    quote = await studio.estimate(request, count=count)
    account = await studio.account()
    asks = studio.budget.must_ask(quote)
    why_not = None
    try:
        _check_key(studio, account)
        studio.budget.check(quote, most_usd=most_usd)
        if asks:
            check_can_ask(studio, words_for_order(studio.catalogue, request, quote, asked=count), can_ask=can_ask)
        studio.budget.check_day(quote, spent=account.spent_today)
        studio.budget.check_balance(quote, balance=account.balance)
    except (NoApiKey, KeyRejected, OverLimit, OutOfCredits) as error:
        why_not = f"{error.typed_message} {error.typed_remedy}" if typed else f"{error.message} {error.remedy}"
    return Estimate(
        **money(account).model_dump(),
        cost_usd=in_dollars(quote.total),
        cost_usd_each=in_dollars(quote.each),
        pictures=count,
        model=request.model,
        price_source=quote.source,
        price_as_of=quote.as_of,
        allowed=why_not is None,
        why_not=why_not,
        asks_first=asks and why_not is None,
    )


def words_for_order(known: Catalogue, request: Request, quote: Quote, *, asked: int) -> str:
    """The model, how many pictures, and for how much; `quote` is for those of the `asked` that are to be paid for."""
    pictures = "one picture" if asked == 1 else f"{asked} pictures"
    if quote.count < asked:
        pictures = f"{quote.count} more of {pictures}"
    price = "at a price that nobody states" if quote.total is None else f"for ${quote.total / 100:.2f}"
    return f"{known.title_of(request.model)}: {pictures} {price}"


def check_can_ask(studio: Studio, order: str, *, can_ask: bool) -> None:
    """Go on only if the person can be asked about this order.

    Raises:
        OverLimit: They cannot.
    """
    if can_ask:
        return
    limit = studio.budget.limits.confirm_over or 0
    msg = f"{order} is more than the ${limit / 100:.2f} of FLUX2_CONFIRM_OVER, and this host cannot ask the person."
    raise OverLimit(msg, remedy="Ask for less, or let the person raise FLUX2_CONFIRM_OVER in the server's settings.")


def _check_key(studio: Studio, account: Account) -> None:
    """Go on only with a key that RunAPI accepts.

    Raises:
        NoApiKey: There is none.
        KeyRejected: It is wrong, revoked, or not allowed to do this.
    """
    if not studio.runapi.has_key:
        raise NoApiKey
    if account.key_error:
        raise account.key_error
