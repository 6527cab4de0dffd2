"""`flux2-mcp serve --http`, with the suite's fixtures mounted: python -m tests.conformance.serve_fixtures --port N."""

from __future__ import annotations

import sys

from flux2_mcp.app_state import Environment
from flux2_mcp.cli import main, serve
from flux2_mcp.server.app import build_server
from flux2_mcp.server.strict import StrictServer
from tests.conformance.fixture_tasks import FixtureTasks, add_tasks
from tests.conformance.fixtures import add_fixtures


def with_fixtures(environment: Environment, *, state_key: bytes | None = None) -> StrictServer:
    """Our server and theirs in one."""
    tasks = FixtureTasks()
    server = build_server(environment, state_key=state_key, tasks=tasks)
    add_fixtures(server)
    add_tasks(server, tasks)
    return server


if __name__ == "__main__":
    serve.build_server = with_fixtures
    main(["serve", "--http", *sys.argv[1:]])
