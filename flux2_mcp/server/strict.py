"""The border to the SDK: what comes in is checked by name, what goes wrong goes out in our words.

The SDK ignores unknown arguments, shows a model pydantic's own text, withholds every error that is not its own, and
declares the same media type for everything that a template gives.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import (
    ResourceError,
    ResourceNotFoundError,
    ToolError,
    UnexpectedResourceError,
    UnexpectedToolError,
)
from mcp.server.mcpserver.tools import Tool
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolResult,
    GetPromptResult,
    InputRequiredResult,
    TextContent,
    ToolAnnotations,
)
from pydantic import AnyUrl, ValidationError

from flux2_mcp import telemetry
from flux2_mcp.app_state import AppState
from flux2_mcp.errors import Flux2Error, NoSuchTask, OverLimit, TooManyCalls, foreseen
from flux2_mcp.images import media_type_of
from flux2_mcp.server.apps import PREFIX
from flux2_mcp.server.hang_up import CallsInFlight
from flux2_mcp.server.observed import observed_call
from flux2_mcp.server.schemas import Json, arguments_schema, trimmed_schema
from flux2_mcp.server.sdk import hand_on_together, is_wrong_answer, replace_schemas, tool_failure
from flux2_mcp.server.starts import Starts
from flux2_mcp.text import sendable

if TYPE_CHECKING:
    from flux2_mcp.server.admission import Admission
    from flux2_mcp.server.apps import PageTools

NOTHING_HAPPENED = Flux2Error.charge
MOST_NAMED = 5
"""Unknown arguments that an error names."""
NO_ANSWER = OverLimit(
    "The person had to be asked about this call, but the host did not answer the question.",
    remedy="Ask for less, or let the person raise FLUX2_CONFIRM_OVER in the server's settings.",
)


class StrictTool(Tool):
    """A tool that ignores nothing it is given."""

    @classmethod
    def of(
        cls, fn: Callable[..., object], *, title: str, annotations: ToolAnnotations, meta: Json | None = None
    ) -> StrictTool:
        """Make the tool; its description is the function's docstring."""
        about = _unindented(fn.__doc__ or "")
        tool = cls.from_function(fn, title=title, annotations=annotations, description=about, meta=meta)
        hand_on_together(tool)
        output = tool.fn_metadata.output_schema
        replace_schemas(
            tool,
            parameters=arguments_schema(tool.parameters),
            output=None if output is None else trimmed_schema(output),
        )
        return cast("StrictTool", tool)

    async def run(self, arguments: Json, context: Context[Any, Any], convert_result: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 as in the SDK
        """Run the tool.

        Raises:
            ToolError: With a sentence that says what was wrong with the call, or what happened.
        """
        if problem := self._unknown_arguments(arguments):
            raise self._failure(problem)
        # Some hosts send null for everything that their model did not fill in, and some cut emoji in half.
        given = {name: _clean(value) for name, value in arguments.items() if value is not None}
        try:
            result: Any = await super().run(given, context, convert_result)
            return sendable(_as_promised(result) if self.output_schema and convert_result else result)
        except UnexpectedToolError as crash:
            if known := foreseen(crash.__cause__):
                raise self._failure(str(known)) from known
            raise
        except ToolError as error:
            if isinstance(invalid := error.__cause__, ValidationError):
                raise self._failure(self._invalid_arguments(invalid)) from invalid
            if is_wrong_answer(error):
                raise self._failure(str(NO_ANSWER)) from error
            raise
        except MCPError as error:
            # The host's answer to a question of ours; passed on, it would end the call where no model sees it.
            raise self._failure(str(NO_ANSWER)) from error

    def _failure(self, words: str) -> ToolError:
        return tool_failure(self.name, sendable(words))

    def _unknown_arguments(self, arguments: Mapping[str, object]) -> str:
        known: Mapping[str, object] = self.parameters["properties"]
        unknown = [name for name in arguments if name not in known]
        if not unknown:
            return ""
        close = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f" Did you mean {close[0]}?" if close else f" It takes {', '.join(known) or 'none'}."
        named = ", ".join(repr(name[:60]) for name in unknown[:MOST_NAMED])
        named += ", …" if len(unknown) > MOST_NAMED else ""
        return f"{self.name} has no argument {named}.{hint} {NOTHING_HAPPENED}"

    def _invalid_arguments(self, invalid: ValidationError) -> str:
        """One clause for each bad argument, without the value: it may be long, or private."""
        from flux2_mcp.accepted_values import accepted

        names = dict.fromkeys(str(problem["loc"][0]) for problem in invalid.errors())
        missing = {str(problem["loc"][0]) for problem in invalid.errors() if problem["type"] == "missing"}
        schemas: Mapping[str, Json] = self.parameters["properties"]
        takes = (
            f"{name}: it {'is required' if name in missing else f'takes {accepted(schemas.get(name, {}))}'}"
            for name in names
        )
        return f"{'; '.join(takes)}. {NOTHING_HAPPENED}"


class StrictServer(MCPServer[AppState]):
    """A server whose resources and prompts fail in our words, and whose pictures declare the type that they have."""

    admission: Admission | None = None
    """How many calls each caller may have, on a server that many use."""
    tool_names: frozenset[str] = frozenset()
    page_tools: PageTools | None = None
    """What only the gallery's page calls."""

    @cached_property
    def starts(self) -> Starts:
        """Lets its calls begin a few at a time."""
        return Starts()

    @cached_property
    def calls(self) -> CallsInFlight:
        """Its calls in flight."""
        return CallsInFlight()

    async def end_calls(self, *, within: float = 0.0) -> None:
        """Let no more calls order anything, and end those in flight: see `CallsInFlight.end`."""
        self.starts.end()
        await self.calls.end(within=within)

    async def call_tool(
        self, name: str, arguments: Json, context: Context[AppState, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool.

        Raises:
            ToolError: With a sentence that says what was wrong with the call, or what happened.
        """
        state = context.request_context.lifespan_context if context else None
        caller = self.admission.current_caller().name if self.admission else None
        of_page = await self._tool_of_page(name)
        with observed_call(name, self.tool_names | {of_page.name} if of_page else self.tool_names, caller) as observed:
            try:
                with self._admitted(), self.calls.one(state), self.starts.call():
                    if of_page and context:
                        result: CallToolResult | InputRequiredResult = await of_page.run(
                            arguments, context, convert_result=True
                        )
                    else:
                        result = await super().call_tool(name, arguments, context)
                    observed.answered(result)
                    return result
            except TooManyCalls as refusal:
                raise tool_failure(name, str(refusal)) from refusal
        raise AssertionError  # a call that was ended has raised

    async def _tool_of_page(self, name: str) -> StrictTool | None:
        if self.page_tools is None or not name.startswith(PREFIX):
            return None
        return (await self.page_tools.made()).get(name)

    def _admitted(self) -> AbstractContextManager[None]:
        return self.admission.one() if self.admission else nullcontext()

    async def read_resource(
        self, uri: AnyUrl | str, context: Context[AppState, Any] | None = None
    ) -> Iterable[ReadResourceContents] | InputRequiredResult:
        """Read a resource.

        Raises:
            ResourceNotFoundError: There is no such thing.
            ResourceError: With a sentence that says what happened.
        """
        try:
            with self._admitted():
                contents = await super().read_resource(uri, context)
        except TooManyCalls as refusal:
            raise ResourceError(str(refusal)) from refusal
        except UnexpectedResourceError as crash:
            raise _resource_failure(crash) from crash
        if isinstance(contents, InputRequiredResult):
            return contents
        return [replace(each, mime_type=_media_type(each)) for each in contents]

    async def get_prompt(
        self, name: str, arguments: Json | None = None, context: Context[AppState, Any] | None = None
    ) -> GetPromptResult | InputRequiredResult:
        """Write a prompt.

        Raises:
            MCPError: There is no such prompt, or something is wrong with its arguments.
        """
        known = [prompt.name for prompt in await self.list_prompts()]
        if name not in known:
            telemetry.hide_name("prompts/get", telemetry.PROMPT)
            msg = f"There is no prompt {name[:60]!r}. There are {', '.join(known)}."
            raise MCPError(INVALID_PARAMS, msg)
        return await super().get_prompt(name, arguments, context)


def _resource_failure(crash: UnexpectedResourceError) -> ResourceError:
    cause: BaseException | None = crash
    while cause and not isinstance(cause, Flux2Error):
        cause = cause.__cause__
    # One of ours says more than what led to it.
    known = foreseen(cause or crash)
    if isinstance(known, NoSuchTask):
        return ResourceNotFoundError(sendable(str(known)))
    return ResourceError(sendable(str(known))) if known else crash


def _media_type(contents: ReadResourceContents) -> str | None:
    shown = media_type_of(contents.content) if isinstance(contents.content, bytes) else None
    return shown or contents.mime_type


def _as_promised(result: CallToolResult) -> CallToolResult:
    """Data without what is not known, as its schema says; the text is the same data, in as few tokens."""
    data = cast("Json", _known(result.structured_content))
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return result.model_copy(update={"structured_content": data, "content": [TextContent(text=text)]})


def _known(value: object) -> object:
    if isinstance(value, dict):
        return {name: _known(each) for name, each in cast("Json", value).items() if each is not None}
    return [_known(each) for each in cast("list[object]", value)] if isinstance(value, list) else value


def _clean(argument: object) -> object:
    """Texts are all that ours take, and lists of texts. What else comes is refused, however deep or long it is."""
    if isinstance(argument, list):
        return [sendable(each) if isinstance(each, str) else each for each in cast("list[object]", argument)]
    return sendable(argument) if isinstance(argument, str) else argument


def _unindented(text: str) -> str:
    return " ".join(text.split())
