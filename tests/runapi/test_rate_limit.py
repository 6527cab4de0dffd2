"""One rate limiter per key: a burst waits its turn instead of being refused."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
import httpx
import pytest

from flux2_mcp.runapi.client import Connection, RunAPI
from flux2_mcp.runapi.rate_limit import RateLimiter

BODY = {"model": "flux-2-pro-text-to-image", "prompt": "a fox"}


@dataclass
class Clock:
    """Time that passes only while everybody sleeps."""

    now: float = 0.0
    sleepers: list[tuple[float, anyio.Event]] = field(default_factory=list[tuple[float, anyio.Event]])

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = anyio.Event()
        self.sleepers.append((self.now + seconds, woken))
        await woken.wait()

    async def run(self) -> None:
        while True:
            await anyio.wait_all_tasks_blocked()
            if not self.sleepers:
                await anyio.lowlevel.checkpoint()
                continue
            self.sleepers.sort(key=lambda sleeper: sleeper[0])
            self.now, woken = self.sleepers.pop(0)
            woken.set()


@dataclass
class AdmitsTenASecond(httpx.AsyncBaseTransport):
    """A RunAPI with a bucket of ten requests that fills at ten a second."""

    clock: Clock
    tokens: float = 10.0
    filled_at: float = 0.0
    admitted: int = 0
    refused: int = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self.clock.sleep(0.01)
        self.tokens = min(10.0, self.tokens + 10 * (self.clock.now - self.filled_at))
        self.filled_at = self.clock.now
        if self.tokens < 1:
            self.refused += 1
            return httpx.Response(429, headers={"Retry-After": "1"}, json={"error": "Too many requests"})
        self.tokens -= 1
        self.admitted += 1
        return httpx.Response(200, json={"id": f"t-{self.admitted}", "status": "pending"})


async def test_a_burst_of_fifty_is_admitted_in_full_and_wastes_little() -> None:
    """The vendor's own server loses such a burst; all-knowing, 50 requests would do."""
    clock = Clock()
    upstream = AdmitsTenASecond(clock)
    connection = Connection("https://runapi.test", transport=upstream, sleep=clock.sleep)
    runapi = RunAPI(connection, "key", rate_limiter=RateLimiter(sleep=clock.sleep, clock=clock))
    made: set[str] = set()

    async def create(n: int) -> None:
        made.add((await runapi.create("text_to_image", BODY, idempotency_key=f"k-{n}")).id)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(clock.run)
            async with anyio.create_task_group() as burst:
                for n in range(50):
                    burst.start_soon(create, n)
            group.cancel_scope.cancel()

    assert len(made) == 50
    assert upstream.refused <= 12
    assert clock.now < 10


async def test_without_a_refusal_nobody_waits() -> None:
    clock = Clock()
    limiter = RateLimiter(sleep=clock.sleep, clock=clock)

    for _ in range(200):
        await limiter.acquire()
        limiter.admitted()

    assert clock.now == 0
    assert not limiter.is_throttled


async def test_a_server_that_hangs_does_not_hold_up_the_others_for_good() -> None:
    """Requests that never come back earn nothing, but time does."""
    clock = Clock()
    limiter = RateLimiter(sleep=clock.sleep, clock=clock)

    async with anyio.create_task_group() as group:
        group.start_soon(clock.run)
        for _ in range(30):
            await limiter.acquire()
        group.cancel_scope.cancel()

    assert 0.9 <= clock.now <= 3


async def test_a_refusal_is_forgiven_after_a_while() -> None:
    """However slow the pace was, and however long nobody asked."""
    clock = Clock()
    limiter = RateLimiter(sleep=clock.sleep, clock=clock)
    limiter.admitted()
    limiter.throttled(None)

    assert limiter.is_throttled
    clock.now = 20
    assert limiter.is_throttled
    clock.now = 120
    assert not limiter.is_throttled
    clock.now = 1e9
    await limiter.acquire()
    assert clock.now == 1e9


async def test_a_year_of_silence_costs_no_time() -> None:
    clock = Clock()
    limiter = RateLimiter(sleep=clock.sleep, clock=clock)
    limiter.throttled(None)
    clock.now = 3e7

    with anyio.fail_after(1):
        await limiter.acquire()
    assert not limiter.is_throttled


async def seconds_for(requests: int, limiter: RateLimiter, clock: Clock) -> float:
    """How long so many take that are asked for one after the other."""
    began = clock.now
    async with anyio.create_task_group() as group:
        group.start_soon(clock.run)
        for _ in range(requests):
            await limiter.acquire()
        group.cancel_scope.cancel()
    return clock.now - began


async def test_the_eleventh_request_waits_for_its_tenth_of_a_second() -> None:
    clock = Clock(now=100.0)
    limiter = RateLimiter(sleep=clock.sleep, clock=clock)

    assert await seconds_for(10, limiter, clock) == 0
    assert await seconds_for(1, limiter, clock) == pytest.approx(0.1)


@pytest.mark.parametrize(("admitted", "a_second"), [(0, 1.0), (20, 19.0)])
async def test_after_a_refusal_the_pace_is_what_was_admitted_within_a_second(admitted: int, a_second: float) -> None:
    """And no less than one request a second."""
    clock = Clock(now=100.0)
    limiter = RateLimiter(sleep=clock.sleep, clock=clock)
    for _ in range(50):
        limiter.admitted()
    clock.now = 102.0
    for _ in range(admitted):
        limiter.admitted()
    clock.now = 103.0
    limiter.throttled(None)
    clock.now = 103.5

    assert await seconds_for(5, limiter, clock) == pytest.approx(4 / a_second)


async def test_the_pace_is_raised_by_a_tenth_each_second_once_ten_are_over() -> None:
    clock = Clock(now=100.0)
    limiter = RateLimiter(sleep=clock.sleep, clock=clock)
    limiter.throttled(None)
    clock.now = 110.5
    assert limiter.is_throttled
    clock.now = 111.5

    assert await seconds_for(2, limiter, clock) == pytest.approx(1 / 1.1**2)
