"""Ask the person before a call that costs more than FLUX2_CONFIRM_OVER, in hosts that can ask."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

import anyio
from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver.resolve import Elicit, ListRoots, Resolve
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import ListRootsRequest, ListRootsResult
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import BaseModel, Field, ValidationError

from flux2_mcp.budget import Agreement, Quote
from flux2_mcp.catalogue import Request
from flux2_mcp.errors import OverLimit
from flux2_mcp.runapi.text import one_line
from flux2_mcp.server.arguments import Ctx, TheStudio, ToGenerate, ToRemix
from flux2_mcp.studio import Studio

PATIENCE_FOR_ROOTS = 3.0
"""Seconds that a host gets to list its folders."""
LONGEST_EXCERPT = 60
"""Characters of the prompt in a question."""
WITHOUT_MARKUP = str.maketrans('"', "'", "<>[]`*_|\\")
"""Some hosts show a question as Markdown; and where the prompt ends is ours to say."""
LINK = re.compile(r"//+|(?<=[^\W\d])\.(?=\w)|(?<=\w)\.(?=[^\W\d])")
"""What hosts know an address by, also without markup: `https://x.example`, `www.x.example`, `me@x.example`."""


class Consent(BaseModel):
    """What the person is asked."""

    # No default: hosts would tick it beforehand, and those that fill in defaults would answer in the person's name.
    spend: bool = Field(title="Spend it", description="Order at this price?")


@dataclass(frozen=True)
class Offer:
    """What a call would order now: what was ordered before is taken up, and costs nothing again."""

    order: str
    """The model, how many pictures, and for how much; empty when the person need not be asked."""
    prompt: str
    """Its first words, for the person to recognise."""
    agreement: Agreement | None
    """What the call may order once they agree."""


NO_QUESTION = Offer("", "", None)


async def client_roots(ctx: Ctx, studio: TheStudio, source_image_urls: list[str]) -> ListRootsResult | ListRoots:
    """The folders that the host offers; asked for only when a source lies outside those that are known."""
    capabilities = ctx.client_capabilities
    if not (capabilities and capabilities.roots and studio.reads_elsewhere(source_image_urls)):
        return ListRootsResult(roots=[])
    if ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS:
        return await _listed(ctx)
    return ListRoots()


async def _listed(ctx: Ctx) -> ListRootsResult:
    """Ask as the SDK would, whose way ends the call with a protocol error when the host answers with one."""
    about = ServerMessageMetadata(related_request_id=ctx.request_id)
    with suppress(MCPError, ValidationError), anyio.move_on_after(PATIENCE_FOR_ROOTS):
        return await ctx.session.send_request(ListRootsRequest(), ListRootsResult, metadata=about)
    # A host that has no folders to offer; the refusal of the source says what helps.
    return ListRootsResult(roots=[])


Roots = Annotated[ListRootsResult, Resolve(client_roots)]


async def offer_to_generate(
    studio: TheStudio,
    request: ToGenerate,
    *,
    count: int,
    wait_seconds: float,
    max_cost_usd: float | None,
    repeat: bool,
) -> Offer:
    """What a call of generate would order, where the person may have to be asked about it."""
    if studio.budget.limits.confirm_over is None:
        return NO_QUESTION
    quote = await studio.offer(request, count=count, wait=wait_seconds, repeat=repeat)
    return _offer(studio, request, quote, count, max_cost_usd)


async def offer_to_remix(
    studio: TheStudio,
    request: ToRemix,
    listed: Roots,
    *,
    count: int,
    wait_seconds: float,
    max_cost_usd: float | None,
    repeat: bool,
) -> Offer:
    """The same for a call of remix."""
    if studio.budget.limits.confirm_over is None:
        return NO_QUESTION
    roots = folders(listed)
    quote = await studio.offer(request, count=count, wait=wait_seconds, repeat=repeat, client_roots=roots)
    return _offer(studio, request, quote, count, max_cost_usd)


OfferToGenerate = Annotated[Offer, Resolve(offer_to_generate)]
OfferToRemix = Annotated[Offer, Resolve(offer_to_remix)]


async def consent_to_generate(ctx: Ctx, studio: TheStudio, offer: OfferToGenerate) -> Consent | Elicit[Consent]:
    """The person's consent to a call of generate."""
    return _consent(ctx, studio, offer)


async def consent_to_remix(ctx: Ctx, studio: TheStudio, offer: OfferToRemix) -> Consent | Elicit[Consent]:
    """The person's consent to a call of remix."""
    return _consent(ctx, studio, offer)


def check_consent(answer: ElicitationResult[Consent]) -> None:
    """Go on only if the person agreed, or was not asked.

    Raises:
        OverLimit: They did not agree.
    """
    if isinstance(answer, AcceptedElicitation) and answer.data.spend:
        return
    msg = "The person was asked about the price and did not agree."
    raise OverLimit(msg, remedy="Do not order it again unless they say so; a cheaper model, 1k or fewer may do.")


def folders(listed: ListRootsResult) -> list[str]:
    """The addresses of the folders that the host offers."""
    return [str(root.uri) for root in listed.roots]


def _offer(studio: Studio, request: Request, quote: Quote, asked: int, most_usd: float | None) -> Offer:
    agreement = studio.budget.agreed(quote)
    if not studio.budget.must_ask(quote):
        return Offer("", "", agreement)
    studio.budget.check(quote, most_usd=most_usd)  # nobody is asked about what may not be ordered
    return Offer(order_of(studio, request, quote, asked), _excerpt(request.prompt), agreement)


def _excerpt(prompt: str) -> str:
    """Its first words, in which no host finds anything to click."""
    plain = LINK.sub(lambda mark: mark[0].replace("/", "") + " ", prompt.translate(WITHOUT_MARKUP))
    return one_line(plain, most=LONGEST_EXCERPT)


def order_of(studio: Studio, request: Request, quote: Quote, asked: int) -> str:
    """The model, how many pictures, and for how much."""
    model = studio.catalogue.title_of(studio.catalogue.check(request).model)
    price = "at a price that nobody states" if quote.total is None else f"for ${quote.total / 100:.2f}"
    return f"{model}: {_pictures(quote.count, asked)} {price}"


def _pictures(new: int, asked: int) -> str:
    """How many are to be paid for; the others an earlier call has ordered."""
    if new < asked:
        return f"{new} more of {asked} pictures"
    return "one picture" if asked == 1 else f"{asked} pictures"


def _consent(ctx: Ctx, studio: Studio, offer: Offer) -> Consent | Elicit[Consent]:
    if not offer.order:
        return Consent(spend=True)
    check_can_ask(studio, offer.order, can_ask=can_ask(ctx))
    return Elicit(f'{offer.order}, from "{offer.prompt}". Order?', Consent)


def can_ask(ctx: Ctx) -> bool:
    """Whether the host can ask the person."""
    return bool(ctx.client_capabilities and ctx.client_capabilities.elicitation is not None)


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
