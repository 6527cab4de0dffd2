"""What a server tells whoever runs it: logs, traces and metrics; and what it keeps to itself."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import httpx
import httpx2
import pytest
from anyio import to_thread
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, Metric, NumberDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flux2_mcp.callers import tokens
from flux2_mcp.simulator import Script, Simulator
from tests.hosting.test_webhooks import PUBLIC, ToServer
from tests.hosting.world import HEADERS, LIST_TOOLS, bearer
from tests.processes import AT_ONCE, MODULE, environment, hosted, on_a_port, served, started
from tests.test_http import address_in
from tests.world import KEY, NO_CERTIFICATES, text_of

PROMPT = "an xylophone under water"
NAME = "countess-lovelace"
TOKEN = "0af7651916cd43dd8448eb211c80319c"
MOST_AFTER_SIGTERM = 6
"""Seconds in which a server ends, on a machine where others are busy; the exporters' own patience is ten and more."""

CRASHING = """
from flux2_mcp.studio import Studio
async def estimate(self, request, *, count):
    raise ValueError(request.prompt)
Studio.estimate = estimate
"""


@dataclass
class Collector:
    """What was exported to it."""

    bodies: dict[str, list[bytes]] = field(default_factory=lambda: {"traces": [], "metrics": []})

    @property
    def app(self) -> Starlette:
        async def collect(request: Request) -> Response:
            self.bodies[request.path_params["signal"]].append(await request.body())
            return Response()

        return Starlette(routes=[Route("/v1/{signal}", collect, methods=["POST"])])

    @property
    def spans(self) -> list[Span]:
        said = [ExportTraceServiceRequest.FromString(body) for body in self.bodies["traces"]]
        return [
            span for each in said for one in each.resource_spans for scope in one.scope_spans for span in scope.spans
        ]

    @property
    def metrics(self) -> dict[str, Metric]:
        """As they were at the end."""
        [resource] = ExportMetricsServiceRequest.FromString(self.bodies["metrics"][-1]).resource_metrics
        return {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}

    def sums(self, name: str) -> dict[tuple[str, ...], float]:
        """The values of a counter, or how often a histogram was given one, by the values of their attributes."""
        metric = self.metrics[name]
        counts, given = metric.sum.data_points, metric.histogram.data_points
        points: Sequence[NumberDataPoint | HistogramDataPoint] = [*counts, *given]
        return {
            tuple(sorted(each.value.string_value or str(each.value.int_value) for each in point.attributes)): (
                point.as_int if isinstance(point, NumberDataPoint) else point.count
            )
            for point in points
        }


@dataclass
class Serving:
    """A server that is a process of its own."""

    url: str
    errors: Path
    token: str

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.errors.read_text().splitlines()]

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[Client, None]:
        async with (
            httpx2.AsyncClient(verify=NO_CERTIFICATES, headers=bearer(self.token), timeout=30) as http,
            Client(streamable_http_client(self.url, http_client=http)) as client,
        ):
            yield client

    async def refused(self) -> None:
        """Send a token that nobody has."""
        async with httpx.AsyncClient(verify=NO_CERTIFICATES, headers={**HEADERS, **bearer("nobody's")}) as http:
            assert (await http.post(self.url, json=LIST_TOOLS)).status_code == 401


@asynccontextmanager
async def serving(
    home: Path, base_url: str, collector_url: str, *, prelude: str = "", **environ: str
) -> AsyncGenerator[Serving, None]:
    """A server for many that exports; it gets SIGTERM at the end, and has to end in time."""
    token = await to_thread.run_sync(partial(tokens.add, home / "tokens", NAME, {}))
    everything = {
        **environment(home, base_url),
        "FLUX2_OUTPUT_DIR": "",
        "FLUX2_HTTP_AUTH": "tokens",
        "FLUX2_HTTP_TOKENS_FILE": str(home / "tokens"),
        "FLUX2_LOG": "json",
        "FLUX2_LOG_LEVEL": "debug",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector_url,
        **environ,
    }
    errors = home / "stderr.txt"
    command = (*MODULE, "serve", "--http", "--port", "0")
    with errors.open("wb") as stderr:
        async with started(*command, environ=everything, stderr=stderr, prelude=prelude) as process:
            with anyio.fail_after(60):
                url = await address_in(errors)
            yield Serving(url, errors, token)
            process.send_signal(signal.SIGTERM)
            with anyio.fail_after(MOST_AFTER_SIGTERM):
                await process.wait()
    assert process.returncode == 143


