"""What docs/stability.md promises, as it is now. `python -m tests.promises` adds what is new to stability.json."""

from __future__ import annotations

import argparse
import inspect
import io
import json
import re
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast, get_args, get_type_hints

import anyio
import anyio.to_thread
import httpx
import pytest
from pydantic import BaseModel
from starlette.types import ASGIApp

from flux2_mcp.callers.configured import authenticator, oauth_of
from flux2_mcp.callers.secret import Secret
from flux2_mcp.catalogue import TOOLS, Model, catalogue
from flux2_mcp.cli import COMMANDS, main
from flux2_mcp.cli.history import AddressedEntry, Listing
from flux2_mcp.presenters.account import Money
from flux2_mcp.presenters.estimate import Estimate
from flux2_mcp.runapi.models import Action
from flux2_mcp.server.app import build_server
from flux2_mcp.server.http import Hosting, hosted_app
from flux2_mcp.settings import Settings
from flux2_mcp.simulator import Fault, Script, Simulator
from flux2_mcp.webhooks import Webhooks
from tests.compatible import BREAKS, GUARDS, Json
from tests.paid_once.test_shared_task import NamesOneTask
from tests.processes import environment, on_a_port
from tests.world import World, world

FILE = Path(__file__).with_name("stability.json")
WORDS = {"title", "description", "format", "writeOnly"}
"""What a schema says that refuses nothing."""
WIDTH = 120

FOX: Json = {"prompt": "a fox"}
QUICK = Script(looks_until_done=1, plain_pictures=True)
ENDLESS = Script(looks_until_done=10**9, plain_pictures=True)
REFUSED = Fault(on="create", status=422)
NOT_FETCHED = Fault(on="picture", status=404, times=9)
Calls = list[tuple[str, Json]]
GENERATE: Calls = [("generate", FOX)]
AT_ONCE: Calls = [("generate", {**FOX, "wait_seconds": 0})]
REMIX: Calls = [("remix", {**FOX, "source_image_urls": ["https://files.example/a.png"]})]
PICTURES: Mapping[str, tuple[Script, Fault | None, Calls]] = {
    "generate: made": (QUICK, None, GENERATE),
    "remix: made": (QUICK, None, REMIX),
    "task_status: made": (QUICK, None, [*GENERATE, ("task_status", {})]),
    "task_status: unfinished": (ENDLESS, None, [*AT_ONCE, ("task_status", {"wait_seconds": 0})]),
    "generate: unfinished": (ENDLESS, None, AT_ONCE),
    "generate: resumed": (ENDLESS, None, [*AT_ONCE, *AT_ONCE]),
    "generate: one of two refused": (QUICK, REFUSED, [("generate", {**FOX, "count": 2})]),
    "generate: not fetched": (QUICK, NOT_FETCHED, GENERATE),
    "generate: in a container": (QUICK, None, GENERATE),
    "generate: one task for two": (QUICK, None, [*GENERATE, ("generate", {"prompt": "a vixen"})]),
}
TYPED: Mapping[str, str] = {
    "doctor": "doctor --json",
    "generate: running": "generate fox --wait 0 --json",
    "generate: refused": "generate fox --count 9 --json",
    "status: done": "status TASK --json",
    "status: refused": "status order-0123456789abcdef --json",
    "history --forget": "history --forget --yes --json",
}
DECLARED: Mapping[str, type[BaseModel]] = {
    "estimate": Estimate,
    "account": Money,
    "history": Listing,
    "history --all: tasks[]": AddressedEntry,
}


async def tools(home: Path) -> Json:
    here = world(home)
    async with here.client(server=build_server(here.environment(), over_stdio=True)) as client:
        return {
            tool.name: {
                "arguments": plain(tool.input_schema),
                **({"result": fields_of(tool.output_schema)} if tool.output_schema else {}),
            }
            for tool in (await client.list_tools()).tools
        }


def plain(schema: Json) -> Json:
    """The same schema without words."""
    kept = {key: value for key, value in schema.items() if key not in WORDS}
    for key in ("properties", "$defs"):
        if key in kept:
            kept[key] = {name: plain(each) for name, each in kept[key].items()}
    if "anyOf" in kept:
        kept["anyOf"] = [plain(each) for each in kept["anyOf"]]
    return kept


