"""What `doctor` checks: each check gives one finding, which is ok or says how to fix it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from flux2_mcp.cli.doctor.checks.finding import Computer, Finding
from flux2_mcp.cli.doctor.checks.here import folders, key, package, python, settings
from flux2_mcp.cli.doctor.checks.hosts import hosts
from flux2_mcp.cli.doctor.checks.upstream import upstream

__all__ = ["Computer", "Finding", "findings"]


async def findings(computer: Computer) -> AsyncGenerator[Finding, None]:
    """Every check, in the order in which a person would fix what fails."""
    yield python(computer)
    yield package()
    yield settings(computer)
    yield await key(computer)
    async for finding in upstream(computer):
        yield finding
    async for finding in folders(computer):
        yield finding
    async for finding in hosts(computer):
        yield finding
