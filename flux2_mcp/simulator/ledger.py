"""Accounts, tasks and their money: every cent is free, reserved, spent or given back."""

from __future__ import annotations

from dataclasses import dataclass

from .clock import Clock
from .refusals import insufficient_credits, too_many_requests, unauthorized
from .script import Script
from .tasks import Task


@dataclass
class Account:
    """What one key owns, in integer cents."""

    number: int
    key: str
    opening_cents: int
    reserved_cents: int = 0
    spent_cents: int = 0

    @property
    def balance_cents(self) -> int:
        """What is free to spend: not spent, not reserved."""
        return self.opening_cents - self.reserved_cents - self.spent_cents

    def reserve(self, cents: int) -> None:
        """Set money aside for a task.

        Raises:
            Refusal: 402, when too little is free.
        """
        if cents > self.balance_cents:
            raise insufficient_credits()
        self.reserved_cents += cents

    def close(self, task: Task) -> None:
        """Charge a task that completed, give back the money of one that failed."""
        self.reserved_cents -= task.cost_cents
        if task.status == "completed":
            self.spent_cents += task.cost_cents
            task.money = "settled"
        else:
            task.money = "refunded"


class Ledger:
    """All accounts and all tasks. Asking for money or tasks first closes what has ended by now."""

    def __init__(self, script: Script, clock: Clock) -> None:
        self._script = script
        self._accounts: dict[str, Account] = {}
        self._tasks: dict[str, Task] = {}
        self._open: dict[str, Task] = {}
        self._by_idempotency_key: dict[tuple[str, str], tuple[str, Task]] = {}
        self._rate_limits = RateLimits(script.requests_per_second, clock)

    def tasks(self, key: str | None = None) -> list[Task]:
        """Every task ever created, oldest first; of one key, when given."""
        self.close_ended()
        return [task for task in self._tasks.values() if key is None or task.key == key]

    def paid_tasks(self, key: str | None = None) -> list[Task]:
        """The tasks whose money was not given back."""
        return [task for task in self.tasks(key) if task.money != "refunded"]

    def balance_cents(self, key: str) -> int:
        """What is free after reservations."""
        return self.account(key).balance_cents

    def spent_cents(self, key: str) -> int:
        """What completed tasks have cost."""
        return self.account(key).spent_cents

    def account(self, key: str) -> Account:
        """The account of `key`, opened now if keys open themselves.

        Raises:
            Refusal: 401, when the key opens nothing.
        """
        self.close_ended()
        return self._accounts.get(key) or self._opened(key, self._opening_cents(key))

    def open_account(self, key: str) -> Account:
        """An account for a key that a login has issued, whichever keys are accepted otherwise."""
        return self._opened(key, self._script.opening_cents)

    def accounts(self) -> list[Account]:
        """Every account seen so far."""
        self.close_ended()
        return list(self._accounts.values())

    def authenticated(self, key: str) -> Account:
        """The account whose key a new request carries.

        Raises:
            Refusal: 401 for a bad key, 429 for too many requests.
        """
        account = self.account(key)
        self._rate_limits.take(key)
        return account

    def find(self, task_id: str) -> Task | None:
        """A task by its id, whoever owns it."""
        return self._tasks.get(task_id)

    def earlier(self, key: str, idempotency_key: str) -> tuple[str, Task] | None:
        """The input and the task this Idempotency-Key was first used for."""
        return self._by_idempotency_key.get((key, idempotency_key))

    def open_task(self, task: Task, fingerprint: str) -> None:
        """Reserve the money and enter the task, in one step.

        Raises:
            Refusal: 402, when too little is free.
        """
        self.account(task.key).reserve(task.cost_cents)
        self._tasks[task.id] = task
        self._open[task.id] = task
        if task.idempotency_key is not None:
            self._by_idempotency_key[task.key, task.idempotency_key] = (fingerprint, task)

    def close_ended(self) -> list[Task]:
        """Settle or refund every task that has ended since the last time, and return them."""
        ended = [task for task in self._open.values() if task.is_over]
        for task in ended:
            del self._open[task.id]
            self._accounts[task.key].close(task)
        return ended

    def _opened(self, key: str, cents: int) -> Account:
        self._accounts[key] = Account(len(self._accounts) + 1, key, cents)
        return self._accounts[key]

    def _opening_cents(self, key: str) -> int:
        keys = self._script.keys
        if keys is not None and key in keys:
            return keys[key]
        opens_itself = keys is None and key.strip() and not any(word in key.lower() for word in ("wrong", "invalid"))
        if not opens_itself:
            raise unauthorized()
        return self._script.opening_cents


class RateLimits:
    """A bucket of tokens per key, refilled by the clock."""

    def __init__(self, per_second: float | None, clock: Clock) -> None:
        self._per_second = per_second
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: str) -> None:
        """Take a token.

        Raises:
            Refusal: 429, when the bucket is empty.
        """
        if self._per_second is None:
            return
        now, size = self._clock(), max(1.0, self._per_second)
        tokens, filled_at = self._buckets.get(key, (size, now))
        tokens = min(size, tokens + (now - filled_at) * self._per_second)
        if tokens < 1:
            self._buckets[key] = (tokens, now)
            raise too_many_requests((1 - tokens) / self._per_second)
        self._buckets[key] = (tokens - 1, now)