def fields_of(schema: Json) -> dict[str, str]:
    """The fields by a schema, and their types; that of a field that may be absent ends with a question mark."""
    definitions: Json = schema.get("$defs", {})

    def walk(part: Json, at: str, mark: str) -> Iterator[tuple[str, str]]:
        part = definitions.get(str(part.get("$ref")).rpartition("/")[2], part)
        if "anyOf" in part:
            [part] = [each for each in part["anyOf"] if each != {"type": "null"}]
            mark = "?"
        if "properties" in part:
            for name, each in part["properties"].items():
                yield from walk(each, f"{at}.{name}" if at else name, "" if name in part.get("required", []) else "?")
        elif "items" in part:
            yield at, f"array{mark}"
            yield from walk(part["items"], f"{at}[]", "")
        else:
            yield at, f"{part['type']}{mark}"

    return dict(walk(schema, "", ""))


def fields_in(value: object) -> dict[str, str]:
    """The fields that are there, such as pictures[].images[].url, and the types of their values."""
    names = {"list": "array", "str": "string", "bool": "boolean", "int": "integer", "float": "number"}

    def walk(part: object, at: str) -> Iterator[tuple[str, str]]:
        if isinstance(part, dict):
            for name, each in cast("Json", part).items():
                yield from walk(each, f"{at}.{name}" if at else name)
            return
        yield at, names.get(type(part).__name__, "null")
        for each in cast("list[object]", part) if isinstance(part, list) else ():
            yield from walk(each, f"{at}[]")

    return dict(walk(value, ""))


async def pictures(home: Path) -> Json:
    return {name: fields_in(await _last_of(home / str(nth), name)) for nth, name in enumerate(PICTURES)}


def container(root: Path) -> Path:
    """A file system as in our image, without a mounted folder."""
    for place, text in (("opt/flux2-mcp/image", ""), ("proc/self/mountinfo", "22 1 0:21 / / rw - overlay o rw\n")):
        (root / place).parent.mkdir(parents=True)
        (root / place).write_text(text, encoding="utf-8")
    return root


async def _last_of(home: Path, name: str) -> object:
    script, fault, calls = PICTURES[name]
    here: World = world(home, script, environ={"FLUX2_RESULT": "structured"})
    here.simulator.faults += [fault] if fault else []
    if name.endswith("container"):
        here.root = container(home / "root")
    if name.endswith("for two"):
        here.transport = NamesOneTask(here.simulator)
    async with here.client() as client:
        results = [
            await client.call_tool(tool, {"task_id": here.paid[0].id, **more} if tool == "task_status" else more)
            for tool, more in calls
        ]
    return results[-1].structured_content


async def models(_: Path) -> Json:
    return {
        model.name: {TOOLS[action]: _taken_by(model, action) for action in model.slugs} for model in catalogue().models
    }


def _taken_by(model: Model, action: Action) -> Json:
    least, most = model.prompt_characters
    taken: Json = {
        "model": {"enum": [model.name, *model.aliases, model.slugs[action]]},
        "prompt": {"minLength": least, "maxLength": most},
        "aspect_ratio": {"enum": list(model.ratios(action))},
        "output_resolution": {"enum": list(model.resolutions)},
        "enable_safety_checker": {"enum": [True, False] if model.enable_safety_checker else []},
    }
    if action == "remix_image":
        taken["source_image_urls"] = {"minItems": 1, "maxItems": model.most_sources}
    strict = model.ratio_required and action == "remix_image"
    return {"properties": taken, "required": ["aspect_ratio"] if strict else []}


async def addresses(home: Path) -> list[str]:
    async with world(home).client() as client:
        resources = [str(each.uri) for each in (await client.list_resources()).resources]
        templates = [each.uri_template for each in (await client.list_resource_templates()).resource_templates]
    return sorted(each for each in (*resources, *templates) if not each.startswith("ui:"))


async def prompts(home: Path) -> Json:
    async with world(home).client() as client:
        found = (await client.list_prompts()).prompts
    return {each.name: {argument.name: bool(argument.required) for argument in each.arguments or ()} for each in found}


