"""Short texts from one server to all others on the same database: PostgreSQL's LISTEN and NOTIFY."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anyio

if TYPE_CHECKING:
    from psycopg import AsyncConnection

logger = logging.getLogger(__name__)

CHANNEL = "flux2_mcp"
MOST_WAITING = 10_000
"""Texts that wait to be sent while the database is away; the oldest give way."""
MOST_TOGETHER = 500
PAUSE = 1.0
"""Seconds between tries to reach a database that is away."""


class Broadcast:
    """Tells texts to the other servers, and hears theirs.

    `heard` is given each text of others. While the database is away some may be lost: `reconnected` is called when it
    is back.
    """

    def __init__(self, url: str, *, heard: Callable[[str], object], reconnected: Callable[[], object]) -> None:
        self._url = url
        self._heard = heard
        self._reconnected = reconnected
        self._us = uuid4().hex
        self._to_send: OrderedDict[str, None] = OrderedDict()
        self._has_some = anyio.Event()

    def tell(self, text: str) -> None:
        """Send this to all others, as soon as that is possible."""
        self._to_send[text] = None
        while len(self._to_send) > MOST_WAITING:
            self._to_send.popitem(last=False)
        self._has_some.set()

    async def run(self) -> None:
        """Send and hear until cancelled."""
        # Two connections: while one waits for notifications, it takes no statements.
        async with anyio.create_task_group() as group:
            group.start_soon(self._keep_connected, self._hear)
            group.start_soon(self._keep_connected, self._send)

    async def _keep_connected(self, work: Callable[[AsyncConnection[Any], bool], Awaitable[None]]) -> None:
        from psycopg import AsyncConnection, Error

        from flux2_mcp.history.server_database import checked_url, connect_options

        url = checked_url(self._url)
        address, options = url.set(drivername="postgresql").render_as_string(hide_password=False), connect_options(url)
        again = is_away = False
        while True:
            try:
                connection = await AsyncConnection.connect(address, autocommit=True, **options)
                try:
                    is_away = False
                    await work(connection, again)
                finally:
                    await connection.close()  # waits for nothing; the connection's own `async with` would
            except Error as error:
                if not is_away:
                    reason = " ".join(str(error).split())
                    logger.warning("Webhooks that reach other servers are not heard of now: %s", reason)
                again = is_away = True
            await anyio.sleep(PAUSE)

    async def _hear(self, connection: AsyncConnection[Any], again: bool) -> None:  # noqa: FBT001 as `_keep_connected` calls it
        await connection.execute(f"LISTEN {CHANNEL}")
        if again:
            self._reconnected()
        async for notification in connection.notifies():
            sender, _, text = notification.payload.partition(" ")
            if sender != self._us:
                self._heard(text)

    async def _send(self, connection: AsyncConnection[Any], _: bool) -> None:  # noqa: FBT001
        while True:
            await self._has_some.wait()
            texts = list(islice(self._to_send, MOST_TOGETHER))
            payloads = [f"{self._us} {text}" for text in texts]
            await connection.execute("SELECT pg_notify(%s, each) FROM unnest(%s::text[]) AS each", [CHANNEL, payloads])
            for text in texts:
                self._to_send.pop(text, None)
            if not self._to_send:
                self._has_some = anyio.Event()
