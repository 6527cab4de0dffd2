"""What a call would order: everything about it that can be known before anything is sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from uuid import uuid4

from flux2_mcp.budget import Quote
from flux2_mcp.catalogue import Request
from flux2_mcp.history import Arrival, Intent
from flux2_mcp.sources import Local, OpenedSource, Sources
from flux2_mcp.studio.jobs import Deadline
from flux2_mcp.webhooks import Webhooks


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One call, checked and read, but not paid for."""

    request: Request
    """As `Catalogue.check` gave it."""
    sources: Sources
    opened: Sequence[OpenedSource]
    """Every source, read and recognised."""
    quote: Quote
    """For all pictures of the call."""
    new: Quote
    """For those that no earlier order stands for; or for all, where the person need not be asked even about all."""
    arrival: Arrival
    """When the call came, among the deliveries."""
    repeat: bool
    """Whether earlier orders do not count."""
    save_to: str | None
    wait: float
    """Seconds."""
    webhooks: Webhooks | None = None
    """Where RunAPI tells the end of a task, if it can reach this server."""
    deadline: Deadline
    """Of the call for which it was made: the host's clock runs while prices and sources are read."""

    @cached_property
    def fingerprint(self) -> str:
        """What makes two calls the same; to spell out what RunAPI does anyway makes no difference."""
        sources = tuple(each.identity for each in self.opened)
        known = replace(self.request, prompt=self.request.prompt.strip(), source_image_urls=sources)
        usual = {"aspect_ratio": "auto" if sources else "1:1", "output_resolution": "1k"}
        facts = [self.request.service, self.request.action, self.quote.count, usual | known.body]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _told(self, idempotency_key: str) -> Mapping[str, object]:
        """Where RunAPI tells the end of this order's task, unless the caller wants to be told instead."""
        return {"callback_url": self.webhooks.address_for(idempotency_key)} if self.webhooks else {}

    @cached_property
    def intents(self) -> Sequence[Intent]:
        """One for each picture."""
        # Local sources have no address before they are uploaded, and nothing is uploaded for an order that resumes.
        body = None if any(isinstance(source, Local) for source in self.opened) else self.request.body
        keys = [str(uuid4()) for _ in range(self.quote.count)]
        return [
            Intent(
                fingerprint=self.fingerprint,
                position=position,
                idempotency_key=key,
                service=self.request.service,
                action=self.request.action,
                model=self.request.model,
                request=body and {**self._told(key), **body},
                resolution=self.request.output_resolution,
                prompt=self.request.prompt,
                estimated_cents=self.quote.each,
                save_to=self.save_to,
            )
            for position, key in enumerate(keys)
        ]