async def settings(_: Path) -> Json:
    found: Json = Settings.model_json_schema()["properties"]
    ours = {name: plain(each) for name, each in sorted(found.items()) if name.startswith(("FLUX2_", "RUNAPI_"))}
    return {
        name: {key: value for key, value in each.items() if key != "default" or name in GUARDS}
        for name, each in ours.items()
    }


async def commands(_: Path) -> Json:
    return await anyio.to_thread.run_sync(_commands)


def _commands() -> Json:
    _, shown = _ended(["--help"])
    found: Json = {"flux2-mcp": {"options": {"--version": "0"}, "exit codes": exit_codes(shown)}}
    for name in COMMANDS:
        parser = argparse.ArgumentParser()
        import_module(f"flux2_mcp.cli.{name}").add_arguments(parser)
        found |= {f"{name} {action}".strip(): each for action, each in _arguments_of(parser)}
    return found


def exit_codes(text: str) -> list[int]:
    """The numbers behind "exit codes:", up to the next empty line."""
    _, _, named = text.partition("exit codes:")
    return sorted({int(code) for code in re.findall(r"\b\d+\b", named.strip().partition("\n\n")[0])})


def _arguments_of(parser: argparse.ArgumentParser) -> Iterator[tuple[str, Json]]:
    """What a command takes, in the words of argparse (nargs), and so for its actions."""
    options: dict[str, str] = {}
    positionals: list[str] = []
    choices: dict[str, list[str]] = {}
    for action in parser._actions:  # noqa: SLF001 argparse lists them nowhere else
        number = "1" if action.nargs is None else str(action.nargs)
        if isinstance(action.choices, dict):
            for name, each in cast("dict[str, argparse.ArgumentParser]", action.choices).items():
                yield from ((f"{name} {more}".strip(), found) for more, found in _arguments_of(each))
            continue
        if action.option_strings:
            form = f"{number}, required" if action.required else number
            options |= {name: form for name in action.option_strings if name.startswith("--") and name != "--help"}
        else:
            positionals.append(number)
        if action.choices is not None:
            choices[action.dest] = list(map(str, action.choices))
    yield (
        "",
        {
            "options": options,
            **({"positionals": positionals} if positionals else {}),
            **({"choices": choices} if choices else {}),
            **({"exit codes": codes} if (codes := exit_codes(parser.epilog or "")) else {}),
        },
    )


async def typed(home: Path) -> Json:
    found: Json = {}
    runapi = Simulator(QUICK)
    async with on_a_port(runapi) as url:
        for name, line in TYPED.items():
            words = [runapi.ledger.paid_tasks()[0].id if word == "TASK" else word for word in line.split()]
            code, out = await anyio.to_thread.run_sync(_ended, words, environment(home, url))
            found[name] = fields_in(json.loads(out))
            if name != "doctor":  # it depends on the computer
                found[name]["(exit code)"] = str(code)
    schemas = {name: model.model_json_schema(mode="serialization") for name, model in DECLARED.items()}
    return found | {name: fields_of(schema) for name, schema in schemas.items()}


