"""What a request would cost, and whether its owner's limits allow it.

Amounts are US cents. What is reserved, refunded and settled is in the history: an order counts with its estimate until
RunAPI states its cost, and with nothing once it has failed. Adding up and inserting is one transaction there, so that
calls and processes cannot pass a limit together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import anyio

from flux2_mcp.catalogue import PriceList, Request, listed
from flux2_mcp.errors import OutOfCredits, OverLimit, RunApiError, Wording, same_again
from flux2_mcp.history import History
from flux2_mcp.settings import Settings

if TYPE_CHECKING:
    from flux2_mcp.runapi.client import RunAPI

PATIENCE_FOR_QUOTES = 2.0
"""Seconds."""


@dataclass(frozen=True)
class Limits:
    """What the owner allows, in US cents; None allows any amount."""

    per_call: int | None = 100
    per_day: int | None = None
    confirm_over: int | None = None
    allow_unknown_price: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The limits of everybody who has no others."""
        return cls(
            per_call=settings.max_cost_per_call,
            per_day=settings.daily_budget,
            confirm_over=settings.confirm_over,
            allow_unknown_price=settings.allow_unknown_price,
        )


@dataclass(frozen=True)
class Quote:
    """What a call would cost."""

    each: int | None
    """US cents per picture; None when nobody states a price."""
    count: int
    """How many pictures are to be paid for."""
    source: Literal["RunAPI", "built in", "quote", "unknown"]
    as_of: str

    @property
    def total(self) -> int | None:
        """US cents for all of them."""
        if not self.count:
            return 0
        return None if self.each is None else self.each * self.count


@dataclass(frozen=True)
class Agreement:
    """What one call may order without asking the person again."""

    pictures: int | None
    """None for any number, as long as they cost no more."""
    cents: int | None
    """US cents for all of them; None when they agreed to a price that nobody states."""

    def covers(self, quote: Quote) -> bool:
        """Whether the call still costs no more than this."""
        are_more = self.pictures is not None and quote.count > self.pictures
        is_dearer = self.cents is not None and (quote.total is None or quote.total > self.cents)
        return not are_more and not is_dearer


