"""What is logged, and in which form: lines for people, or a JSON object each for whoever collects them.

No line quotes a prompt or a key. Of an exception that means its type and where it was raised, but not its words: they
may be a value that somebody sent. Of other libraries only warnings are told: what they say below that are requests.
"""

from __future__ import annotations

import json
import logging
import select
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, TextIO, cast

from opentelemetry import trace

Form = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]

OURS = "flux2_mcp"
SELDOM = 600.0
"""Seconds between two lines of one exporter: a collector that is down stays so for a while."""
READS_HEADERS = "opentelemetry.util.re"
"""It quotes what it cannot read, which may be the key to a collector."""
PIECE: int = getattr(select, "PIPE_BUF", 512)
"""Bytes that a pipe takes without a wait if it takes any; POSIX promises 512, and Windows has no such promise."""
DROPPED = "Nobody read this log for a while: {} lines are missing here."
USUAL = frozenset([*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"])
"""What every record has; all else is what we added to one."""


class Lines(logging.Formatter):
    """A line for people, and where it was if something crashed."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def formatException(  # noqa: N802 as in logging
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        return "" if ei[1] is None else "".join(_frames(ei[1])).rstrip()


class JsonLines(Lines):
    """One object a line: the time, the level, the logger, the message, and what else is known."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in USUAL},
        }
        if (span := trace.get_current_span().get_span_context()).is_valid:
            told |= {"trace_id": trace.format_trace_id(span.trace_id), "span_id": trace.format_span_id(span.span_id)}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


class _SeldomExporters(logging.Filter):
    """Lets a line of each of OpenTelemetry's loggers through every ten minutes, and all lines of others."""

    def __init__(self) -> None:
        super().__init__("opentelemetry")
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not super().filter(record):
            return True
        if record.created < self._last.get(record.name, float("-inf")) + SELDOM:
            return False
        self._last[record.name] = record.created
        record.exc_info = None
        if record.name == READS_HEADERS:
            record.msg, record.args = "A header in OTEL_EXPORTER_OTLP_HEADERS cannot be used: it is not name=value.", ()
        return True


class _NeverWaits(logging.StreamHandler[TextIO]):
    """Drops lines that nobody reads: once a pipe is full, whoever writes to it waits, and here that is every call."""

    dropped = 0
    is_cut = False
    """Whether the last line that was written has no end yet."""

    def emit(self, record: logging.LogRecord) -> None:
        if not hasattr(self.stream, "buffer"):
            super().emit(record)  # a stream of text only, which somebody has put in the place of stderr
            return
        if self.dropped and _is_writable(self.stream):
            words, self.dropped = DROPPED.format(self.dropped), 0
            self._write(logging.LogRecord(OURS, logging.WARNING, "", 0, words, (), None))
        self._write(record)

    def _write(self, record: logging.LogRecord) -> None:
        try:
            line = (self.terminator if self.is_cut else "") + self.format(record) + self.terminator
            encoded = line.encode(self.stream.encoding, "backslashreplace")
            for start in range(0, len(encoded), PIECE):
                if not _is_writable(self.stream):
                    self.dropped += 1
                    return
                self.stream.buffer.write(encoded[start : start + PIECE])
                self.flush()
                self.is_cut = start + PIECE < len(encoded)
        except Exception:  # noqa: BLE001 as logging does: it says so on stderr, where anybody reads that
            self.handleError(record)


def configure(form: Form, level: Level) -> None:
    """Log to stderr, in this form and from this level on."""
    handler = _NeverWaits(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else Lines())
    handler.addFilter(_SeldomExporters())
    least = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(handlers=[handler], level=max(least, logging.WARNING))
    logging.getLogger(OURS).setLevel(least)
    logging.captureWarnings(form == "json")


def announce(words: str, form: Form) -> None:
    """Say something that does not depend on the level."""
    if form == "text":
        tell(words)
        return
    logger = logging.getLogger(OURS)
    logger.handle(logger.makeRecord(OURS, logging.INFO, "", 0, words, (), None))


def tell(words: str) -> None:
    """Say something to whoever started us, if they read it."""
    with suppress(OSError):
        print(f"flux2-mcp: {words}", file=sys.stderr, flush=True)  # noqa: T201


def _is_writable(stream: TextIO) -> bool:
    """Whether a line can be written without a wait for whoever reads it."""
    try:
        return bool(select.select([], [stream.fileno()], [], 0)[1])
    except (OSError, ValueError):
        return True  # not a file, or on Windows not a socket


def _frames(error: BaseException) -> Iterator[str]:
    for each in _with_causes(error, set()):
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(each.__traceback__)
        yield f"{type(each).__module__}.{type(each).__qualname__}\n".removeprefix("builtins.")


def _with_causes(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    """First what led to it, as Python tells it."""
    if id(error) in seen:
        return
    seen.add(id(error))
    if cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        yield from _with_causes(cause, seen)
    yield error
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _with_causes(each, seen)
