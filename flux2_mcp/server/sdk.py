"""What we rely on in the SDK beyond its documented interface, all checked with mcp 2.3.0.

tests/test_sdk.py has a test for each function here, against the SDK that is installed.
"""

from __future__ import annotations

from typing import Any, cast

from mcp.server.lowlevel import Server
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase
from mcp_types import JSONRPCMessage, JSONRPCNotification
from mcp_types.methods import SPEC_CLIENT_METHODS
from pydantic import ConfigDict, ValidationError


def low_level_server(server: MCPServer[Any]) -> Server[Any]:
    """The server that `run_stdio_async()` runs, so that it can be run on streams of ours.

    `run_stdio_async()` opens its own streams and takes no others, and the attribute is private. Seen in mcp 2.3.0.
    """
    return server._lowlevel_server  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] there is no public way


def tool_failure(tool: str, words: str) -> ToolError:
    """A failure that begins as the SDK's own do; hosts know the beginning.

    `Tool.run()` documents "Error executing tool <name>", but exports no constant for it. Seen in mcp 2.3.0.
    """
    return ToolError(f"Error executing tool {tool}: {words}")


def is_wrong_answer(error: ToolError) -> bool:
    """Whether a resolver of the SDK refused what a host answered to a question of ours.

    The SDK raises a plain ToolError for it, which `Tool.run()` chains as the cause; our tools raise subclasses only.
    There is no class for it, and the words differ between the two protocol eras. Seen in mcp 2.3.0.
    """
    return type(error.__cause__) is ToolError


def hears_progress(context: Context[Any, Any]) -> bool:
    """Whether the client asked to hear of progress; without that the SDK sends nothing.

    `report_progress()` is documented to do nothing then, and no public attribute says so: what holds the client's
    token, or in one process its callback, is below the session's request. Where it is not found, the client is taken
    to listen. Seen in mcp 2.3.0.
    """
    channel: Any = getattr(context.request_context.session, "_request_outbound", None)
    channel = getattr(channel, "_inner", channel)
    listeners = [getattr(channel, name) for name in ("_progress_token", "_on_progress") if hasattr(channel, name)]
    return not listeners or listeners[0] is not None


class Arguments(ArgModelBase):
    """The arguments of one call, checked, in one object.

    Its fields are the schema of the tool that takes it as `ask`, and whatever is resolved for the call can take it by
    that name too.
    """

    model_config = ConfigDict(frozen=True)

    def model_dump_one_level(self) -> dict[str, Any]:
        """Hand it on as it is, where the SDK would hand on each field by its name."""
        return {"ask": self}


def hand_on_together(tool: Tool) -> None:
    """Have a tool that takes `ask` take its fields from the host, and be handed them as that one object.

    `from_function()` makes a model of the function's parameters, so that hosts would have to nest the arguments. The
    model is in `fn_metadata`, which is public but documented nowhere, and what is resolved for the call is given what
    the model's `model_dump_one_level()` returns. Seen in mcp 2.3.0.
    """
    if ask := tool.fn_metadata.arg_model.model_fields.get("ask"):
        tool.fn_metadata.arg_model = cast("type[Arguments]", ask.annotation)
        tool.parameters = tool.fn_metadata.arg_model.model_json_schema()


def replace_schemas(tool: Tool, *, parameters: dict[str, Any], output: dict[str, Any] | None) -> None:
    """Have `tools/list` show these schemas; what comes in is still validated by the function's signature.

    `from_function()` takes no schemas. The output's is read from `fn_metadata`, which is public but documented
    nowhere, and the tool remembers the first it has read. Seen in mcp 2.3.0.
    """
    tool.parameters = parameters
    tool.fn_metadata.output_schema = output


def unreadable_line(invalid: ValidationError) -> str | None:
    """The line that is no JSON, or None if it is JSON of another shape.

    `stdio_server()` hands on pydantic's error of a line in place of its message. Seen in mcp 2.3.0.
    """
    [problem, *_] = invalid.errors(include_url=False)
    return str(problem["input"]) if problem["type"] == "json_invalid" else None


def has_lost_its_id(message: JSONRPCMessage) -> bool:
    """Whether this notification was a request, whose id the SDK could not use.

    `stdio_server()` reads a request with an id such as null as a notification. Seen in mcp 2.3.0.
    """
    return isinstance(message, JSONRPCNotification) and message.method in SPEC_CLIENT_METHODS
