"""Where traces and metrics go: the SDK, set up by OpenTelemetry's own variables, and imported only where they ask."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from opentelemetry import metrics, trace

from flux2_mcp import __version__
from flux2_mcp.invocation import install_extra

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SpanExporter

logger = logging.getLogger(__name__)

SERVICE = "flux2-mcp"
LONGEST_END = 1.0
"""Seconds that the last spans and metrics get at the end: a collector that is down must hold nothing up."""
SPOKEN = "http/protobuf"

Signal = Literal["TRACES", "METRICS"]
Shutdown = Callable[[], None]


@contextmanager
def exported(environ: Mapping[str, str]) -> Generator[Shutdown]:
    """Export what these variables ask for, until this ends or what it gives is called."""
    shutdowns = list(_set_up(environ))

    def end() -> None:
        _all_at_once(shutdowns)
        shutdowns.clear()

    try:
        yield end
    finally:
        end()


def _set_up(environ: Mapping[str, str]) -> Iterator[Shutdown]:
    traces, measured = (_exporters(environ, signal) for signal in ("TRACES", "METRICS"))
    if not traces and not measured:
        return
    try:
        resource = _resource()
        if traces:
            yield _export_traces(traces, resource)
        if measured:
            yield _export_metrics(measured, resource)
    except ImportError as missing:
        logger.warning("Nothing is exported: %s is missing. Install it: %s", missing.name, install_extra("otel"))
    except ValueError as error:
        logger.warning("Nothing more is exported: an OTEL_ variable cannot be used (%s).", error)


def _exporters(environ: Mapping[str, str], signal: Signal) -> Sequence[str]:
    """The names of the exporters of a signal; none where nothing asks for one, or for none."""
    if _value(environ, "OTEL_SDK_DISABLED").lower() == "true":
        return ()
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    usual = "otlp" if any(_value(environ, name) for name in endpoints) else "none"
    named = _value(environ, f"OTEL_{signal}_EXPORTER") or usual
    names = {name.strip().lower() for name in named.split(",")} - {"", "none"}
    for unknown in sorted(names - {"otlp", "console"}):
        logger.warning("OTEL_%s_EXPORTER: %r is not known here; otlp, console and none are.", signal, unknown[:40])
    if "otlp" in names and (spoken := _protocol(environ, signal)) != SPOKEN:
        logger.warning("OTLP is spoken by %s only, not by %r: %s are not sent.", SPOKEN, spoken[:40], signal.lower())
        names.discard("otlp")
    return sorted(names & {"otlp", "console"})


def _protocol(environ: Mapping[str, str], signal: Signal) -> str:
    own = _value(environ, f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL")
    return own or _value(environ, "OTEL_EXPORTER_OTLP_PROTOCOL") or SPOKEN


def _value(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip()


def _resource() -> Resource:
    """Which process this is; what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say of it comes first."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    ours = {"service.name": SERVICE, "service.version": __version__, "service.instance.id": str(uuid4())}
    return Resource.create({**ours, **OTELResourceDetector().detect().attributes})


def _export_traces(names: Sequence[str], resource: Resource) -> Shutdown:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from flux2_mcp.telemetry.wordless import Wordless

    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for name in names:
        provider.add_span_processor(BatchSpanProcessor(Wordless(_span_exporter(name))))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def _export_metrics(names: Sequence[str], resource: Resource) -> Shutdown:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    readers = [PeriodicExportingMetricReader(_metric_exporter(name)) for name in names]
    provider = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    return provider.shutdown


def _span_exporter(name: str) -> SpanExporter:
    if name == "otlp":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    # Over stdio, stdout belongs to the protocol.
    return ConsoleSpanExporter(out=sys.stderr, formatter=lambda span: f"{span.to_json(indent=None)}\n")


def _metric_exporter(name: str) -> MetricExporter:
    if name == "otlp":
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        return OTLPMetricExporter()
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter

    return ConsoleMetricExporter(out=sys.stderr, formatter=lambda data: f"{data.to_json(indent=None)}\n")


def _all_at_once(shutdowns: Sequence[Shutdown]) -> None:
    """Each in a thread that the process does not wait for when its time is over."""
    until = time.monotonic() + LONGEST_END
    threads = [Thread(target=shutdown, daemon=True) for shutdown in shutdowns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
