"""The extension io.modelcontextprotocol/tasks (SEP-2663): a client that declares it gets a ticket in place of a wait.

MCP calls the ticket a task; ours are RunAPI's. Its id is made of the ids of the call's orders, so that any process that
has the history answers for it: this one from the call in its hands, another, or this one after a restart, by taking up
the orders as task_status does.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import Context, require_client_extension
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ErrorData,
    RequestParams,
    TextContent,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.requests import Request as HttpRequest

from flux2_mcp.app_state import AppState
from flux2_mcp.errors import HistoryUnusable, TooManyCalls
from flux2_mcp.history import Order, ids_in
from flux2_mcp.server.hang_up import STOPPED
from flux2_mcp.server.tickets import Outcome, Ticket, TicketContext
from flux2_mcp.studio import DEFAULT_WAIT, MOST_PICTURES

if TYPE_CHECKING:
    from flux2_mcp.server.strict import StrictServer

logger = logging.getLogger(__name__)

IDENTIFIER = "io.modelcontextprotocol/tasks"
WAITING = frozenset({"generate", "remix", "task_status"})
"""The tools whose calls wait for RunAPI."""
POLL_INTERVAL = timedelta(seconds=2)
TTL = timedelta(days=7)
"""As long as RunAPI keeps a picture. Where it was saved, the ticket is good for longer."""
PATIENCE = 3.0
"""Seconds that a client waits when its ticket is taken up: for one look at RunAPI, and a picture that is here."""
IN_OTHER_HANDS = timedelta(minutes=1)
"""For so long another process may be sending an order of which RunAPI's answer is not noted yet."""
MOST_KEPT = 64
"""Results that are kept in memory until they are fetched; others are made anew from the history."""
LONGEST_LOOK = 30.0
"""Seconds that a client waits for such a result, when all orders are over: what has ended is not said to go on."""
CANCELLED = (
    "Nobody waits for it any more. RunAPI cannot cancel what was ordered: it is made, and paid for once. The same call "
    "within 15 minutes, or task_status with this id, gives it."
)

Ctx = ServerRequestContext[AppState]
Wire = dict[str, Any]


class TaskParams(RequestParams):
    """Which ticket a request is about."""

    task_id: str


