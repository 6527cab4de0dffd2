"""Whether a call is the same request as an earlier one, and resumes its orders, or asks for new pictures."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from flux2_mcp.history.orders import Intent, Order

RESUME_WITHIN = timedelta(minutes=15)
"""How long the same request takes up an order that is not delivered, instead of making another."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What had been delivered when a call came.

    After a delivery the same words mean another picture. But a call that came before may be the same one, sent again by
    a host that lost patience, however long it takes to find out what it asks for, and whatever process it reaches.
    """

    deliveries: int
    """How many the history had counted."""
    uncounted: frozenset[str] = frozenset()
    """The orders that this process had delivered a moment ago, and the history had not counted."""

    def is_after(self, order: Order) -> bool:
        """Whether the call came after the result of this order was delivered."""
        return order.id in self.uncounted or (order.delivery is not None and order.delivery <= self.deliveries)


BEFORE_ALL = Arrival(0)
AFTER_ALL = Arrival(sys.maxsize)


def resume_key(order: Order | Intent) -> str:
    """What an order and the same request for the same picture of a call have in common."""
    return f"{order.fingerprint}:{order.position}"


def resumed(holders: Mapping[str, Order], *, since: datetime, arrival: Arrival) -> dict[str, Order]:
    """Those of the orders that hold the resume keys of a call that this call resumes; a failed order holds none.

    Until every picture of a call was delivered, the same call finds all of them. `since` is when the oldest order may
    have been made.
    """
    if all(arrival.is_after(order) for order in holders.values()):
        return {}
    return {key: order for key, order in holders.items() if _is_young(order, since)}


def _is_young(order: Order, since: datetime) -> bool:
    """Whether it was made since then, or its task if that took long to become known."""
    return (order.accepted_at or order.created_at) >= since
