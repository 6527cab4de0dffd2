"""What was made and what it costs: tools that return data."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from flux2_mcp.errors import RequestRefused
from flux2_mcp.history import State
from flux2_mcp.presenters.account import STATES, Entries, entries
from flux2_mcp.presenters.estimate import Estimate, estimate_of
from flux2_mcp.server.arguments import AnyStudio, Ctx, Text, ToEstimate, request_of
from flux2_mcp.server.consent import can_ask

Limit = Annotated[int, Field(ge=1, le=50)]
StatusFilter = Annotated[Text, Field(description="running, completed or failed.")]
Words = Annotated[Text, Field(description="Words of the prompt.")]
Cursor = Annotated[Text, Field(description="next_cursor of the page before.")]


async def estimate_cost(ctx: Ctx, studio: AnyStudio, ask: ToEstimate) -> Estimate:
    """What generate, or with sources remix, would cost, what limits and balance leave; free. No cost_usd: unknown."""
    request = request_of(ask)
    if not request.prompt:
        request = replace(request, prompt="any picture")
    return await estimate_of(studio, request, count=ask.count, most_usd=ask.max_cost_usd, can_ask=can_ask(ctx))


async def recent_tasks(
    studio: AnyStudio, limit: Limit = 10, status: StatusFilter = "", text: Words = "", cursor: Cursor = ""
) -> Entries:
    """List pictures ordered through this server, newest first; free."""
    return await entries(studio, limit=limit, states=states_of(status), text=text, cursor=cursor)


def states_of(status: str) -> tuple[State, ...]:
    """The states of an order that go by this word.

    Raises:
        RequestRefused: There is no such word.
    """
    if (states := STATES.get(status.strip().lower())) is None:
        msg = f"There is no status {status[:40]!r}. There are running, completed and failed."
        raise RequestRefused(msg)
    return states
