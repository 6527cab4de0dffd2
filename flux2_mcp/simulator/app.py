"""An ASGI app with RunAPI's routes and behaviour, in both dialects."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field

import anyio
import httpx
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import Message, Receive, Scope, Send

from .clock import Clock, Timestamps
from .control_endpoints import ControlEndpoints
from .faults import AnswerLost, Endpoint, Fault, On, with_faults
from .file_endpoints import FileEndpoints
from .files import Storage
from .ledger import Ledger
from .login_endpoints import LoginEndpoints
from .picture_cache import PictureCache
from .prices import ACTIONS, PriceEndpoints, Prices
from .profile_endpoints import ProfileEndpoints
from .refusals import Refusal
from .script import Script
from .sources import Sources
from .task_endpoints import TaskEndpoints
from .tasks import Task
from .webhooks import WebhookSender


@dataclass
class SeenRequest:
    """A request as it arrived, and the status it was answered with (None while there is no answer)."""

    method: str
    path: str
    query: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    status: int | None = None


class Simulator:
    """RunAPI, as far as Flux 2 needs it.

    An ASGI app: give it to `httpx.ASGITransport` or to uvicorn. `clock` gives the time, and a test may move it.
    Webhooks are delivered while a server runs its lifespan, or by `deliver_webhooks`.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        clock: Clock = time.monotonic,
        webhook_transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.script = script or Script()
        self.faults: list[Fault] = []
        self.requests: list[SeenRequest] = []
        self.ledger = Ledger(self.script, clock)
        self._webhooks = WebhookSender(self.script, self.ledger, webhook_transport)
        self._router = Router(self._routes(clock), redirect_slashes=False)

    def task(self, task_id: str) -> Task:
        """The record of a task.

        Raises:
            KeyError: there is no such task.
        """
        self.ledger.close_ended()
        task = self.ledger.find(task_id)
        if task is None:
            raise KeyError(task_id)
        return task

    async def deliver_webhooks(self) -> None:
        """Deliver the webhooks that are due, for a test without a server."""
        await self._webhooks.deliver_due()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or run a server's lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with anyio.create_task_group() as group:
            group.start_soon(self._webhooks.run)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            group.cancel_scope.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _whole_body(receive)
        if body is None:
            return
        seen = self._record(scope, body)
        answer = _with_request_ids(send, seen)
        scope["app"] = self
        try:
            await self._router(scope, _replayed(body, receive), answer)
        except HTTPException as error:
            await _plain_refusal(error)(scope, receive, answer)
        except AnswerLost:
            if not await _hang_up(receive, send):
                raise

    def _record(self, scope: Scope, body: bytes) -> SeenRequest:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope.get("query_string", b"").decode("latin-1")
        seen = SeenRequest(scope["method"], scope["path"], query, headers, body)
        self.requests.append(seen)
        del self.requests[: -self.script.remembered_requests]
        return seen

    def _routes(self, clock: Clock) -> list[BaseRoute]:
        timestamps = Timestamps(clock)
        pictures, prices, storage = PictureCache(self.script), Prices(self.script), Storage(self.script, timestamps)
        sources = Sources(self.script, clock, ledger=self.ledger, storage=storage, pictures=pictures)
        tasks = TaskEndpoints(self.script, clock, ledger=self.ledger, prices=prices, sources=sources, pictures=pictures)
        files = FileEndpoints(ledger=self.ledger, storage=storage, sources=sources, pictures=pictures)
        return [
            *self._task_routes(tasks),
            *self._file_routes(files),
            *self._price_routes(PriceEndpoints(self.script, prices, timestamps)),
            *self._profile_routes(ProfileEndpoints(self.script, self.ledger)),
            *self._login_routes(LoginEndpoints(self.script, clock, self.ledger)),
            *self._control_routes(ControlEndpoints(self.faults, self.ledger)),
        ]

    def _task_routes(self, tasks: TaskEndpoints) -> list[BaseRoute]:
        routes: list[BaseRoute] = []
        has_sdk, has_v1 = "sdk" in self.script.dialects, "v1" in self.script.dialects
        status_paths = self.script.status_paths if has_v1 else ()
        for action in ACTIONS if has_sdk else ():
            routes.append(self._route("POST", f"/api/v1/flux_2/{action}", tasks.create(action, "sdk"), "create"))
            routes.append(self._route("GET", f"/api/v1/flux_2/{action}/{{id}}", tasks.status("sdk", action), "look"))
        for action in ACTIONS if has_v1 else ():
            routes.append(self._route("POST", f"/v1/{action}", tasks.create(action, "v1"), "create"))
            if "/v1/{action}/{id}" in status_paths:
                routes.append(self._route("GET", f"/v1/{action}/{{id}}", tasks.status("v1", action), "look"))
        if "/v1/tasks/{id}" in status_paths:
            routes.append(self._route("GET", "/v1/tasks/{id}", tasks.status("v1"), "look"))
        if has_sdk or "/api/v1/tasks/{id}" in status_paths:
            routes.append(self._route("GET", "/api/v1/tasks/{id}", tasks.result, "look"))
        return [*routes, self._route("GET", "/generated/{name}.png", tasks.picture, "picture")]

    def _file_routes(self, files: FileEndpoints) -> list[BaseRoute]:
        return [
            self._route("POST", "/api/v1/files", files.create, "file"),
            self._route("POST", "/api/v1/files/prepare", files.prepare, "prepare"),
            self._route("POST", "/api/v1/files/confirm", files.confirm, "confirm"),
            self._route("PUT", "/temp/user-uploads/{token}", files.put, "put"),
            self._route("GET", "/temp/{token}/{name}", files.fetch),
        ]

    def _price_routes(self, prices: PriceEndpoints) -> list[BaseRoute]:
        return [
            self._route("GET", "/api/v1/price_schedules", prices.list_schedules, "prices"),
            self._route("POST", "/api/v1/price_quotes", prices.create_quote, "quote"),
        ]

    def _profile_routes(self, profile: ProfileEndpoints) -> list[BaseRoute]:
        return [
            self._route("GET", "/api/v1/me", profile.me, "balance"),
            self._route("GET", "/api/v1/me/balance", profile.balance, "balance"),
            self._route("GET", "/v1/models", profile.list_models),
        ]

    def _login_routes(self, login: LoginEndpoints) -> list[BaseRoute]:
        return [
            self._route("GET", "/cli/authorize", login.ask),
            self._route("POST", "/cli/authorize", login.decide),
            self._route("POST", "/api/v1/cli/exchange", login.exchange, "exchange"),
        ]

    def _control_routes(self, control: ControlEndpoints) -> list[BaseRoute]:
        return [
            self._route("GET", "/", control.welcome),
            self._route("POST", "/simulator/faults", control.add_faults),
            self._route("DELETE", "/simulator/faults", control.clear_faults),
            self._route("GET", "/simulator/ledger", control.ledger),
        ]

    def _route(self, method: str, path: str, endpoint: Endpoint, on: On | None = None) -> Route:
        guarded = _with_refusals(endpoint)
        return Route(path, with_faults(guarded, self.faults, on) if on else guarded, methods=[method])


def _with_refusals(endpoint: Endpoint) -> Endpoint:
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refusal as refusal:
            return refusal.response()

    return answer


def _plain_refusal(error: HTTPException) -> Response:
    message = {404: "Not found", 405: "Method not allowed"}.get(error.status_code, error.detail)
    return JSONResponse({"error": message}, error.status_code, error.headers)


async def _whole_body(receive: Receive) -> bytes | None:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


def _with_request_ids(send: Send, seen: SeenRequest) -> Send:
    """Add the request ids to every answer, and record its status."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            seen.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = f"req_{secrets.token_hex(12)}"
            theirs = seen.headers.get("x-client-request-id", "")
            if re.fullmatch(r"[\x20-\x7e]{1,512}", theirs):
                headers["X-Client-Request-Id"] = theirs
        await send(message)

    return sent


async def _hang_up(receive: Receive, send: Send) -> bool:
    """Close the connection without an answer, if there is one: ASGI cannot say that, uvicorn can."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        return False
    transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass
    return True
