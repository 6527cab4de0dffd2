"""Where RunAPI is told to say that a task has ended, and who is woken by that.

What arrives is a hint: whoever waits looks at the task with its owner's key, and believes only that. Looking goes on
without it, because a webhook may never come; while they do come, it goes on slowly.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, repeat
from urllib.parse import urlsplit

import anyio

from flux2_mcp import telemetry
from flux2_mcp.errors import BadSetting

logger = logging.getLogger(__name__)

PATH = "/webhooks/runapi"
MAC_LENGTH = 32
"""Hexadecimal digits: 128 bits."""
MOST_REMEMBERED = 10_000
"""Webhooks that came before anybody waited for them."""
TRUSTED_FOR = 600.0
"""Seconds after a webhook in which others are expected to come too."""
MOST_MISSED = 3
"""Tasks that ended without one, after which looks are as dense as ever, until one comes."""
SLOW_PAUSES = (3.0, 10.0, 15.0, 20.0)
LONGEST_PAUSE = 30.0
"""Seconds between looks at a task whose end will be told."""
SHORTEST_PAUSE = 1.0
"""Seconds between looks, however many webhooks come."""


@dataclass(eq=False)
class Wake:
    """Ends a pause early, for one who waits."""

    clock: Callable[[], float]
    event: anyio.Event = field(default_factory=anyio.Event)
    arrived_at: float | None = None
    """When the first webhook came."""
    _slept_at: float = float("-inf")

    @property
    def has_arrived(self) -> bool:
        """Whether a webhook came."""
        return self.arrived_at is not None

    @property
    def since_arrival(self) -> float | None:
        """Seconds since the first one came."""
        return None if self.arrived_at is None else self.clock() - self.arrived_at

    def set(self, at: float) -> None:
        """A webhook came at this moment."""
        if self.arrived_at is None:
            self.arrived_at = at
        self.event.set()

    async def sleep(self, seconds: float) -> None:
        """Wait so long, or until a webhook comes."""
        least = min(seconds, self._slept_at + SHORTEST_PAUSE - self.clock())
        if least > 0:
            await anyio.sleep(least)
        with anyio.move_on_after(seconds - max(least, 0.0)):
            await self.event.wait()
        self.event = anyio.Event()
        self._slept_at = self.clock()


class Webhooks:
    """The webhooks of one server. Their addresses follow from a key, so that every replica knows them."""

    def __init__(self, public_url: str, key: bytes, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._base = public_url.rstrip("/") + PATH
        self._key = key
        self._clock = clock
        self._waiting: defaultdict[str, set[Wake]] = defaultdict(set)
        """By name."""
        self._early: OrderedDict[str, float] = OrderedDict()
        """When each came."""
        self._last_at = float("-inf")
        self._missed = 0

    @property
    def come(self) -> bool:
        """Whether they do come, as far as can be told."""
        return self._missed < MOST_MISSED and self._clock() - self._last_at < TRUSTED_FOR

    def address_for(self, idempotency_key: str) -> str:
        """Where the end of this order's task is told; nobody can guess it, and it tells nothing of the order."""
        return f"{self._base}/{self._name(idempotency_key)}"

    def arrived(self, name: str) -> bool:
        """Wake whoever waits for what the last part of the address names; False when it names nothing."""
        order, _, mac = name.partition(".")
        if not hmac.compare_digest(mac.encode(), self._mac(order).encode()):
            telemetry.WEBHOOKS.add(1, {telemetry.OUTCOME: "unknown"})
            return False
        now = self._clock()
        if wakes := self._waiting.get(name):
            if not any(wake.has_arrived for wake in wakes):
                self._count()
            for wake in wakes:
                wake.set(now)
            logger.info("A webhook came for a task that is waited for.")
            telemetry.WEBHOOKS.add(1, {telemetry.OUTCOME: "awaited"})
        else:
            self._early.setdefault(name, now)
            telemetry.WEBHOOKS.add(1, {telemetry.OUTCOME: "early"})
            while len(self._early) > MOST_REMEMBERED:
                self._early.popitem(last=False)
        return True

    def wake_all(self) -> None:
        """Have everybody look who waits: webhooks may have come that were not heard of."""
        for wakes in self._waiting.values():
            for wake in wakes:
                wake.event.set()

    def _count(self) -> None:
        """One came for a task that is waited for. Others, such as one that is sent again, say nothing of the next."""
        self._last_at, self._missed = self._clock(), 0

    def missed(self) -> None:
        """A task ended, and no webhook has told it."""
        self._missed += 1

    @contextmanager
    def waking(self, idempotency_key: str) -> Generator[Wake]:
        """While the task of this order is waited for."""
        name, wake = self._name(idempotency_key), Wake(self._clock)
        if (came_at := self._early.pop(name, None)) is not None:
            self._count()
            wake.set(came_at)
        self._waiting[name].add(wake)
        try:
            yield wake
        finally:
            self._waiting[name].discard(wake)
            if not self._waiting[name]:
                del self._waiting[name]

    def _name(self, idempotency_key: str) -> str:
        order = hashlib.sha256(idempotency_key.encode()).hexdigest()[:MAC_LENGTH]
        return f"{order}.{self._mac(order)}"

    def _mac(self, order: str) -> str:
        return hmac.digest(self._key, order.encode("utf-8", "surrogatepass"), "sha256").hex()[:MAC_LENGTH]

    def pauses(self, usual: Iterator[float]) -> Iterator[float]:
        """The seconds between looks at a task: few looks as long as webhooks come, else the usual ones."""
        slow = chain(SLOW_PAUSES, repeat(LONGEST_PAUSE))
        while True:
            yield next(slow if self.come else usual)


def checked_public_url(text: str) -> str:
    """The same address, if RunAPI can be given it.

    Raises:
        BadSetting: It is none, or leads elsewhere.
    """
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname or url.query or url.fragment:
        msg = "FLUX2_PUBLIC_URL has to be an address, such as https://flux2.example.com."
        raise BadSetting(msg)
    if url.path.rstrip("/").endswith("/mcp"):
        msg = f"FLUX2_PUBLIC_URL is where {PATH} is below, without /mcp."
        raise BadSetting(msg)
    return text
