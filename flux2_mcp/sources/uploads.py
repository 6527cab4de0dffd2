"""Which uploads RunAPI still has: each distinct content once, until it expires there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

import anyio

if TYPE_CHECKING:
    from flux2_mcp.runapi.models import TemporaryFile

Key = tuple[str, str, str]
"""Owner, RunAPI's origin, SHA-256 of the bytes: nobody is given the address of somebody else's upload."""

LIFE: Final = timedelta(hours=1)
"""How long RunAPI keeps an upload whose end it does not state."""
ENOUGH: Final = timedelta(minutes=5)
"""A task may have to queue before RunAPI fetches its sources."""


class Uploads:
    """Remembers uploads; one per process."""

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._kept: dict[Key, tuple[str, datetime]] = {}
        self._under_way: WeakValueDictionary[Key, anyio.Lock] = WeakValueDictionary()

    async def url(self, key: Key, upload: Callable[[], Awaitable[TemporaryFile]]) -> str:
        """Where RunAPI keeps this content for five more minutes at least; uploaded now if it does not.

        Whoever asks while it is being uploaded waits for that upload, and makes its own only if that one fails.
        """
        lock = self._under_way.setdefault(key, anyio.Lock())
        async with lock:
            self._forget_expired()
            if key not in self._kept:
                file = await upload()
                self._kept[key] = file.url, self._end_of(file)
            return self._kept[key][0]

    def forget(self, urls: Collection[str]) -> None:
        """RunAPI did not accept an order with these addresses, perhaps because of one of them."""
        self._kept = {key: (url, end) for key, (url, end) in self._kept.items() if url not in urls}

    def _forget_expired(self) -> None:
        soon = self._now() + ENOUGH
        self._kept = {key: (url, end) for key, (url, end) in self._kept.items() if end > soon}

    def _end_of(self, file: TemporaryFile) -> datetime:
        end = file.expires_at or self._now() + LIFE
        return end if end.tzinfo else end.replace(tzinfo=UTC)
