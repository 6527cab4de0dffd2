"""A client that declares the extension io.modelcontextprotocol/tasks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import anyio
from mcp.client import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.session import ClientSession
from mcp_types import CallToolResult, Request, RequestParams, Result
from pydantic import ConfigDict

from flux2_mcp.server.tasks_extension import IDENTIFIER

OVER = ("completed", "failed", "cancelled")


class Task(Result):
    """What the server says of a task, when it hands it out and whenever it is asked."""

    model_config = ConfigDict(extra="allow")

    result_type: Literal["task", "complete"] = "complete"
    task_id: str
    status: str
    status_message: str = ""
    created_at: str
    last_updated_at: str
    ttl_ms: int | None
    poll_interval_ms: int
    result: CallToolResult | None = None


class CreatedTask(Task):
    result_type: Literal["task"] = "task"  # pyright: ignore[reportIncompatibleVariableOverride] a claim's, by its rule


class TaskParams(RequestParams):
    task_id: str
    input_responses: dict[str, Any] | None = None


class TaskRequest(Request[TaskParams, str]):
    name_param: ClassVar[str | None] = "taskId"


async def ask(session: ClientSession, what: str, task_id: str) -> Task:
    """tasks/get, or another of its methods that answers with a task."""
    request = TaskRequest(method=f"tasks/{what}", params=TaskParams(task_id=task_id))
    return await session.send_request(request, Task)


async def tell(session: ClientSession, what: str, task_id: str, **responses: Any) -> Result:  # noqa: ANN401 as in MCP
    """tasks/cancel or tasks/update."""
    params = TaskParams(task_id=task_id, input_responses=responses if what == "update" else None)
    return await session.send_request(TaskRequest(method=f"tasks/{what}", params=params), Result)


async def result_of(session: ClientSession, task_id: str) -> CallToolResult:
    """The result, once there is one."""
    while (task := await ask(session, "get", task_id)).status not in OVER:  # noqa: ASYNC110 that is how they are waited for
        await anyio.sleep(0.1)
    assert task.status == "completed"
    assert task.result is not None
    return task.result


class TasksExtension(ClientExtension):
    """Waits for tasks by itself."""

    identifier = IDENTIFIER

    def claims(self) -> Sequence[ResultClaim[Any]]:
        async def resolve(created: CreatedTask, context: ClaimContext) -> CallToolResult:
            return await result_of(context.session, created.task_id)

        return [ResultClaim(result_type="task", model=CreatedTask, resolve=resolve)]


@dataclass
class TasksClient:
    """A client that waits when it wants to."""

    session: ClientSession

    async def start(self, tool: str, **arguments: object) -> CreatedTask:
        """Call a tool that takes long."""
        answer: object = await self.call(tool, **arguments)
        assert isinstance(answer, CreatedTask), answer
        return answer

    async def call(self, tool: str, **arguments: object) -> Result:
        """Whatever the server answers first."""
        return await self.session.call_tool(tool, arguments, allow_claimed=True)

    async def get(self, task: Task | str) -> Task:
        return await ask(self.session, "get", task if isinstance(task, str) else task.task_id)

    async def result(self, task: Task | str) -> CallToolResult:
        return await result_of(self.session, task if isinstance(task, str) else task.task_id)

    async def cancel(self, task: Task | str) -> None:
        await tell(self.session, "cancel", task if isinstance(task, str) else task.task_id)


@asynccontextmanager
async def tasks_client(server: Any, **options: Any) -> AsyncGenerator[TasksClient, None]:  # noqa: ANN401 as Client takes
    async with Client(server, extensions=[TasksExtension()], **options) as client:
        yield TasksClient(client.session)
