"""The tools, resources and prompts that the conformance suite asks every server for, to be mounted on ours."""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any

import anyio
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.server.mcpserver.tools import Tool
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    ClientCapabilities,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    InputRequests,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    SamplingCapability,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)
from pydantic import BaseModel, Field, JsonValue

from flux2_mcp.app_state import AppState
from flux2_mcp.server.sdk import low_level_server
from flux2_mcp.server.strict import StrictServer

Ctx = Context[AppState]

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
SILENCE = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
STEP = 0.05
"""Seconds between two notifications."""

SCHEMA_2020_12: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


class Response(BaseModel):
    response: str = Field(description="What you say")


class Defaults(BaseModel):
    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: str = Field("active", json_schema_extra={"enum": ["active", "inactive", "pending"]})
    verified: bool = True


THREE: list[JsonValue] = ["option1", "option2", "option3"]
TITLED: list[JsonValue] = [{"const": f"value{n}", "title": f"Option {n}"} for n in (1, 2, 3)]


class Choices(BaseModel):
    untitled_single: str = Field(alias="untitledSingle", json_schema_extra={"enum": THREE})
    titled_single: str = Field(alias="titledSingle", json_schema_extra={"oneOf": TITLED})
    legacy_enum: str = Field(
        alias="legacyEnum", json_schema_extra={"enum": THREE, "enumNames": ["One", "Two", "Three"]}
    )
    untitled_multi: list[str] = Field(
        alias="untitledMulti", json_schema_extra={"items": {"type": "string", "enum": THREE}}
    )
    titled_multi: list[str] = Field(alias="titledMulti", json_schema_extra={"items": {"anyOf": TITLED}})


def image() -> ImageContent:
    return ImageContent(data=PIXEL, mime_type="image/png")


def embedded(uri: str, text: str, mime_type: str = "text/plain") -> EmbeddedResource:
    return EmbeddedResource(resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


def form(message: str, name: str, kind: str = "string") -> ElicitRequest:
    schema = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(text: str) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(text=text))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=100))


def answer(ctx: Ctx, key: str, field: str = "name") -> object:
    """What was answered to this question; None where it was not, or not as it was asked."""
    given = (ctx.input_responses or {}).get(key)
    if isinstance(given, ElicitResult):
        return (given.content or {}).get(field)
    if isinstance(given, CreateMessageResult):
        return given.content.text if isinstance(given.content, TextContent) else None
    return [str(root.uri) for root in given.roots] if isinstance(given, ListRootsResult) else None


def asking(requests: InputRequests, state: str | None = None) -> InputRequiredResult:
    return InputRequiredResult(input_requests=requests, request_state=state)


def add_fixtures(server: StrictServer) -> None:
    """Mount all of them."""
    _add_contents(server)
    _add_notifiers(server)
    _add_legacy_questions(server)
    _add_questions(server)
    _add_longer_questions(server)
    _add_odd_tools(server)
    _add_resources(server)
    _add_prompts(server)
    _add_legacy_methods(low_level_server(server))


def _add_contents(server: StrictServer) -> None:
    @server.tool()
    async def test_simple_text() -> str:
        """Say a sentence."""
        return "This is a simple text response for testing."

    @server.tool(structured_output=False)
    async def test_image_content() -> ImageContent:
        """Show a picture."""
        return image()

    @server.tool(structured_output=False)
    async def test_audio_content() -> AudioContent:
        """Play a sound."""
        return AudioContent(data=SILENCE, mime_type="audio/wav")

    @server.tool(structured_output=False)
    async def test_embedded_resource() -> EmbeddedResource:
        """Show a resource."""
        return embedded("test://embedded-resource", "This is an embedded resource content.")

    @server.tool(structured_output=False)
    async def test_multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
        """Say a sentence, and show a picture and a resource."""
        data = embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json")
        return [TextContent(text="Multiple content types test:"), image(), data]

    @server.tool()
    async def test_error_handling() -> str:
        """Fail."""
        msg = "This tool intentionally returns an error for testing"
        raise ToolError(msg)


