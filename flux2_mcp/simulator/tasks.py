"""A task, and how the clock or the number of looks takes it from pending to its end."""

from __future__ import annotations

import hashlib
import random
import re
import uuid
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from .clock import Clock
from .models import Action
from .parsing import JsonObject, text
from .script import Dialect, Script

Status = Literal["pending", "processing", "completed", "failed"]
Money = Literal["reserved", "settled", "refunded"]

POLICY_VIOLATION = "Content policy violation"
BAD_LUCK = "Image generation failed"


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What was decided about a task when it was created."""

    ending: Literal["completed", "failed", "never"] = "completed"
    error: str | None = None
    images: int = 1
    queue_seconds: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Source:
    """A source image. Without data it is on another host, and is never fetched."""

    url: str
    data: bytes | None = None


@dataclass(kw_only=True)
class Task:
    """One picture somebody asked for."""

    id: str
    action: Action
    dialect: Dialect
    key: str
    params: JsonObject
    cost_cents: int
    fate: Fate = field(default_factory=Fate)
    script: Script
    clock: Clock
    created_at: float
    sources: tuple[Source, ...] = ()
    idempotency_key: str | None = None
    client_request_id: str | None = None
    origin: str = ""
    looks: int = 0
    money: Money = "reserved"

    @property
    def model(self) -> str:
        """The model slug."""
        return text(self.params.get("model"))

    @property
    def prompt(self) -> str:
        """What was asked for."""
        return text(self.params.get("prompt"))

    @property
    def callback_url(self) -> str:
        """Where to report the end, or an empty string."""
        return text(self.params.get("callback_url")).strip()

    @property
    def status(self) -> Status:
        """The status at this moment."""
        moment = self._moment_by_clock() if self.script.looks_until_done is None else self._moment_by_looks()
        if moment != "end":
            return moment
        return "processing" if self.fate.ending == "never" else self.fate.ending

    @property
    def is_over(self) -> bool:
        """Whether it completed or failed."""
        return self.status in {"completed", "failed"}

    @cached_property
    def picture_name(self) -> str:
        """The hard-to-guess last part of the picture's address."""
        return hashlib.sha256(f"picture of {self.id}".encode()).hexdigest()[:32]

    def _moment_by_clock(self) -> Literal["pending", "processing", "end"]:
        age = self.clock() - self.created_at
        if age >= self.fate.queue_seconds + self.fate.seconds:
            return "end"
        return "pending" if age < self.fate.queue_seconds else "processing"

    def _moment_by_looks(self) -> Literal["pending", "processing", "end"]:
        if self.looks >= (self.script.looks_until_done or 0):
            return "end"
        return "pending" if self.looks < self.script.looks_until_painting else "processing"


class Fates:
    """Decides how tasks will end: by the prompt, by chance, or by what the sources turned out to be."""

    def __init__(self, script: Script) -> None:
        self._script = script
        # Chance for demos, not for secrets; seeded so that a run can be repeated.
        self._chance = random.Random(script.seed)  # noqa: S311

    def of(self, prompt: str, *, unreadable: str | None = None) -> Fate:
        """The fate of a new task; `unreadable` names a source that could not be read."""
        spread = self._script.paint_spread
        seconds = max(0.0, self._script.paint_seconds * (1 + self._chance.uniform(-spread, spread)))
        unlucky = self._chance.random() < self._script.failure_rate
        requested = _requested_ending(prompt)
        error = _error(requested, unreadable, unlucky=unlucky)
        return Fate(
            ending="failed" if error else "never" if requested == "never" else "completed",
            error=error,
            images=0 if requested == "empty" else 1,
            queue_seconds=self._script.queue_seconds,
            seconds=seconds,
        )


def new_id(dialect: Dialect) -> str:
    """A UUID for the SDKs, `tsk_…` as in the guide otherwise."""
    return str(uuid.uuid4()) if dialect == "sdk" else f"tsk_{uuid.uuid4().hex}"


def flat_body(task: Task, dialect: Dialect = "sdk") -> JsonObject:
    """A task as its own status route shows it."""
    status = task.status
    body: JsonObject = {"id": task.id, "status": status}
    if dialect == "v1":
        body = {"task_id": task.id, "status": status, "model": task.model}
    if status == "failed":
        body["error"] = task.fate.error
    if status == "completed":
        count = task.fate.images
        address = f"{task.origin}/generated/{task.picture_name}.png"
        body["images"] = [{"url": address}] * count
        body["usage"] = {"cost": task.cost_cents / 100, "generated_images": count}
    return body


def wrapped_body(task: Task) -> JsonObject:
    """A task as `/api/v1/tasks/{id}` shows it: its final answer is inside `response`."""
    status = task.status
    body: JsonObject = {"id": task.id, "status": status}
    if status == "completed":
        body["response"] = _stored_response(200, flat_body(task))
    if status == "failed":
        body["error"] = task.fate.error
        body["response"] = _stored_response(422, {"error": task.fate.error})
    return body


def _stored_response(status: int, body: JsonObject) -> JsonObject:
    return {"status": status, "content_type": "application/json", "headers": {}, "body": body}


def _requested_ending(prompt: str) -> str:
    found = re.search(r"\[simulate:\s*(failed|never|empty)\s*\]", prompt, re.IGNORECASE)
    return found[1].lower() if found else ""


def _error(requested: str, unreadable: str | None, *, unlucky: bool) -> str | None:
    if requested == "failed":
        return POLICY_VIOLATION
    if unreadable:
        return f"Source image could not be read: {unreadable}"
    return BAD_LUCK if unlucky and not requested else None
