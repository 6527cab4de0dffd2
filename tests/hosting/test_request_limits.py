"""Each caller's requests have their turn, and a limit."""

from __future__ import annotations

import pytest

from flux2_mcp.server.request_limits import (
    FIRST_ONES,
    MOST_REMEMBERED,
    PAUSE,
    PER_SECOND,
    RequestLimiter,
    TooManyRequests,
)


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def test_the_first_requests_do_not_wait_and_the_next_ones_come_one_after_the_other() -> None:
    time = Time()
    limiter = RequestLimiter(10, time.clock, time.sleep)
    began: list[float] = []
    for _ in range(FIRST_ONES + 50):
        async with limiter.one("ada"):
            began.append(time.now - 1000)
    async with limiter.one("ben"):
        of_ben = time.now

    assert began[:FIRST_ONES] == [0.0] * FIRST_ONES
    assert began[-1] == pytest.approx(50 / PER_SECOND, abs=0.05)
    assert of_ben == time.now


async def test_more_requests_at_once_are_refused_after_a_pause() -> None:
    time = Time()
    limiter = RequestLimiter(1, time.clock, time.sleep)
    async with limiter.one("ada"), limiter.one("ben"):
        with pytest.raises(TooManyRequests):
            async with limiter.one("ada"):
                pass
    async with limiter.one("ada"):
        pass

    assert time.now == 1000 + PAUSE


async def test_callers_who_have_gone_are_forgotten() -> None:
    time = Time()
    limiter = RequestLimiter(1, time.clock, time.sleep)
    for number in range(MOST_REMEMBERED + 5):
        time.now += 1
        async with limiter.one(str(number)):
            pass

    assert limiter.remembered < MOST_REMEMBERED