class Tasks(Extension):
    """Hands out tickets for the calls of these tools, and answers for them."""

    identifier = IDENTIFIER
    server: StrictServer
    """Whose extension it is; known once that is made."""

    def __init__(self, tools: Collection[str] = WAITING) -> None:
        self._tools = tools
        self._tickets: dict[tuple[str, str], Ticket] = {}
        """By owner and id."""

    def methods(self) -> Sequence[MethodBinding]:
        """Give what a client does with a ticket; in the modern era only."""
        handlers = {"tasks/get": self.get, "tasks/update": self.update, "tasks/cancel": self.cancel}
        versions = frozenset(MODERN_PROTOCOL_VERSIONS)
        return [MethodBinding(name, TaskParams, handler, versions) for name, handler in handlers.items()]

    async def intercept_tool_call(self, params: CallToolRequestParams, ctx: Ctx, call_next: CallNext) -> HandlerResult:
        """Carry out the call apart from its request, and answer with its ticket if it takes long.

        Raises:
            MCPError: The call ended so.
        """
        if params.name not in self._tools or not _declares(ctx):
            return await call_next(ctx)
        ticket = Ticket()
        self._start(ctx, ticket, partial(call_next, TicketContext.of(ctx, ticket)))
        try:
            await ticket.due()
        except anyio.get_cancelled_exc_class():
            ticket.cancel()
            raise
        if not ticket.ended.is_set():
            self._hand_out(ticket)
            return _described(ticket) | {"resultType": "task"}
        if ticket.outcome is None or isinstance(ticket.outcome, ErrorData):
            raise MCPError.from_error_data(ticket.outcome or ErrorData(code=INTERNAL_ERROR, message=str(STOPPED)))
        ticket.delivered()
        return ticket.outcome

    async def get(self, ctx: Ctx, params: TaskParams) -> Wire:
        """Say how the call is doing; in the end, its result.

        Raises:
            MCPError: There is no such ticket of this caller's, or it cannot be answered for now.
        """
        ticket = await self._ticket(ctx, params)
        if isinstance(ticket, dict):
            return ticket
        if ticket.refusal:
            raise MCPError(INTERNAL_ERROR, ticket.refusal)
        if ticket.is_cancelled:
            return _described(ticket, "cancelled", CANCELLED)
        if not ticket.is_final:
            return _described(ticket)
        if isinstance(ticket.outcome, ErrorData):
            error = ticket.outcome.model_dump(by_alias=True, mode="json", exclude_none=True)
            return _described(ticket, "failed", ticket.outcome.message) | {"error": error}
        assert ticket.outcome is not None  # noqa: S101 it is final
        ticket.delivered()
        self._forget(ticket)  # it may be large, and can be had again
        return _described(ticket, "completed") | {"result": _dumped(ticket.outcome)}

    async def update(self, ctx: Ctx, params: TaskParams) -> Wire:
        """Take answers to questions, and ignore them: a call that has a ticket asks none.

        Raises:
            MCPError: There is no such ticket of this caller's.
        """
        await self._known(ctx, params)
        return {}

    async def cancel(self, ctx: Ctx, params: TaskParams) -> Wire:
        """Stop waiting for what was ordered. It goes on, and stays to be had.

        Raises:
            MCPError: There is no such ticket of this caller's.
        """
        known = await self._known(ctx, params)
        if isinstance(known, Ticket):
            if not known.ended.is_set():
                known.cancel()
        elif not all(order.is_over for order in known):
            ticket = _ticket_for(params.task_id, known)
            ticket.cancel()
            self._keep(ticket)
        return {}

    async def _known(self, ctx: Ctx, params: TaskParams) -> Ticket | Sequence[Order]:
        """The ticket in this process, or else the orders that it stands for."""
        require_client_extension(ctx, IDENTIFIER)
        _check_header(ctx, params.task_id)
        state = ctx.lifespan_context
        owner = await state.owner()
        if ticket := self._tickets.get((owner, params.task_id)):
            return ticket
        ids = ids_in(params.task_id)
        try:
            found = [await state.history.find(owner, id) for id in ids] if len(ids) <= MOST_PICTURES else []
        except HistoryUnusable as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from error
        orders = [order for order in found if order]
        if not orders or len(orders) < len(ids):
            # The same words whether it is another caller's or nobody's.
            msg = f"This server knows no task {params.task_id[:140]!r} of yours."
            raise MCPError(INVALID_PARAMS, msg)
        return orders

    async def _ticket(self, ctx: Ctx, params: TaskParams) -> Ticket | Wire:
        """The ticket in this process, taken up if there was none; or what to say of it meanwhile."""
        known = await self._known(ctx, params)
        if isinstance(known, Ticket):
            await known.looked_at()
            return known
        now = ctx.lifespan_context.history.now()
        if any(order.state == "intended" and now - order.created_at < IN_OTHER_HANDS for order in known):
            return _described(_ticket_for(params.task_id, known), message="The order is on its way to RunAPI")
        # Another request may have taken it up at the same time.
        ticket = self._tickets.get((known[0].owner, params.task_id))
        if ticket is None:
            ticket = _ticket_for(params.task_id, known)
            self._start(ctx, ticket, partial(self._take_up, TicketContext.of(ctx, ticket)))
            patience = LONGEST_LOOK if all(order.is_over for order in known) else PATIENCE
            ticket.look_ends_at = anyio.current_time() + patience
            self._hand_out(ticket)
        await ticket.looked_at()
        return ticket

    async def _take_up(self, ctx: TicketContext) -> HandlerResult:
        """Look at its orders and wait for them, as task_status does; nothing where that cannot be done now."""
        look = {"task_id": ctx.ticket.id, "wait_seconds": DEFAULT_WAIT}
        context = Context(request_context=ctx, mcp_server=self.server)
        try:
            return await self.server.call_tool("task_status", look, context)
        except ToolError as error:
            words = str(error)
            if isinstance(error, UnexpectedToolError):
                logger.exception("A task could not be taken up")
            if isinstance(error.__cause__, TooManyCalls):
                ctx.ticket.words = lambda: words
                return None
            if not ctx.ticket.is_settled:
                ctx.ticket.refusal = words
                return None
            return CallToolResult(content=[TextContent(text=words)], is_error=True)

    def _start(self, ctx: Ctx, ticket: Ticket, call: Callable[[], Awaitable[HandlerResult]]) -> None:
        """Carry out the call in the background."""
        name = f"call {id(ticket)}"
        ctx.lifespan_context.background.start(name, partial(self._carry_out, ticket, call), matters=False)

    async def _carry_out(self, ticket: Ticket, call: Callable[[], Awaitable[HandlerResult]]) -> None:
        try:
            with ticket.scope:
                ticket.outcome = await _outcome_of(call)
        finally:
            ticket.end()
            if ticket.is_handed_out and not (ticket.is_final or ticket.is_cancelled):
                # Whoever asks next takes it up.
                self._forget(ticket)
            self._let_go()

    def _hand_out(self, ticket: Ticket) -> None:
        ticket.is_handed_out = True
        self._keep(ticket)

    def _keep(self, ticket: Ticket) -> None:
        self._tickets[ticket.owner, ticket.id] = ticket
        self._let_go()

    def _let_go(self) -> None:
        """Keep no more results than there is room for."""
        ended = [each for each in self._tickets.values() if each.ended.is_set()]
        for oldest in ended[: max(0, len(ended) - MOST_KEPT)]:
            self._forget(oldest)

    def _forget(self, ticket: Ticket) -> None:
        key = (ticket.owner, ticket.id)
        if self._tickets.get(key) is ticket:
            del self._tickets[key]