def _add_notifiers(server: StrictServer) -> None:
    @server.tool()
    async def test_tool_with_progress(ctx: Ctx) -> str:
        """Report progress."""
        for done in (0, 50, 100):
            await ctx.report_progress(done, 100, f"Completed step {done} of 100")
            await anyio.sleep(STEP)
        return "done"

    async def logged(ctx: Ctx) -> str:
        """Log what it does."""
        for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await ctx.info(words)  # pyright: ignore[reportDeprecated] the older revision has it
            await anyio.sleep(STEP)
        return "done"

    server.add_tool(logged, name="test_tool_with_logging")
    server.add_tool(logged, name="test_logging_tool")

    async def new() -> str:
        """Be there for a moment."""
        return "new"

    @server.tool()
    async def test_trigger_tool_change(ctx: Ctx) -> str:
        """Change the list of tools."""
        server.add_tool(new, name="new_tool")
        await ctx.notify_tools_changed()
        server.remove_tool("new_tool")
        return "changed"

    @server.tool()
    async def test_trigger_prompt_change(ctx: Ctx) -> str:
        """Say that the list of prompts has changed."""
        await ctx.notify_prompts_changed()
        return "changed"


def _add_legacy_questions(server: StrictServer) -> None:
    """Questions in the middle of a call."""

    @server.tool()
    async def test_sampling(prompt: str, ctx: Ctx) -> str:
        """Ask the model in the middle of the call."""
        message = SamplingMessage(role="user", content=TextContent(text=prompt))
        result = await ctx.session.create_message([message], max_tokens=100, related_request_id=ctx.request_id)  # pyright: ignore[reportDeprecated] as above
        return f"LLM response: {result.content.text if isinstance(result.content, TextContent) else ''}"

    async def asked(ctx: Ctx, message: str, form: type[BaseModel]) -> str:
        result = await ctx.elicit(message, form)
        content = result.data.model_dump_json(by_alias=True) if result.action == "accept" else "{}"
        return f"action={result.action}, content={content}"

    @server.tool()
    async def test_elicitation(message: str, ctx: Ctx) -> str:
        """Ask the person in the middle of the call."""
        return f"User response: {await asked(ctx, message, Response)}"

    @server.tool()
    async def test_elicitation_sep1034_defaults(ctx: Ctx) -> str:
        """Ask with defaults."""
        return f"Elicitation completed: {await asked(ctx, 'Who are you?', Defaults)}"

    @server.tool()
    async def test_elicitation_sep1330_enums(ctx: Ctx) -> str:
        """Ask for choices."""
        return f"Elicitation completed: {await asked(ctx, 'What do you choose?', Choices)}"


def _add_questions(server: StrictServer) -> None:
    """Questions for which the call is sent again."""
    name = form("What is your name?", "name")

    @server.tool()
    async def test_input_required_result_elicitation(ctx: Ctx) -> str | InputRequiredResult:
        """Ask the person."""
        given = answer(ctx, "user_name")
        return f"Hello, {given}!" if given else asking({"user_name": name})

    @server.tool()
    async def test_input_required_result_sampling(ctx: Ctx) -> str | InputRequiredResult:
        """Ask the model."""
        given = answer(ctx, "capital_question")
        return str(given) if given else asking({"capital_question": sample("What is the capital of France?")})

    @server.tool()
    async def test_input_required_result_list_roots(ctx: Ctx) -> str | InputRequiredResult:
        """Ask for the roots."""
        given = answer(ctx, "client_roots")
        return f"Roots: {given}" if given else asking({"client_roots": ListRootsRequest()})

    @server.tool()
    async def test_input_required_result_request_state(ctx: Ctx) -> str | InputRequiredResult:
        """Ask, and remember that."""
        if answer(ctx, "confirm", "ok") is not None and ctx.request_state == "asked":
            return "state-ok"
        return asking({"confirm": form("Please confirm", "ok", "boolean")}, "asked")

    @server.tool()
    async def test_input_required_result_tampered_state(ctx: Ctx) -> str | InputRequiredResult:
        """Ask, and believe only what was remembered."""
        if answer(ctx, "confirm", "ok") is not None and ctx.request_state == "asked":
            return "state-ok"
        return asking({"confirm": form("Please confirm", "ok", "boolean")}, "asked")


