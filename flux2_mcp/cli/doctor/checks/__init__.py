"""What `doctor` looks at: each check is one finding, well or with the mend."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from flux2_mcp.cli.doctor.checks.finding import Finding, Patient
from flux2_mcp.cli.doctor.checks.here import key, package, places, python, settings
from flux2_mcp.cli.doctor.checks.hosts import hosts
from flux2_mcp.cli.doctor.checks.upstream import upstream

__all__ = ["Finding", "Patient", "findings"]


async def findings(patient: Patient) -> AsyncGenerator[Finding, None]:
    """Everything that can be looked at, in the order in which a person would mend it."""
    yield python(patient)
    yield package()
    yield settings(patient)
    yield await key(patient)
    async for finding in upstream(patient):
        yield finding
    async for finding in places(patient):
        yield finding
    async for finding in hosts(patient):
        yield finding
