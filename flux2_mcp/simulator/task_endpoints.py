"""The task endpoints: create a task, look at it, fetch its picture."""

from __future__ import annotations

import json
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .clock import Clock
from .faults import Endpoint
from .ledger import Ledger
from .models import Action
from .parsing import JsonObject, as_list, bearer, json_object, text
from .picture_cache import PictureCache
from .prices import Prices
from .refusals import coded, not_found, request_conflict
from .script import Dialect, Script
from .sources import Sources
from .tasks import Fates, Task, flat_body, new_id, wrapped_body
from .validation import check

LONGEST_IDEMPOTENCY_KEY = 512


class TaskEndpoints:
    """Creates tasks, and shows them and their pictures."""

    def __init__(
        self, script: Script, clock: Clock, *, ledger: Ledger, prices: Prices, sources: Sources, pictures: PictureCache
    ) -> None:
        self._script = script
        self._clock = clock
        self._ledger = ledger
        self._prices = prices
        self._sources = sources
        self._pictures = pictures
        self._fates = Fates(script)

    def create(self, action: Action, dialect: Dialect) -> Endpoint:
        """The create route of an action in a dialect."""

        async def endpoint(request: Request) -> Response:
            return await self._create(request, action, dialect)

        return endpoint

    def status(self, dialect: Dialect, action: Action | None = None) -> Endpoint:
        """A status route; with an action it shows only tasks of that action."""

        async def endpoint(request: Request) -> Response:
            task = self._looked_at(request, action)
            return self._shown(task, flat_body(task, dialect))

        return endpoint

    async def result(self, request: Request) -> Response:
        """`GET /api/v1/tasks/{id}`: the generic task result."""
        task = self._looked_at(request, None)
        return self._shown(task, wrapped_body(task))

    async def picture(self, request: Request) -> Response:
        """`GET /generated/{name}.png`: no key needed, as with any address that cannot be guessed."""
        task = self._sources.picture_task(request.path_params["name"])
        if task is None:
            raise not_found()
        return Response(await self._pictures.png(task), media_type="image/png")

    async def _create(self, request: Request, action: Action, dialect: Dialect) -> Response:
        key = self._ledger.authenticated(bearer(request)).key
        idempotency_key = _idempotency_key(request)
        params = await json_object(request)
        check(self._script.models, action, params)
        sources, unreadable = await self._sources.read(_source_urls(action, params))
        # From here to the answer nothing waits, so that two requests with one key cannot both create a task.
        fingerprint = json.dumps([action, params], sort_keys=True)
        known = self._ledger.earlier(key, idempotency_key) if idempotency_key is not None else None
        if known is not None:
            return self._replayed(known, fingerprint, dialect)
        task = self._new_task(request, key=key, action=action, dialect=dialect, params=params)
        fate = self._fates.of(task.prompt, unreadable=unreadable)
        task = replace(task, fate=fate, sources=sources, idempotency_key=idempotency_key)
        self._ledger.open_task(task, fingerprint)
        return self._accepted(task, dialect)

    def _new_task(self, request: Request, *, key: str, action: Action, dialect: Dialect, params: JsonObject) -> Task:
        return Task(
            id=new_id(dialect),
            action=action,
            dialect=dialect,
            key=key,
            params=params,
            cost_cents=self._prices.cost_cents(text(params.get("model")), params.get("output_resolution")),
            script=self._script,
            clock=self._clock,
            created_at=self._clock(),
            client_request_id=request.headers.get("x-client-request-id"),
            origin=self._sources.origin(request),
        )

    def _replayed(self, known: tuple[str, Task], fingerprint: str, dialect: Dialect) -> Response:
        first_input, task = known
        if first_input != fingerprint:
            raise request_conflict()
        return self._accepted(task, dialect, task_replayed=True)

    def _accepted(self, task: Task, dialect: Dialect, **extra: object) -> Response:
        by_location = self._script.accepted_with_location
        status = "processing" if by_location else _announced(task, replayed=bool(extra))
        body: JsonObject = {"id": task.id, "status": status, **extra}
        if dialect == "v1":
            body = {"task_id": task.id, "status": status, "model": task.model, **extra}
        headers = {"X-RunAPI-Task-Id": task.id}
        if by_location:
            headers |= {"Location": f"/api/v1/tasks/{task.id}", "Retry-After": "2"}
        return JSONResponse(body, 202 if by_location else 200, headers)

    def _looked_at(self, request: Request, action: Action | None) -> Task:
        account = self._ledger.authenticated(bearer(request))
        task = self._ledger.find(request.path_params["id"])
        if task is None or task.key != account.key or action not in {None, task.action}:
            raise not_found()
        task.looks += 1
        self._ledger.close_ended()
        return task

    def _shown(self, task: Task, body: JsonObject) -> Response:
        headers = {"X-RunAPI-Task-Id": task.id}
        wait = self._script.look_retry_after
        if wait is not None and not task.is_over:
            headers["Retry-After"] = f"{wait:g}"
        return JSONResponse(body, headers=headers)


def _announced(task: Task, *, replayed: bool) -> str:
    """A create answer never says that a task is over: fixtures show pending and processing alone."""
    if not task.is_over:
        return task.status
    return "processing" if replayed else "pending"


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key.strip()) <= LONGEST_IDEMPOTENCY_KEY:
        message = f"Idempotency-Key must have 1 to {LONGEST_IDEMPOTENCY_KEY} characters"
        raise coded(400, "invalid_idempotency_key", message)
    return key and key.strip()


def _source_urls(action: Action, params: JsonObject) -> list[str]:
    urls = as_list(params.get("source_image_urls")) if action == "remix_image" else None
    return [text(url).strip() for url in urls or []]