def _add_longer_questions(server: StrictServer) -> None:
    """The same, for several answers, or for those that the client can give."""
    name = form("What is your name?", "name")

    @server.tool()
    async def test_input_required_result_multiple_inputs(ctx: Ctx) -> str | InputRequiredResult:
        """Ask everybody."""
        questions: InputRequests = {
            "user_name": name,
            "greeting": sample("Generate a greeting"),
            "client_roots": ListRootsRequest(),
        }
        given = [answer(ctx, key) for key in questions]
        return f"Answers: {given}" if all(each is not None for each in given) else asking(questions, "asked")

    @server.tool()
    async def test_input_required_result_multi_round(ctx: Ctx) -> str | InputRequiredResult:
        """Ask twice."""
        if ctx.request_state == "step 2" and (color := answer(ctx, "step2", "color")):
            return f"You like {color}."
        if ctx.request_state == "step 1" and answer(ctx, "step1"):
            return asking({"step2": form("Step 2: What is your favorite color?", "color")}, "step 2")
        return asking({"step1": form("Step 1: What is your name?", "name")}, "step 1")

    @server.tool()
    async def test_input_required_result_capabilities(ctx: Ctx) -> str | InputRequiredResult:
        """Ask what the client can answer."""
        declared = ctx.client_capabilities or ClientCapabilities()
        questions: InputRequests = {}
        if declared.elicitation:
            questions["user_name"] = name
        if declared.sampling:
            questions["greeting"] = sample("Generate a greeting")
        return asking(questions) if questions and not ctx.input_responses else "Nothing to ask."

    @server.tool()
    async def test_streaming_elicitation(ctx: Ctx) -> str | InputRequiredResult:
        """Ask the person over a stream."""
        given = answer(ctx, "user_name")
        return f"Hello, {given}!" if given else asking({"user_name": name})


def _add_odd_tools(server: StrictServer) -> None:
    @server.tool()
    async def test_missing_capability(ctx: Ctx) -> str:
        """Need sampling."""
        if ctx.client_capabilities and ctx.client_capabilities.sampling:
            return "It is there."
        needed = ClientCapabilities(sampling=SamplingCapability()).model_dump(by_alias=True, exclude_none=True)
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "It needs sampling.", {"requiredCapabilities": needed})

    @server.tool()
    async def test_custom_header(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
        """Take a header."""
        return region

    async def echo(name: str = "") -> str:
        return name

    odd = Tool.from_function(
        echo, name="json_schema_2020_12_tool", description="Tool with JSON Schema 2020-12 features"
    )
    odd.parameters = SCHEMA_2020_12
    server._tool_manager._tools[odd.name] = odd  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] takes functions only


def _add_resources(server: StrictServer) -> None:
    @server.resource("test://static-text", mime_type="text/plain")
    async def static_text() -> str:
        """Give a text."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    async def static_binary() -> bytes:
        """Give a picture."""
        return base64.b64decode(PIXEL)

    @server.resource("test://watched-resource", mime_type="text/plain")
    async def watched() -> str:
        """Give a text to subscribe to."""
        return "Watched resource content"

    @server.resource("test://template/{id}/data", mime_type="application/json")
    async def template(id: str) -> str:
        """Give data about the id."""
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def _add_prompts(server: StrictServer) -> None:
    @server.prompt()
    async def test_simple_prompt() -> str:
        """Say a sentence."""
        return "This is a simple prompt for testing."

    @server.prompt()
    async def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """Say two arguments."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt()
    async def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:  # noqa: N803 the suite's
        """Show a resource."""
        resource = embedded(resourceUri, "Embedded resource content for testing.")
        return [UserMessage(resource), UserMessage("Please process the embedded resource above.")]

    @server.prompt()
    async def test_prompt_with_image() -> list[UserMessage]:
        """Show a picture."""
        return [UserMessage(image()), UserMessage("Please analyze the image above.")]

    @server.prompt()
    async def test_input_required_result_prompt(ctx: Ctx) -> str | InputRequiredResult:
        """Ask before it says anything."""
        given = answer(ctx, "user_context", "context")
        question = form("What context should the prompt use?", "context")
        return f"Context: {given}" if given else asking({"user_context": question})


def _add_legacy_methods(server: Server[Any]) -> None:
    """Add what the older revision requires and we do not offer; logs and subscriptions are not kept."""

    async def acknowledged(_: object, __: object) -> EmptyResult:
        return EmptyResult()

    server.add_request_handler("logging/setLevel", SetLevelRequestParams, acknowledged)
    server.add_request_handler("resources/subscribe", SubscribeRequestParams, acknowledged)
    server.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, acknowledged)
