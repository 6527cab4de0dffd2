"""The state of a running server, for what the SDK gives no context."""

from __future__ import annotations

from dataclasses import dataclass

from flux2_mcp.app_state import AppState


@dataclass
class StateHolder:
    """Holds it while the server runs: a resource without parameters, for one, gets no context."""

    state: AppState | None = None

    @property
    def running(self) -> AppState:
        """The state of the running server."""
        assert self.state is not None, "resources are read while the server runs"  # noqa: S101 the SDK's promise
        return self.state
