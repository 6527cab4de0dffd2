"""Ask the person before a call that costs more than FLUX2_CONFIRM_OVER, in hosts that can ask."""

from __future__ import annotations

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver.resolve import Elicit
from pydantic import BaseModel, Field

from flux2_mcp.catalogue import Request
from flux2_mcp.errors import OverLimit
from flux2_mcp.server.arguments import Ctx, TheStudio
from flux2_mcp.studio import Studio


class Consent(BaseModel):
    """What the person is asked."""

    spend: bool = Field(default=True, title="Spend it", description="Order at this price?")


async def consent_to_generate(
    ctx: Ctx,
    studio: TheStudio,
    prompt: str,
    model: str,
    aspect_ratio: str,
    output_resolution: str,
    count: int,
    max_cost_usd: float | None,
) -> Consent | Elicit[Consent]:
    """The person's consent to a call of generate."""
    request = Request(
        action="text_to_image",
        prompt=prompt,
        model=model,
        aspect_ratio=aspect_ratio,
        output_resolution=output_resolution,
    )
    return await _consent(ctx, studio, request, count, max_cost_usd)


async def consent_to_remix(
    ctx: Ctx,
    studio: TheStudio,
    prompt: str,
    source_image_urls: list[str],
    model: str,
    aspect_ratio: str,
    output_resolution: str,
    count: int,
    max_cost_usd: float | None,
) -> Consent | Elicit[Consent]:
    """The person's consent to a call of remix."""
    request = Request(
        action="remix_image",
        prompt=prompt,
        model=model,
        source_image_urls=tuple(source_image_urls),
        aspect_ratio=aspect_ratio,
        output_resolution=output_resolution,
    )
    return await _consent(ctx, studio, request, count, max_cost_usd)


def check_consent(answer: ElicitationResult[Consent]) -> None:
    """Go on only if the person agreed, or was not asked.

    Raises:
        OverLimit: They did not agree.
    """
    if isinstance(answer, AcceptedElicitation) and answer.data.spend:
        return
    msg = "The person was asked about the price and did not agree."
    raise OverLimit(msg, remedy="Do not order it again unless they say so; a cheaper model, 1k or fewer may do.")


async def _consent(
    ctx: Ctx, studio: Studio, request: Request, count: int, most_usd: float | None
) -> Consent | Elicit[Consent]:
    limit = studio.budget.limits.confirm_over
    if limit is None:
        return Consent()
    request = studio.catalogue.check(request)
    quote = await studio.quote(request, count)
    studio.budget.check(quote, most_usd=most_usd)
    if quote.total is not None and quote.total <= limit:
        return Consent()
    price = "at a price that nobody states" if quote.total is None else f"for ${quote.total / 100:.2f}"
    pictures = "one picture" if count == 1 else f"{count} pictures"
    wish = f"{studio.catalogue.tier_of(request.model).title}: {pictures} {price}"
    if ctx.client_capabilities and ctx.client_capabilities.elicitation is not None:
        return Elicit(f"{wish}. Order?", Consent)
    msg = f"{wish} is more than the ${limit / 100:.2f} of FLUX2_CONFIRM_OVER, and this host cannot ask the person."
    raise OverLimit(msg, remedy="Ask for less, or let the person raise FLUX2_CONFIRM_OVER in the server's settings.")
