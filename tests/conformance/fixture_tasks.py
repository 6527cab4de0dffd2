"""The tools that the suite's tasks scenarios call, on our extension: they wait for the clock, or for answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import MethodBinding
from mcp.server.mcpserver import Context, require_client_extension
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    CallToolRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
)

from flux2_mcp.app_state import AppState
from flux2_mcp.server.strict import StrictServer
from flux2_mcp.server.tasks_extension import IDENTIFIER, WAITING, TaskParams, Tasks
from flux2_mcp.server.tickets import ticket_of

Ctx = Context[AppState]
Answers = dict[str, dict[str, Any]]

NEED_TASKS = frozenset({"failing_job", "test_tool_with_task"})
SLOW = NEED_TASKS | {"slow_compute", "protocol_error_job", "confirm_delete", "multi_input"}
LONG_ENOUGH = 0.5
"""Seconds after which a call is a task."""


class Update(TaskParams):
    input_responses: Answers


class FixtureTasks(Tasks):
    """Our extension, and what only these tools need of one: questions, and results that no history holds."""

    def __init__(self) -> None:
        super().__init__(WAITING | SLOW)
        self._questions: dict[str, dict[str, anyio.Event]] = {}
        self._answers: dict[str, Answers] = {}
        self._ended: dict[str, dict[str, Any]] = {}

    def methods(self) -> list[MethodBinding]:
        ours = {binding.method: binding for binding in super().methods()}
        update = MethodBinding("tasks/update", Update, self.answer, ours["tasks/update"].protocol_versions)
        return list({**ours, "tasks/update": update}.values())

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[AppState], call_next: CallNext
    ) -> HandlerResult:
        if params.name in NEED_TASKS:
            require_client_extension(ctx, IDENTIFIER)
        return await super().intercept_tool_call(params, ctx, call_next)

    async def get(self, ctx: ServerRequestContext[AppState], params: TaskParams) -> dict[str, Any]:
        if params.task_id in self._ended:
            return self._ended[params.task_id]
        task = await super().get(ctx, params)
        if task["status"] == "completed":
            self._ended[params.task_id] = task
        open_questions = [key for key, answered in self._open(params.task_id).items() if not answered.is_set()]
        if task["status"] == "working" and open_questions:
            return task | {
                "status": "input_required",
                "inputRequests": {key: dumped(question(key)) for key in open_questions},
            }
        return task

    async def answer(self, ctx: ServerRequestContext[AppState], params: Update) -> dict[str, Any]:
        acknowledged = await super().update(ctx, params)
        for key, answered in self._open(params.task_id).items():
            if key in params.input_responses:
                self._answers.setdefault(params.task_id, {})[key] = params.input_responses[key]
                answered.set()
        return acknowledged

    async def cancel(self, ctx: ServerRequestContext[AppState], params: TaskParams) -> dict[str, Any]:
        return {} if params.task_id in self._ended else await super().cancel(ctx, params)

    async def asked(self, id: str, *keys: str) -> Answers:
        """The answers to these questions, once all are there."""
        self._questions[id] = {key: anyio.Event() for key in keys}
        for answered in self._questions[id].values():
            await answered.wait()
        return self._answers.pop(id)

    def _open(self, id: str) -> Mapping[str, anyio.Event]:
        return self._questions.get(id, {})


def question(key: str) -> ElicitRequest:
    schema = {"type": "object", "properties": {key: {"type": "string"}, "confirm": {"type": "boolean"}}}
    return ElicitRequest(params=ElicitRequestFormParams(message=f"What about {key}?", requested_schema=schema))


def dumped(request: ElicitRequest) -> dict[str, Any]:
    return request.model_dump(by_alias=True, mode="json", exclude_none=True)


async def begun(ctx: Ctx) -> str:
    """The id of this call as a task, from now on; empty where its client has no tasks."""
    ticket = ticket_of(ctx)
    if ticket is None:
        return ""
    owner = await ctx.request_context.lifespan_context.owner()
    ticket.named(f"fixture-{uuid4()}", owner=owner, created_at=datetime.now(UTC))
    return ticket.id


def add_tasks(server: StrictServer, tasks: FixtureTasks) -> None:
    @server.tool()
    async def greet(name: str) -> str:
        """Greet somebody."""
        return f"Hello, {name}!"

    @server.tool()
    async def slow_compute(ctx: Ctx, seconds: float = 0, label: str = "") -> str:
        """Take its time."""
        await begun(ctx)
        await anyio.sleep(seconds)
        return f"{label}: computed for {seconds} s"

    @server.tool()
    async def failing_job(ctx: Ctx) -> str:
        """Fail after a second."""
        await begun(ctx)
        await anyio.sleep(1)
        msg = "This job always fails."
        raise ToolError(msg)

    @server.tool()
    async def protocol_error_job(ctx: Ctx) -> str:
        """Break the protocol."""
        await begun(ctx)
        await anyio.sleep(LONG_ENOUGH)
        raise MCPError(INTERNAL_ERROR, "This job breaks the protocol.")

    @server.tool()
    async def confirm_delete(ctx: Ctx, filename: str = "") -> str:
        """Ask once."""
        answers = await tasks.asked(await begun(ctx), "deletion")
        return f"{filename}: {answers['deletion'].get('action')}"

    @server.tool()
    async def multi_input(ctx: Ctx) -> str:
        """Ask twice at once."""
        answers = await tasks.asked(await begun(ctx), "first", "second")
        return f"Answers: {sorted(answers)}"

    @server.tool()
    async def test_tool_with_task(ctx: Ctx) -> str | InputRequiredResult:
        """Ask first, and take its time then."""
        answer = (ctx.input_responses or {}).get("user_name")
        if not isinstance(answer, ElicitResult):
            return InputRequiredResult(input_requests={"user_name": question("name")})
        await begun(ctx)
        await anyio.sleep(LONG_ENOUGH)
        return f"Hello, {(answer.content or {}).get('name')}!"