@dataclass(frozen=True)
class Budget:
    """One owner's prices and limits."""

    owner: str
    runapi: RunAPI
    prices: PriceList
    history: History
    limits: Limits

    async def quote(self, request: Request, count: int) -> Quote:
        """What this checked request would cost; asks RunAPI for what no table knows. Creates nothing."""
        prices = self.prices.known
        if (each := prices.of(request)) is not None:
            return Quote(each, count, prices.source, prices.as_of)
        try:
            with anyio.fail_after(PATIENCE_FOR_QUOTES):
                answer = await self.runapi.price_quote(request.action, _priced(request))
        except (RunApiError, TimeoutError):
            return Quote(None, count, "unknown", prices.as_of)
        each = answer.reservation_amount_cents
        if each is None or answer.pricing_status != "available" or answer.currency != "USD":
            return Quote(None, count, "unknown", answer.as_of)
        return Quote(each, count, "quote", answer.as_of)

    def must_ask(self, quote: Quote) -> bool:
        """Whether the person wants to be asked before so much is spent."""
        limit = self.limits.confirm_over
        return limit is not None and (quote.total is None or quote.total > limit)

    def agreed(self, quote: Quote) -> Agreement | None:
        """What this quote's call may spend, once the person agreed or need not be asked; None: they never are."""
        if self.must_ask(quote):
            return Agreement(quote.count, quote.total)
        limit = self.limits.confirm_over
        return None if limit is None else Agreement(None, limit)

    def check(self, quote: Quote, *, most_usd: float | None = None, agreed: Agreement | None = None) -> None:
        """Let the call pass, or say which limit stands in its way.

        Raises:
            OverLimit: The call's own limit, the owner's limit per call, an unknown price under a limit that holds for
                it, or more than the person agreed to.
        """
        if agreed and not agreed.covers(quote):
            msg = Wording(
                "Meanwhile this costs more than when the person was, or would have been, asked about it.",
                "Meanwhile this costs more than when you were, or would have been, asked about it.",
            )
            raise OverLimit(msg, remedy=same_again("; it asks about what it costs now."))
        most = None if most_usd is None else math.floor(round(most_usd * 100, 6))
        for name, cap, remedy in ((OWN_CAP, most, _ASK_LESS), (_CAP_PER_CALL, self.limits.per_call, _RAISE_CAP)):
            if cap is not None and quote.total is not None and quote.total > cap:
                raise OverLimit(_over(quote, name, cap), remedy=remedy)
        if quote.total is None:
            self._check_unknown(most_usd)

    def _check_unknown(self, most_usd: float | None) -> None:
        """Refuse a price that nobody states under any limit; the person can lift their own for it, but no caller's."""
        theirs = {"FLUX2_MAX_COST_PER_CALL": self.limits.per_call, "FLUX2_DAILY_BUDGET": self.limits.per_day}
        capped = [name for name, cap in theirs.items() if cap is not None]
        if capped and not self.limits.allow_unknown_price:
            way_out = Wording("let the person set FLUX2_ALLOW_UNKNOWN_PRICE=true", "set FLUX2_ALLOW_UNKNOWN_PRICE=true")
            raise self._unknown(within=Wording(capped[0], capped[0]), way_out=way_out)
        if most_usd is not None:
            way_out = Wording(
                f"leave {OWN_CAP.tool} out if the person accepts a price that nobody states",
                f"leave {OWN_CAP.typed} out if you accept a price that nobody states",
            )
            raise self._unknown(within=OWN_CAP, way_out=way_out)

    def _unknown(self, *, within: Wording, way_out: Wording) -> OverLimit:
        msg = "Nobody states a price for this model, so it cannot be held within"
        return OverLimit(
            Wording(f"{msg} {within.tool}.", f"{msg} {within.typed}."),
            remedy=Wording(self._instead(way_out.tool), self._instead(way_out.typed)),
        )

    def _instead(self, way_out: str) -> str:
        priced = self.prices.priced
        return f"Use {listed(priced, 'or')}, or {way_out}." if priced else f"{way_out[0].upper()}{way_out[1:]}."

    def check_day(self, quote: Quote, *, spent: int) -> None:
        """Say beforehand what the history would say when the orders are opened; `spent` is in US cents.

        Raises:
            OverLimit: The call would pass the daily budget.
        """
        cap = self.limits.per_day
        if cap is not None and spent + (quote.total or 0) > cap:
            msg = f"${spent / 100:.2f} of the ${cap / 100:.2f} of FLUX2_DAILY_BUDGET are spent or reserved today."
            remedy = Wording(
                "Wait until midnight UTC, or let the person raise the budget.",
                "Wait until midnight UTC, or raise FLUX2_DAILY_BUDGET.",
            )
            raise OverLimit(msg, remedy=remedy)

    def check_balance(self, quote: Quote, *, balance: int | None) -> None:
        """Say beforehand what RunAPI would say; `balance` is in US cents, None when it is not known.

        Raises:
            OutOfCredits: The account cannot pay for this.
        """
        if balance is not None and (quote.total or 0) > balance:
            msg = (
                f"The balance at RunAPI is ${balance / 100:.2f}, less than the ${(quote.total or 0) / 100:.2f} of this."
            )
            raise OutOfCredits(msg)

    async def spent_today(self) -> int:
        """US cents spent and reserved since midnight UTC."""
        return await self.history.spent_cents(self.owner, since=self.history.midnight())


def _priced(request: Request) -> dict[str, object]:
    """The body to ask a price for: nothing of the user's but the prompt leaves this machine for that."""
    stand_ins = [f"https://example.com/source-{nth}.png" for nth, _ in enumerate(request.source_image_urls, 1)]
    return replace(request, source_image_urls=tuple(stand_ins), callback_url=None).body


OWN_CAP = Wording("max_cost_usd", "--max-cost")
"""The limit that a call brings itself."""
_CAP_PER_CALL = Wording("FLUX2_MAX_COST_PER_CALL", "FLUX2_MAX_COST_PER_CALL")
_LESS = "Ask for fewer pictures, a cheaper model or 1k"
_ASK_LESS = Wording(
    f"{_LESS}, or allow more with {OWN_CAP.tool}.",
    f"{_LESS}, or allow more with {OWN_CAP.typed}.",
)
_RAISE_CAP = Wording(
    f"{_LESS}; only the person can raise this limit, in the server's settings.",
    f"{_LESS}, or raise {_CAP_PER_CALL.typed}.",
)


def _over(quote: Quote, name: Wording, cap: int) -> Wording:
    pictures = "The picture" if quote.count == 1 else f"{quote.count} pictures"
    words = f"{pictures} would cost ${(quote.total or 0) / 100:.2f}, more than the ${cap / 100:.2f} of"
    return Wording(f"{words} {name.tool}.", f"{words} {name.typed}.")