async def test_calls_are_traced_and_measured_and_nobodys_words_are_told(tmp_path: Path) -> None:
    way, collector = ToServer(), Collector()
    runapi = Simulator(Script(looks_until_done=10**9, plain_pictures=True), webhook_transport=way)
    made = crashed = CallToolResult(content=[])
    async with served(runapi) as (base_url, _), on_a_port(collector.app) as collector_url:
        more = {"FLUX2_PUBLIC_URL": PUBLIC, "FLUX2_ALLOWED_HOSTS": "flux2.example"}
        async with serving(tmp_path, base_url, collector_url, prelude=CRASHING, **more) as server:
            way.url = server.url.removesuffix("/mcp")
            await server.refused()
            async with server.client() as client, anyio.create_task_group() as group:
                group.start_soon(_end_the_task, runapi)
                made = await client.call_tool("generate", {"prompt": PROMPT})
            async with server.client() as client:
                crashed = await client.call_tool("estimate_cost", {"prompt": PROMPT})
                with pytest.raises(MCPError, match="knows no task"):
                    await client.read_resource(f"flux2://tasks/{TOKEN}")
                await client.call_tool(PROMPT, {})
                with pytest.raises(MCPError, match="There is no prompt"):
                    await client.get_prompt(PROMPT)
    [task] = runapi.ledger.tasks()

    assert "made the picture" in text_of(made)
    assert crashed.is_error
    spans = {span.name: span for span in collector.spans}
    call = spans["tools/call generate"]
    parents = {span.span_id: span.name for span in spans.values()}
    of_the_call = {name: span for name, span in spans.items() if span.trace_id == call.trace_id}
    assert {name: parents.get(span.parent_span_id) for name, span in of_the_call.items()} == {
        "tools/call generate": None,
        "plan": "tools/call generate",
        "GET /api/v1/price_schedules": "plan",
        "create": "tools/call generate",
        "POST /api/v1/flux_2/text_to_image": "create",
        "wait": "tools/call generate",
        "GET /api/v1/flux_2/text_to_image/{id}": "wait",
        "fetch": "tools/call generate",
        "GET {picture}": "fetch",
    }
    assert collector.sums("flux2.calls") == {
        ("generate", "ok"): 1,
        ("ValueError", "error", "estimate_cost"): 1,
        ("ToolError", "error", "unknown"): 1,
    }
    assert collector.sums("flux2.cost.reserved") == {("flux-2-pro-text-to-image",): 5}
    assert collector.sums("flux2.cost.spent") == {("completed", "flux-2-pro-text-to-image"): 5}
    assert collector.sums("flux2.pictures") == {("flux-2-pro-text-to-image", "made"): 1}
    assert collector.sums("flux2.refusals") == {("401",): 1}
    assert sum(collector.sums("flux2.webhooks").values()) == 1
    for once in ("flux2.task.duration", "flux2.task.lateness", "flux2.task.looks"):
        assert sum(collector.sums(once).values()) == 1
    for nothing_left in ("calls.active", "pictures.active", "history.queue", "rate_limiter.queue"):
        assert collector.sums(f"flux2.{nothing_left}") == {(): 0}

    told = b"".join(body for bodies in collector.bodies.values() for body in bodies)
    assert b"flux2-mcp" in told
    logged = server.errors.read_bytes()
    for secret in (PROMPT, NAME, KEY, server.token, task.id, task.prompt):
        assert secret.encode() not in told
        assert secret.encode() not in logged
    assert TOKEN.encode() not in told
    about_call = next(line for line in server.lines if line.get("tool") == "generate")
    assert about_call["trace_id"] == call.trace_id.hex()
    assert about_call["caller"] in {each.value.string_value for each in call.attributes if each.key == "flux2.caller"}
    crash = next(line for line in server.lines if line["level"] == "error")
    assert str(crash["logger"]).startswith("mcp.")
    assert "ValueError" in str(crash["exception"])


async def _end_the_task(runapi: Simulator) -> None:
    while not runapi.ledger.tasks():  # noqa: ASYNC110 the simulator has no event for it
        await anyio.sleep(0.01)
    runapi.ledger.tasks()[0].looks = 10**9
    await runapi.deliver_webhooks()


async def test_a_collector_that_does_not_answer_holds_nothing_up_and_fills_no_log(tmp_path: Path) -> None:
    with socket.socket() as deaf, socket.socket() as closed:
        for each in (deaf, closed):
            each.bind(("127.0.0.1", 0))
        deaf.listen()
        traces, metrics = (f"http://127.0.0.1:{each.getsockname()[1]}" for each in (deaf, closed))
        often = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_METRIC_EXPORT_INTERVAL": "50"}
        often["OTEL_EXPORTER_OTLP_HEADERS"] = KEY  # without a name
        async with (
            served() as (base_url, _),
            serving(tmp_path, base_url, traces, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=metrics, **often) as server,
            server.client() as client,
        ):
            result = await client.call_tool("generate", {"prompt": PROMPT})

    assert "made the picture" in text_of(result)
    said = [str(line["message"]) for line in server.lines if str(line["logger"]).startswith("opentelemetry")]
    assert [("HEADERS" in each, "metrics" in each) for each in said] == [(True, False), (False, True)]
    assert KEY not in "".join(said)


async def test_over_stdio_spans_go_to_stderr(tmp_path: Path) -> None:
    async with (
        served() as (base_url, _),
        hosted(tmp_path, base_url, environ={"OTEL_TRACES_EXPORTER": "console"}) as host,
    ):
        answer = await host.answer(await host.call("recent_tasks", {}))
        host.process.send_signal(signal.SIGTERM)
        await host.ending()

    assert "result" in answer
    names = [json.loads(line)["name"] for line in host.errors.read_text().splitlines()]
    assert "tools/call recent_tasks" in names


@pytest.mark.parametrize(
    ("environ", "prelude", "words"),
    [
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9"},
            'import sys; sys.modules["opentelemetry.sdk.resources"] = None',
            "[otel]",
        ),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "", "'zipkin' is not known here"),
        ({"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "", "not by 'grpc'"),
        ({"OTEL_METRICS_EXPORTER": "console", "OTEL_METRIC_EXPORT_INTERVAL": "0"}, "", "cannot be used"),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"}, "", ""),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9"}, "", ""),
    ],
    ids=["no extra", "unknown exporter", "unknown protocol", "bad value", "disabled", "none"],
)
async def test_what_cannot_be_exported_is_said_in_one_line_and_the_server_goes_on(
    tmp_path: Path, environ: Mapping[str, str], prelude: str, words: str
) -> None:
    async with hosted(tmp_path, "http://127.0.0.1:9", environ=environ, prelude=prelude) as host:
        answer = await host.answer(await host.call("recent_tasks", {}))
        await host.hang_up()
        with anyio.fail_after(AT_ONCE):
            assert await host.ending() == 0

    assert "result" in answer
    said = host.errors.read_text().splitlines()
    assert len(said) == bool(words)
    assert words in "".join(said)
