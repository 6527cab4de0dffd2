"""What server/sdk.py relies on, against the SDK that is installed: a test here fails when the SDK has changed."""

from __future__ import annotations

import inspect
from io import BytesIO, TextIOWrapper
from typing import Annotated, Any

import anyio
import pytest
from mcp.client import Client
from mcp.client.client import ConnectMode
from mcp.client.context import ClientRequestContext
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedResourceError, UnexpectedToolError
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp.server.mcpserver.tools import Tool
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp_types import ElicitRequestParams, ElicitResult
from pydantic import BaseModel, ValidationError

from flux2_mcp.server.results import NoPicture
from flux2_mcp.server.sdk import (
    Arguments,
    hand_on_together,
    has_lost_its_id,
    hears_progress,
    is_wrong_answer,
    low_level_server,
    replace_schemas,
    tool_failure,
    unreadable_line,
)

Ctx = Context[Any, Any]


def test_run_stdio_async_runs_the_low_level_server() -> None:
    """It still opens its own streams, and the attribute still has this name."""
    assert isinstance(low_level_server(MCPServer("a server")), Server)
    assert list(inspect.signature(MCPServer.run_stdio_async).parameters) == ["self"], "there is a public way now"
    assert "self._lowlevel_server.run(" in inspect.getsource(MCPServer.run_stdio_async)


async def test_a_failure_of_ours_begins_as_the_sdks_do() -> None:
    def fails() -> str:
        msg = "no paint"
        raise ToolError(msg)

    server = MCPServer("a server", tools=[Tool.from_function(fails)])
    with pytest.raises(ToolError) as failure:
        await server.call_tool("fails", {})

    assert str(failure.value) == str(tool_failure("fails", "no paint"))


async def test_whether_a_client_listens_is_known_in_one_process(era: ConnectMode) -> None:
    async def listens(ctx: Ctx) -> bool:
        return hears_progress(ctx)

    async def listener(progress: float, total: float | None, message: str | None) -> None: ...

    async with Client(MCPServer("a server", tools=[Tool.from_function(listens)]), mode=era) as client:
        deaf = await client.call_tool("listens", {})
        listening = await client.call_tool("listens", {}, progress_callback=listener)

    assert [each.structured_content for each in (deaf, listening)] == [{"result": False}, {"result": True}]


class Agreement(BaseModel):
    agreed: bool


async def question() -> Agreement | Elicit[Agreement]:
    return Elicit("Agreed?", Agreement)


def asks(answer: Annotated[Agreement, Resolve(question)]) -> str:
    return str(answer.agreed)


