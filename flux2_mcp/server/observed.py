"""A call of a tool, as logs, metrics and its span tell it: which tool, how long, and how it ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from mcp_types import CallToolResult, InputRequiredResult
from opentelemetry import trace

from flux2_mcp import telemetry
from flux2_mcp.errors import OverLimit

logger = logging.getLogger(__name__)


@dataclass
class ObservedCall:
    """How a call ended, as far as it is known."""

    outcome: str = "cancelled"
    error: str = ""
    """What kind of error."""

    def answered(self, result: CallToolResult | InputRequiredResult) -> None:
        """There is a result, or a question to the person."""
        if isinstance(result, InputRequiredResult):
            self.outcome = "asked"
        elif result.is_error:
            self.outcome, self.error = "error", "tool_error"
        else:
            self.outcome = "ok"

    def failed(self, error: Exception) -> None:
        """There is none; what is told to the caller has what happened as its cause."""
        self.outcome, self.error = "error", type(error.__cause__ or error).__name__
        if isinstance(error.__cause__, OverLimit):
            telemetry.REFUSALS.add(1, {telemetry.ERROR: self.error})


@contextmanager
def observed_call(tool: str, known: Container[str], caller: str | None) -> Generator[ObservedCall]:
    """Measure a call of a tool, if it is known. The caller is named on the call's span and in the log, by a hash."""
    if tool not in known:
        telemetry.hide_name("tools/call", telemetry.TOOL)
        tool = telemetry.UNKNOWN
    known_as = telemetry.pseudonym(caller) if caller else None
    if known_as:
        trace.get_current_span().set_attribute(telemetry.CALLER, known_as)
    call = ObservedCall()
    began = time.perf_counter()
    try:
        with telemetry.counted(telemetry.CALLS_ACTIVE):
            yield call
    except Exception as error:
        call.failed(error)
        raise
    finally:
        seconds = time.perf_counter() - began
        about = {telemetry.TOOL: tool, **({telemetry.ERROR: call.error} if call.error else {})}
        telemetry.CALLS.add(1, {**about, telemetry.OUTCOME: call.outcome})
        telemetry.CALL_DURATION.record(seconds, {**about, "mcp.method.name": "tools/call"})
        more = {"tool": tool, "outcome": call.outcome, "error": call.error, "seconds": round(seconds, 3)}
        said = {name: value for name, value in {**more, "caller": known_as}.items() if value}
        logger.info("%s: %s after %.2f s", tool, call.error or call.outcome, seconds, extra=said)