def _ended(words: Sequence[str], environ: Mapping[str, str] | None = None) -> tuple[object, str]:
    """The exit code of a command, and what it printed."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(io.StringIO()):
        for name, value in (environ or {}).items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main(words)
    return ended.value.code, out.getvalue()


HTTP_ROUTES = (
    "POST /mcp",
    "GET /healthz",
    "GET /readyz",
    "POST /webhooks/runapi/NAME",
    "GET /.well-known/oauth-protected-resource/mcp",
)


async def http_routes(home: Path) -> list[str]:
    here = world(
        home,
        environ={
            "FLUX2_HTTP_AUTH": "oauth",
            "FLUX2_OAUTH_ISSUER": "https://issuer.example",
            "FLUX2_OAUTH_RESOURCE": "https://flux2.example/mcp",
        },
    )
    secret = Secret("0123456789abcdef0123456789abcdef")
    settings = here.environment().settings
    known = await anyio.to_thread.run_sync(lambda: authenticator(settings, secret, home=home, folder=home))
    webhooks = Webhooks("https://flux2.example", secret.key("webhooks"))
    server = build_server(replace(here.environment(), webhooks=webhooks))
    return await _routes_of(hosted_app(server, Hosting(known, ["flux2.example"], oauth_of(settings))), HTTP_ROUTES)


async def simulated_routes(_: Path) -> list[str]:
    return await _routes_of(Simulator(), SIMULATED_ROUTES)


SIMULATED_ROUTES = (
    *(
        f"{method} {place}"
        for action in ("text_to_image", "remix_image")
        for method, place in (
            ("POST", f"/api/v1/flux_2/{action}"),
            ("GET", f"/api/v1/flux_2/{action}/ID"),
            ("POST", f"/v1/{action}"),
            ("GET", f"/v1/{action}/ID"),
        )
    ),
    "GET /v1/tasks/ID",
    "GET /api/v1/tasks/ID",
    "GET /generated/NAME.png",
    "POST /api/v1/files",
    "POST /api/v1/files/prepare",
    "POST /api/v1/files/confirm",
    "PUT /temp/user-uploads/TOKEN",
    "GET /temp/TOKEN/NAME",
    "GET /api/v1/price_schedules",
    "POST /api/v1/price_quotes",
    "GET /api/v1/me",
    "GET /api/v1/me/balance",
    "GET /v1/models",
    "GET /cli/authorize",
    "POST /cli/authorize",
    "POST /api/v1/cli/exchange",
    "GET /",
    "POST /simulator/faults",
    "DELETE /simulator/faults",
    "GET /simulator/ledger",
)


async def _routes_of(app: ASGIApp, looked_for: tuple[str, ...]) -> list[str]:
    """Those of the routes that there are: a place that is not there is 404 to OPTIONS too."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="https://flux2.example") as http:
        return [
            route
            for route in looked_for
            if (await http.options(route.split()[1])).status_code != 404
            and (await http.request(*route.split())).status_code != 405
        ]


async def simulator(_: Path) -> Json:
    return {each.__name__: _demands(each) for each in (Simulator, Script, Fault)}


async def names_of_the_simulator(_: Path) -> list[str]:
    own = [f"Simulator.{name}" for name in dir(Simulator()) if not name.startswith("_")]
    return [*own, *(f"Fault(on={name!r})" for name in get_args(get_type_hints(Fault)["on"]))]


def _demands(made: Callable[..., object]) -> dict[str, bool]:
    """What it takes, and whether it demands it."""
    parameters = inspect.signature(made).parameters.values()
    return {each.name: each.default is inspect.Parameter.empty for each in parameters}


NOW: Mapping[str, Callable[[Path], Awaitable[Json | list[str]]]] = {
    "tools": tools,
    "structured content": pictures,
    "models": models,
    "resources": addresses,
    "prompts": prompts,
    "settings": settings,
    "commands": commands,
    "--json": typed,
    "over HTTP": http_routes,
    "routes of the simulator": simulated_routes,
    "simulator": simulator,
    "names of the simulator": names_of_the_simulator,
}


def written(value: object, indent: str = "") -> str:
    """As JSON whose lines are as long as ours."""
    line = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(line) < WIDTH - 20 or not isinstance(value, dict | list):
        return line
    more = f"{indent}  "
    if isinstance(value, list):
        parts = [written(each, more) for each in cast("list[object]", value)]
    else:
        parts = [f"{json.dumps(name)}: {written(each, more)}" for name, each in cast("Json", value).items()]
    lines = [""]
    for part in parts:
        is_short = "{" not in part and len(more) + len(f"{lines[-1]} {part},") <= WIDTH
        lines[-1:] = [f"{lines[-1]} {part},".lstrip()] if is_short else [lines[-1], f"{part},"]
    inside = "\n".join(f"{more}{each}" for each in lines if each).removesuffix(",")
    first, *_, last = line
    return f"{first}\n{inside}\n{indent}{last}"


async def _write() -> None:
    promised: Json = json.loads(FILE.read_text(encoding="utf-8"))
    now: Json = {}
    for section, look in NOW.items():
        with TemporaryDirectory() as home:
            now[section] = await look(Path(home))
    found = [f"{name}: {words}" for name, was in promised.items() for words in BREAKS[name](was, now[name])]
    if found:
        sys.exit("\n".join(found))
    FILE.write_text(f"{written(now)}\n", encoding="utf-8")


if __name__ == "__main__":
    anyio.run(_write)
