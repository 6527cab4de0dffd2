"""An ASGI app with RunAPI's routes and manners, in both dialects."""

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

from .clock import Calendar, Clock
from .control import ControlDesk
from .faults import AnswerLost, Endpoint, Fault, On, faulty
from .files import Storage
from .ledger import Ledger
from .login import LoginDesk
from .painter import Painter
from .painting import PaintingDesk
from .pricing import ACTIONS, PriceDesk, Prices
from .profile import ProfileDesk
from .refusals import Refusal
from .script import Script
from .sources import Sources
from .tasks import Task
from .uploading import FileDesk
from .webhooks import Courier


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

    An ASGI app: give it to `httpx.ASGITransport` or to uvicorn. Time goes by `clock`, which a test may move;
    webhooks are delivered while a server runs its lifespan, or by `deliver_webhooks`.
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
        self._courier = Courier(self.script, self.ledger, webhook_transport)
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
        await self._courier.deliver_due()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or run a server's lifespan."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with anyio.create_task_group() as group:
            group.start_soon(self._courier.run)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            group.cancel_scope.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _whole_body(receive)
        if body is None:
            return
        seen = self._remember(scope, body)
        signed = _signed(send, seen)
        scope["app"] = self
        try:
            await self._router(scope, _replayed(body, receive), signed)
        except HTTPException as error:
            await _plain_refusal(error)(scope, receive, signed)
        except AnswerLost:
            if not await _hung_up(receive, send):
                raise

    def _remember(self, scope: Scope, body: bytes) -> SeenRequest:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope.get("query_string", b"").decode("latin-1")
        seen = SeenRequest(scope["method"], scope["path"], query, headers, body)
        self.requests.append(seen)
        del self.requests[: -self.script.remembered_requests]
        return seen

    def _routes(self, clock: Clock) -> list[BaseRoute]:
        calendar = Calendar(clock)
        painter, prices, storage = Painter(self.script), Prices(self.script), Storage(self.script, calendar)
        sources = Sources(self.script, clock, ledger=self.ledger, storage=storage, painter=painter)
        painting = PaintingDesk(self.script, clock, ledger=self.ledger, prices=prices, sources=sources, painter=painter)
        files = FileDesk(ledger=self.ledger, storage=storage, sources=sources, painter=painter)
        return [
            *self._painting_routes(painting),
            *self._file_routes(files),
            *self._account_routes(PriceDesk(self.script, prices, calendar), ProfileDesk(self.script, self.ledger)),
            *self._login_routes(LoginDesk(self.script, clock, self.ledger)),
            *self._control_routes(ControlDesk(self.faults, self.ledger)),
        ]

    def _painting_routes(self, desk: PaintingDesk) -> list[BaseRoute]:
        routes: list[BaseRoute] = []
        has_sdk, has_v1 = "sdk" in self.script.dialects, "v1" in self.script.dialects
        status_paths = self.script.status_paths if has_v1 else ()
        for action in ACTIONS if has_sdk else ():
            routes.append(self._route("POST", f"/api/v1/flux_2/{action}", desk.creator(action, "sdk"), "create"))
            routes.append(self._route("GET", f"/api/v1/flux_2/{action}/{{id}}", desk.looker("sdk", action), "look"))
        for action in ACTIONS if has_v1 else ():
            routes.append(self._route("POST", f"/v1/{action}", desk.creator(action, "v1"), "create"))
            if "/v1/{action}/{id}" in status_paths:
                routes.append(self._route("GET", f"/v1/{action}/{{id}}", desk.looker("v1", action), "look"))
        if "/v1/tasks/{id}" in status_paths:
            routes.append(self._route("GET", "/v1/tasks/{id}", desk.looker("v1"), "look"))
        if has_sdk or "/api/v1/tasks/{id}" in status_paths:
            routes.append(self._route("GET", "/api/v1/tasks/{id}", desk.result, "look"))
        return [*routes, self._route("GET", "/generated/{name}.png", desk.picture, "picture")]

    def _file_routes(self, desk: FileDesk) -> list[BaseRoute]:
        return [
            self._route("POST", "/api/v1/files", desk.create, "file"),
            self._route("POST", "/api/v1/files/prepare", desk.prepare, "prepare"),
            self._route("POST", "/api/v1/files/confirm", desk.confirm, "confirm"),
            self._route("PUT", "/temp/user-uploads/{token}", desk.put, "put"),
            self._route("GET", "/temp/{token}/{name}", desk.fetch),
        ]

    def _account_routes(self, prices: PriceDesk, profile: ProfileDesk) -> list[BaseRoute]:
        return [
            self._route("GET", "/api/v1/price_schedules", prices.list_schedules, "prices"),
            self._route("POST", "/api/v1/price_quotes", prices.create_quote, "quote"),
            self._route("GET", "/api/v1/me", profile.me, "balance"),
            self._route("GET", "/api/v1/me/balance", profile.balance, "balance"),
            self._route("GET", "/v1/models", profile.list_models),
        ]

    def _login_routes(self, desk: LoginDesk) -> list[BaseRoute]:
        return [
            self._route("GET", "/cli/authorize", desk.ask),
            self._route("POST", "/cli/authorize", desk.decide),
            self._route("POST", "/api/v1/cli/exchange", desk.exchange, "exchange"),
        ]

    def _control_routes(self, desk: ControlDesk) -> list[BaseRoute]:
        return [
            self._route("GET", "/", desk.welcome),
            self._route("POST", "/simulator/faults", desk.add_faults),
            self._route("DELETE", "/simulator/faults", desk.clear_faults),
            self._route("GET", "/simulator/ledger", desk.ledger),
        ]

    def _route(self, method: str, path: str, endpoint: Endpoint, on: On | None = None) -> Route:
        guarded = _refusing(endpoint)
        return Route(path, faulty(guarded, self.faults, on) if on else guarded, methods=[method])


def _refusing(endpoint: Endpoint) -> Endpoint:
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refusal as refusal:
            return refusal.response()

    return answer


def _plain_refusal(error: HTTPException) -> Response:
    said = {404: "Not found", 405: "Method not allowed"}.get(error.status_code, error.detail)
    return JSONResponse({"error": said}, error.status_code, error.headers)


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


def _signed(send: Send, seen: SeenRequest) -> Send:
    """Give every answer its request ids, and write down its status."""

    async def signed(message: Message) -> None:
        if message["type"] == "http.response.start":
            seen.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = f"req_{secrets.token_hex(12)}"
            theirs = seen.headers.get("x-client-request-id", "")
            if re.fullmatch(r"[\x20-\x7e]{1,512}", theirs):
                headers["X-Client-Request-Id"] = theirs
        await send(message)

    return signed


async def _hung_up(receive: Receive, send: Send) -> bool:
    """Close the connection without an answer, where there is one: ASGI has no word for it, uvicorn has a way."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        return False
    transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass
    return True