class Noted(Tool):
    """Notes how it fails."""

    failures: list[Any] = []  # noqa: RUF012 pydantic copies it

    async def run(self, arguments: dict[str, Any], context: Ctx, convert_result: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 as in the SDK
        try:
            return await super().run(arguments, context, convert_result)
        except ToolError as failure:
            self.failures.append(failure)
            raise


WRONG_ANSWERS = {
    "no content": ElicitResult(action="accept"),
    "content of another shape": ElicitResult(action="accept", content={"agreed": "perhaps"}),
}


@pytest.mark.parametrize("wrong", WRONG_ANSWERS.values(), ids=WRONG_ANSWERS)
async def test_a_wrong_answer_to_a_question_is_told_apart_from_other_failures(
    era: ConnectMode, wrong: ElicitResult
) -> None:
    async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        return wrong

    tool = Noted.from_function(asks)
    assert isinstance(tool, Noted)
    server = MCPServer("a server", tools=[tool])
    async with Client(server, mode=era, elicitation_callback=answer) as client:
        assert (await client.call_tool("asks", {})).is_error

    [failure] = tool.failures
    assert is_wrong_answer(failure)


def ends_without_a_picture() -> str:
    raise NoPicture


def takes_a_number(number: int) -> str:
    return str(number)


@pytest.mark.parametrize("fn", [ends_without_a_picture, takes_a_number])
async def test_a_failure_of_a_tool_is_no_wrong_answer(fn: Any) -> None:  # noqa: ANN401 any tool
    server = MCPServer("a server", tools=[Tool.from_function(fn)])
    with pytest.raises(ToolError) as failure:
        await server.call_tool(fn.__name__, {})

    assert isinstance(failure.value.__cause__, NoPicture | ValidationError)
    assert not is_wrong_answer(failure.value)


def crashes() -> str:
    raise LookupError


def crashes_by_name(name: str) -> str:
    raise LookupError(name)


async def test_a_crash_names_its_cause() -> None:
    """Our errors are crashes to the SDK, and strict.py and prompts.py find them as the cause."""
    server = MCPServer("a server", tools=[Tool.from_function(crashes)])
    server.resource("test://fixed")(crashes)
    server.resource("test://named/{name}")(crashes_by_name)
    prompt = Prompt(name="crashes", title="", description="", arguments=[], fn=crashes, context_kwarg=None)
    with pytest.raises(UnexpectedToolError) as of_the_tool:
        await server.call_tool("crashes", {})
    with pytest.raises(ValueError, match="crashes") as of_the_prompt:
        await prompt.render({}, Ctx())
    for uri in ("test://fixed", "test://named/fox"):
        with pytest.raises(UnexpectedResourceError) as of_the_resource:
            await server.read_resource(uri)
        assert LookupError in [type(each) for each in causes(of_the_resource.value)]

    assert isinstance(of_the_tool.value.__cause__, LookupError)
    assert isinstance(of_the_prompt.value.__cause__, LookupError)


def causes(error: BaseException) -> list[BaseException]:
    """The cause, its cause, and so on."""
    return [error.__cause__, *causes(error.__cause__)] if error.__cause__ else []


async def test_tools_list_shows_the_schemas_that_are_put_in_place() -> None:
    def counts(number: int) -> dict[str, int]:
        return {"number": number}

    tool = Tool.from_function(counts)
    parameters: dict[str, Any] = {"type": "object", "properties": {"number": {"type": "integer"}}}
    output: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "integer"}}
    assert parameters != tool.parameters
    assert output != tool.fn_metadata.output_schema
    replace_schemas(tool, parameters=parameters, output=output)
    async with Client(MCPServer("a server", tools=[tool])) as client:
        [shown] = (await client.list_tools()).tools
        result = await client.call_tool("counts", {"number": 3})

    assert shown.input_schema == parameters
    assert shown.output_schema == output
    assert result.structured_content == {"number": 3}


async def read(line: bytes) -> SessionMessage | Exception:
    """What the SDK makes of one line of stdin."""
    stdin, stdout = (anyio.wrap_file(TextIOWrapper(BytesIO(data), encoding="utf-8")) for data in (line + b"\n", b""))
    async with stdio_server(stdin, stdout) as (messages, answers), answers, messages:
        return await messages.receive()


class Painting(Arguments):
    words: str
    colours: list[str]


async def first_colour(ask: Painting) -> str:
    return ask.colours[0]


async def paint(ask: Painting, first: Annotated[str, Resolve(first_colour)]) -> str:
    return f"{ask.words} in {first}"


async def test_a_tool_and_what_is_resolved_for_it_are_handed_the_arguments_together() -> None:
    """A host sends them side by side, and a list perhaps as text."""
    tool = Tool.from_function(paint)
    nested = tool.parameters["properties"]
    hand_on_together(tool)
    server = MCPServer("a server", tools=[tool])
    result = await server.call_tool("paint", {"words": "a fox", "colours": '["red", "blue"]'})

    assert list(nested) == ["ask"], "they need not be nested any more"
    assert list(tool.parameters["properties"]) == ["words", "colours"]
    assert tool.parameters["required"] == ["words", "colours"]
    assert "a fox in red" in str(result)


async def test_a_line_that_is_no_json_comes_as_an_error_with_the_line() -> None:
    no_json, no_message = await read(b"no JSON"), await read(b"[]")

    assert isinstance(no_json, ValidationError)
    assert isinstance(no_message, ValidationError)
    assert (unreadable_line(no_json) or "").strip() == "no JSON"
    assert unreadable_line(no_message) is None


async def test_a_request_with_an_unusable_id_comes_as_a_notification() -> None:
    lost = await read(b'{"jsonrpc": "2.0", "id": null, "method": "tools/list"}')
    kept = await read(b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}')
    notification = await read(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}')

    read_as = [each.message for each in (lost, kept, notification) if isinstance(each, SessionMessage)]
    assert [has_lost_its_id(message) for message in read_as] == [True, False, False]