def _declares(ctx: Ctx) -> bool:
    """Whether the client of this request knows what a ticket is."""
    declared = ctx.session.client_capabilities
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS and IDENTIFIER in ((declared and declared.extensions) or {})


def _check_header(ctx: Ctx, task_id: str) -> None:
    """Over HTTP, see that proxies were told the same id.

    Raises:
        MCPError: They were not.
    """
    request = ctx.request
    if isinstance(request, HttpRequest) and decode_header_value(request.headers.get(MCP_NAME_HEADER)) != task_id:
        msg = f"The header {MCP_NAME_HEADER} does not match the request body's 'taskId' parameter."
        raise MCPError(HEADER_MISMATCH, msg)


async def _outcome_of(call: Callable[[], Awaitable[HandlerResult]]) -> Outcome | None:
    try:
        result = await call()
    except MCPError as error:
        return error.error
    assert result is None or isinstance(result, Outcome), "the SDK's tools/call gives nothing else"  # noqa: S101 its promise
    return result


def _ticket_for(id: str, orders: Sequence[Order]) -> Ticket:
    """A ticket for orders in the history."""
    dates = [date for order in orders for date in (order.created_at, order.accepted_at, order.finished_at) if date]
    ticket = Ticket(updated_at=max(dates))
    ticket.named(id, owner=orders[0].owner, created_at=min(order.created_at for order in orders))
    return ticket


def _described(ticket: Ticket, status: str = "working", message: str = "") -> Wire:
    """The ticket as clients know it."""
    words = message or (ticket.words() if status == "working" else "")
    return {
        "taskId": ticket.id,
        "status": status,
        **({"statusMessage": words} if words else {}),
        "createdAt": _moment(ticket.created_at),
        "lastUpdatedAt": _moment(ticket.updated_at),
        "ttlMs": TTL // timedelta(milliseconds=1),
        "pollIntervalMs": POLL_INTERVAL // timedelta(milliseconds=1),
    }


def _dumped(outcome: Outcome) -> Wire:
    return outcome.model_dump(by_alias=True, mode="json", exclude_none=True)


def _moment(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
