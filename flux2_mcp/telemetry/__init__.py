"""What is measured, and the spans of a call: through OpenTelemetry's API, which does nothing where no SDK is set up.

No attribute is a prompt, a key, an address, an id or a name of a caller's. Metrics do not tell callers apart.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry import context, metrics, trace
from opentelemetry.metrics import UpDownCounter
from opentelemetry.trace import INVALID_SPAN, ProxyTracerProvider, Span, SpanKind, StatusCode

from flux2_mcp import __version__

NAME = "flux2_mcp"

UNKNOWN = "unknown"
"""Stands for the name of a tool or a prompt that there is not."""
TOOL = "gen_ai.tool.name"
PROMPT = "gen_ai.prompt.name"
MODEL = "gen_ai.request.model"
ERROR = "error.type"
OUTCOME = "flux2.outcome"
NOTICED_BY = "flux2.noticed_by"
CALLER = "flux2.caller"
"""On spans, and in logs as `caller`."""

_meter = metrics.get_meter(NAME, __version__)
_tracer = trace.get_tracer(NAME, __version__)

CALLS = _meter.create_counter("flux2.calls", "{call}", "Calls of tools that were answered, or given up.")
CALLS_ACTIVE = _meter.create_up_down_counter("flux2.calls.active", "{call}", "Calls of tools in flight.")
CALL_DURATION = _meter.create_histogram(
    "mcp.server.operation.duration",
    "s",
    "How long calls of tools took.",
    explicit_bucket_boundaries_advisory=[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300],
)
PICTURES = _meter.create_counter("flux2.pictures", "{picture}", "What calls were told of the pictures they asked for.")
PICTURES_ACTIVE = _meter.create_up_down_counter(
    "flux2.pictures.active", "{picture}", "Pictures that are fetched and put away now; so many are held in memory."
)
TASK_DURATION = _meter.create_histogram(
    "flux2.task.duration",
    "s",
    "From when RunAPI accepted a task to when its end was noticed.",
    explicit_bucket_boundaries_advisory=[1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 300, 600],
)
TASK_LATENESS = _meter.create_histogram(
    "flux2.task.lateness",
    "s",
    "By how much a task's end was noticed too late, at most.",
    explicit_bucket_boundaries_advisory=[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30],
)
TASK_LOOKS = _meter.create_histogram(
    "flux2.task.looks",
    "{look}",
    "Looks at a task in the call that saw its end.",
    explicit_bucket_boundaries_advisory=[0, 1, 2, 3, 5, 8, 13, 21, 34, 55],
)
REQUEST_DURATION = _meter.create_histogram(
    "http.client.request.duration",
    "s",
    "How long each request upstream took, without the wait for its turn.",
    explicit_bucket_boundaries_advisory=[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10],
)
RATE_LIMITER_QUEUE = _meter.create_up_down_counter(
    "flux2.rate_limiter.queue", "{request}", "Requests that wait for the rate limiter of their key."
)
HISTORY_QUEUE = _meter.create_up_down_counter(
    "flux2.history.queue", "{work}", "Reads and writes that the history was asked for and has not done yet."
)
COST_RESERVED = _meter.create_counter("flux2.cost.reserved", "{cent}", "US cents of new orders, by their estimates.")
COST_SPENT = _meter.create_counter(
    "flux2.cost.spent", "{cent}", "US cents of orders that ended: as RunAPI stated them, else as estimated."
)
WEBHOOKS = _meter.create_counter("flux2.webhooks", "{webhook}", "Webhooks that arrived.")
REFUSALS = _meter.create_counter("flux2.refusals", "{refusal}", "Calls and requests that were turned away.")


@contextmanager
def counted(active: UpDownCounter) -> Generator[None]:
    """Count one more, as long as this lasts."""
    active.add(1)
    try:
        yield
    finally:
        active.add(-1)


@contextmanager
def span(
    name: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Mapping[str, str | int] | None = None
) -> Generator[Span]:
    """A span of the call in hand. Of an exception it tells the type, and not the words: they may quote a prompt."""
    if isinstance(trace.get_tracer_provider(), ProxyTracerProvider):
        yield INVALID_SPAN  # to make one that does nothing takes fifteen microseconds
        return
    with _tracer.start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except Exception as error:
            current.set_attribute(ERROR, type(error).__name__)
            current.set_status(StatusCode.ERROR)
            raise


def hide_name(method: str, attribute: str) -> None:
    """What the call in hand wants is nothing of ours: its span must not be named by what a caller wrote."""
    current = trace.get_current_span()
    current.update_name(f"{method} {UNKNOWN}")
    current.set_attribute(attribute, UNKNOWN)


@dataclass
class Answer:
    """What a request upstream came to."""

    status: int | None = None


@contextmanager
def request(method: str, origin: tuple[str, int], route: str) -> Generator[Answer]:
    """A request upstream, by a route without ids; whoever sends it notes the status of its answer."""
    about: dict[str, str | int] = {
        "http.request.method": method,
        "server.address": origin[0],
        "server.port": origin[1],
        "url.template": route,
    }
    answer = Answer()
    began = time.perf_counter()
    with span(f"{method} {route}", SpanKind.CLIENT, about) as current:
        try:
            yield answer
        except BaseException as error:
            about[ERROR] = type(error).__name__
            raise
        finally:
            if answer.status is not None:
                about["http.response.status_code"] = answer.status
                current.set_attribute("http.response.status_code", answer.status)
                if answer.status >= 400:
                    about[ERROR] = str(answer.status)
                    current.set_attribute(ERROR, about[ERROR])
                    current.set_status(StatusCode.ERROR)
            REQUEST_DURATION.record(time.perf_counter() - began, about)


@contextmanager
def apart() -> Generator[None]:
    """What is done for no call, though one has set it off: its spans are none of that call's."""
    token = context.attach(context.Context())
    try:
        yield
    finally:
        context.detach(token)


def pseudonym(caller: str) -> str:
    """What stands for a caller in spans and logs; who knows the name can tell which it is."""
    return hashlib.sha256(caller.encode("utf-8", "surrogatepass")).hexdigest()[:12]
