"""What the life of an order needs, from its price to its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from flux2_mcp import images, polling
from flux2_mcp.background import BackgroundTasks
from flux2_mcp.budget import Budget
from flux2_mcp.history import History
from flux2_mcp.sources import Uploads
from flux2_mcp.webhooks import Webhooks

if TYPE_CHECKING:
    from flux2_mcp.runapi.client import RunAPI


@dataclass(frozen=True, kw_only=True)
class Services:
    """RunAPI, the history, the folder and the rest, for one owner."""

    owner: str
    runapi: RunAPI
    budget: Budget
    history: History
    fetcher: images.Fetcher
    background: BackgroundTasks
    destinations: images.Destinations
    uploads: Uploads
    shows: bool = True
    """Whether results show their pictures, so that they are fetched also where they are not saved."""
    intervals: polling.Intervals = polling.intervals
    sleep: polling.Sleep = anyio.sleep
    webhooks: Webhooks | None = None
    """Where RunAPI tells that a task has ended; None where it cannot reach this server."""
