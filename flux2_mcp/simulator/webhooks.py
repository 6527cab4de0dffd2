"""Notifies a callback address that its task has ended."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

import anyio
import httpx

from .ledger import Ledger
from .script import Script
from .tasks import Task, flat_body

SECONDS_TO_ANSWER = 5.0
SECONDS_BETWEEN_ROUNDS = 0.2


class WebhookSender:
    """Delivers webhooks: to this machine only, unless the test that asks brings its own network."""

    def __init__(self, script: Script, ledger: Ledger, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._script = script
        self._ledger = ledger
        self._transport = transport
        self._sent: set[str] = set()

    async def run(self) -> None:
        """Deliver whatever is due, until cancelled."""
        async with anyio.create_task_group() as group:
            while True:
                for task in self._due():
                    group.start_soon(self._deliver, task)
                await anyio.sleep(SECONDS_BETWEEN_ROUNDS)

    async def deliver_due(self) -> None:
        """Deliver whatever is due now, and return when that is done."""
        async with anyio.create_task_group() as group:
            for task in self._due():
                group.start_soon(self._deliver, task)

    def _due(self) -> Iterable[Task]:
        due = [
            task
            for task in self._ledger.tasks()
            if task.callback_url and task.is_over and task.id not in self._sent and self._is_allowed(task.callback_url)
        ]
        self._sent.update(task.id for task in due)
        return due

    def _is_allowed(self, url: str) -> bool:
        return self._transport is not None or _is_this_machine(urlsplit(url).hostname or "")

    async def _deliver(self, task: Task) -> None:
        body = json.dumps(flat_body(task)).encode()
        headers = {"Content-Type": "application/json", **self._signature(body)}
        await anyio.sleep(self._script.webhook_delay)
        async with httpx.AsyncClient(
            transport=self._transport, timeout=SECONDS_TO_ANSWER, trust_env=False, follow_redirects=False
        ) as client:
            if self._script.forged_webhooks:
                forged = json.dumps({"id": task.id, "status": "failed", "error": "forged"}).encode()
                await _delivered(client, task.callback_url, forged, {"Content-Type": "application/json"})
            for _ in range(self._script.webhook_copies):
                await self._deliver_once(client, task, body, headers)

    async def _deliver_once(
        self, client: httpx.AsyncClient, task: Task, body: bytes, headers: Mapping[str, str]
    ) -> None:
        for pause in (*self._script.webhook_pauses, None):
            if await _delivered(client, task.callback_url, body, headers) or pause is None:
                return
            await anyio.sleep(pause)

    def _signature(self, body: bytes) -> dict[str, str]:
        secret = self._script.webhook_secret
        if secret is None:
            return {}
        digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return {self._script.webhook_signature_header: f"sha256={digest}"}


async def _delivered(client: httpx.AsyncClient, url: str, body: bytes, headers: Mapping[str, str]) -> bool:
    try:
        return (await client.post(url, content=body, headers=headers)).is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
