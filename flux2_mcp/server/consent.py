"""Ask the person before a call that costs more than FLUX2_CONFIRM_OVER, in hosts that can ask."""

from __future__ import annotations

import re
from typing import Annotated

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver.resolve import Elicit, Resolve
from pydantic import BaseModel, Field

from flux2_mcp.errors import OverLimit
from flux2_mcp.presenters.estimate import check_can_ask, words_for_order
from flux2_mcp.server.arguments import Ask, Ctx, TheStudio
from flux2_mcp.server.plan import ThePlan, is_answered_meanwhile
from flux2_mcp.studio import Plan, Studio
from flux2_mcp.text import one_line

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


async def consent(ctx: Ctx, studio: TheStudio, ask: Ask, plan: ThePlan) -> Consent | Elicit[Consent]:
    """The person's consent; they are asked only about what no earlier order stands for."""
    if not studio.budget.must_ask(plan.new):
        return Consent(spend=True)
    studio.budget.check(plan.new, most_usd=ask.max_cost_usd)  # nobody is asked about what may not be ordered
    order = words_for_order(studio.catalogue, plan.request, plan.new, asked=ask.count)
    check_can_ask(studio, order, can_ask=can_ask(ctx))
    return Elicit(f'{order}, from "{_excerpt(plan.request.prompt)}". Order?', Consent)


TheConsent = Annotated[ElicitationResult[Consent], Resolve(consent)]


async def plan_after(ctx: Ctx, studio: Studio, plan: Plan, answer: ElicitationResult[Consent]) -> Plan:
    """The plan to go on with, if the person agreed to it, or was not asked.

    Where they were asked in the middle of the call, prices and orders may have changed, and the wait begins anew.

    Raises:
        OverLimit: They did not agree.
    """
    if not (isinstance(answer, AcceptedElicitation) and answer.data.spend):
        msg = "The person was asked about the price and did not agree."
        raise OverLimit(msg, remedy="Do not order it again unless they say so; a cheaper model, 1k or fewer may do.")
    was_asked_meanwhile = is_answered_meanwhile(ctx) and studio.budget.must_ask(plan.new)
    return await studio.renewed(plan) if was_asked_meanwhile else plan


def _excerpt(prompt: str) -> str:
    """Its first words, in which no host finds anything to click."""
    plain = LINK.sub(lambda mark: mark[0].replace("/", "") + " ", prompt.translate(WITHOUT_MARKUP))
    return one_line(plain, most=LONGEST_EXCERPT)


def can_ask(ctx: Ctx) -> bool:
    """Whether the host can ask the person."""
    return bool(ctx.client_capabilities and ctx.client_capabilities.elicitation is not None)
