"""What each side says about the money, so that a test can ask whether they agree to the cent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp.client import Client

from flux2_mcp.simulator import Simulator
from tests.world import KEY


@dataclass(frozen=True)
class Ledger:
    """Amounts in US cents, once everything is settled."""

    balance: int
    spent: int
    costs: dict[str, int]
    """What each paid task cost."""


def ledger_of_runapi(simulator: Simulator, key: str = KEY) -> Ledger:
    """What RunAPI has in its ledger."""
    ledger = simulator.ledger
    costs = {task.id: task.cost_cents for task in ledger.paid_tasks(key)}
    return Ledger(ledger.balance_cents(key), ledger.spent_cents(key), costs)


def ledger_of_server(estimate: Mapping[str, Any], recent: Mapping[str, Any]) -> Ledger:
    """What our server says with `estimate_cost` and `recent_tasks`."""
    costs = {task["task_id"]: _cents(task["cost_usd"]) for task in recent["tasks"] if task["status"] == "completed"}
    assert recent.get("next_cursor") is None
    return Ledger(_cents(estimate["balance_usd"]), _cents(estimate["spent_today_usd"]), costs)


async def ledger_of(client: Client) -> Ledger:
    """What the server of this client says."""
    estimate = await client.call_tool("estimate_cost", {})
    recent = await client.call_tool("recent_tasks", {"limit": 50})
    assert estimate.structured_content is not None
    assert recent.structured_content is not None
    return ledger_of_server(estimate.structured_content, recent.structured_content)


def _cents(dollars: float) -> int:
    return round(dollars * 100)
