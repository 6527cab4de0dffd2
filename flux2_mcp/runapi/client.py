"""RunAPI's HTTP API: one method per endpoint; HTTP errors become ours here."""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from types import MappingProxyType
from typing import TypeVar, cast, get_args
from urllib.parse import urlencode, urljoin, urlsplit

import anyio
import anyio.to_thread
import httpx
from pydantic import ValidationError

from flux2_mcp.errors import (
    KeyRejected,
    KeyReused,
    NotFound,
    OutOfCredits,
    RequestRejected,
    RunApiError,
    TooManyFiles,
    Unreachable,
    UnreadableAnswer,
    has_too_many_files,
)
from flux2_mcp.remembered import Remembered
from flux2_mcp.runapi.bounded import ENCODINGS, BoundedTransport
from flux2_mcp.runapi.connection_pool import transport_to
from flux2_mcp.runapi.create_limit import CreateLimitTransport
from flux2_mcp.runapi.http_errors import error_from
from flux2_mcp.runapi.models import (
    LONGEST_WORD,
    Action,
    Balance,
    PriceQuote,
    PriceSchedules,
    Task,
    TemporaryFile,
    Wire,
    is_task_id,
    task_from,
)
from flux2_mcp.runapi.observed import ObservedTransport
from flux2_mcp.runapi.origins import origin_of, safe_origin
from flux2_mcp.runapi.rate_limit import RateLimitedTransport, RateLimiter
from flux2_mcp.runapi.retries import RetryingTransport, backoff, no_retries
from flux2_mcp.runapi.retry_after import retry_after
from flux2_mcp.runapi.routes import DialectSetting, Routes
from flux2_mcp.runapi.uploads import put_to_storage, ticket_request
from flux2_mcp.text import one_line

Shape = TypeVar("Shape", bound=Wire)

TIMEOUT = httpx.Timeout(30.0, connect=5.0).as_dict()
"""Seconds for one try."""
PATH = re.compile(r"/[!-~]{1,2000}")
SERVICE = "flux_2"
NO_REMEDIES: Mapping[type[RunApiError], str] = MappingProxyType({})
MOST_RATE_LIMITERS = 10_000
"""Keys whose limits are remembered; of more, those are forgotten that were not used for longest."""
ROUTED = (RequestRejected, OutOfCredits, KeyReused)
"""Errors that come from the route itself; others may come from a gateway that has not looked at the path."""


class Connection:
    """What all keys share: the connections, and what was learnt about the routes.

    Raises:
        InsecureBaseUrl: The address would carry the key without TLS, or is none.
    """

    def __init__(
        self,
        base_url: str,
        *,
        dialect: DialectSetting = "auto",
        user_agent: str = "flux2-mcp",
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.origin = safe_origin(base_url)
        self.routes = Routes(dialect)
        self.storage = transport
        self._sleep = sleep
        self._rate_limiters: OrderedDict[bytes, RateLimiter] = OrderedDict()
        self.asked_keys: Remembered[bytes] = Remembered(MOST_RATE_LIMITERS)
        """Hashes of the keys that were asked for, and not refused."""
        self.waits = 0
        """How many tasks are waited for."""
        # Each wraps the next. The first repeats what may be repeated; the second lets every try wait for its turn;
        # the third measures it; the fourth leaves connections to looks; the fifth reads answers whole, so that one that
        # breaks off is repeated too.
        whole = CreateLimitTransport(BoundedTransport(transport or transport_to(base_url)))
        self._transport = RetryingTransport(RateLimitedTransport(ObservedTransport(whole)), sleep=sleep)
        self.url = httpx.URL(base_url.rstrip("/"))
        self.path = self.url.raw_path.decode("ascii").rstrip("/")
        """What every path at this RunAPI begins with; mostly empty."""
        self._headers = [
            ("Accept", "application/json"),
            ("Accept-Encoding", ENCODINGS),
            ("User-Agent", user_agent),
        ]

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] = {},
        json: Mapping[str, object] | None = None,
        extensions: Mapping[str, object] = {},
    ) -> httpx.Request:
        """A request to this RunAPI. A path with an id in it needs `extensions["route"]`, its template."""
        return httpx.Request(
            method,
            self.url.copy_with(raw_path=f"{self.path}{path}".encode("ascii")),
            headers=[*self._headers, *headers.items()],
            json=json,
            extensions={"timeout": TIMEOUT, "route": path.partition("?")[0], **extensions},
        )

    async def send(self, request: httpx.Request) -> httpx.Response:
        """The answer, read to its end.

        What httpx's client would do beside that takes time, and is not wanted: follow redirects, log in, and keep
        cookies, so that one key's session would be another's.

        Raises:
            httpx.RequestError: There was none.
        """
        return await self._transport.handle_async_request(request)

    @contextmanager
    def waiting(self) -> Generator[None]:
        """While a task is waited for."""
        self.waits += 1
        try:
            yield
        finally:
            self.waits -= 1

    def rate_limiter(self, key: str) -> RateLimiter:
        """What all requests with this key pass: RunAPI's limits are per key."""
        # By a hash: what may lie in memory for days is no place for keys.
        digest = _digest(key)
        if digest not in self._rate_limiters:
            self._rate_limiters[digest] = RateLimiter(sleep=self._sleep)
            if len(self._rate_limiters) > MOST_RATE_LIMITERS:
                self._rate_limiters.popitem(last=False)
        self._rate_limiters.move_to_end(digest)
        return self._rate_limiters[digest]

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


class RunAPI:
    """RunAPI with one key. The key goes to the configured origin only."""

    def __init__(
        self,
        connection: Connection,
        key: str,
        *,
        rate_limiter: RateLimiter | None = None,
        remedies: Mapping[type[RunApiError], str] = NO_REMEDIES,
    ) -> None:
        """Where `remedies` has a next step for an error, it stands in the place of the usual one."""
        self.connection = connection
        self._key = key
        self._remedies = remedies
        self._rate_limiter = rate_limiter or connection.rate_limiter(key)

    @property
    def has_key(self) -> bool:
        """Whether this can ask for more than what is public."""
        return bool(self._key)

    @property
    def is_throttled(self) -> bool:
        """Whether RunAPI has asked this key to slow down."""
        return self._rate_limiter.is_throttled

    async def create(self, action: Action, body: Mapping[str, object], *, idempotency_key: str) -> Task:
        """Make a task, or find the one that this Idempotency-Key has made already.

        Raises:
            RunApiError: With `in_doubt` set when the task may exist all the same.
        """
        dialects = self.connection.routes.dialects()
        for dialect in dialects:
            request = self._request(
                "POST", dialect.create_path(action), json=body, headers={"Idempotency-Key": idempotency_key}
            )
            # The same key brings the same task: an answer that names none is asked for again, like a lost one.
            request.extensions["is_lost"] = self._names_no_task
            try:
                response = await self._send(request)
            except NotFound as error:
                if dialect is dialects[-1] or error.in_doubt:
                    raise
                continue
            except ROUTED:
                self.connection.routes.remember(dialect)
                raise
            self.connection.routes.remember(dialect)
            made = {"action": action, "dialect": dialect.name, "path": self._own_path(response)}
            return self._made(response).model_copy(update=made)
        raise AssertionError(dialects)  # there is always at least one dialect

    async def look(self, task: Task, *, waits: Callable[[], Iterator[float]] = no_retries) -> Task:
        """Look at a task, wherever RunAPI shows it. One try, unless `waits` allows more.

        Raises:
            NotFound: No path shows it to this key, or its id cannot be one.
            RunApiError: RunAPI could not be asked.
        """
        if not is_task_id(task.id):
            msg = "A task id has 1 to 128 letters, digits, '-' or '_'."
            raise NotFound(msg, charge="", remedy="")
        routes = self.connection.routes
        not_found = NotFound("RunAPI shows no such task.", charge="", remedy="")
        for path in routes.look_paths(task):
            try:
                route = routes.template_of(task, path)
                response = await self._send(self._request("GET", path, waits=waits, route=route))
            except NotFound as error:
                not_found = error
                continue
            except RequestRejected:
                # `invalid_resource_id`: ids have another form where this path leads.
                continue
            routes.remember_look(task, path)
            seen = self._task(response, fallback_id=task.id)
            known = {"id": task.id, "action": task.action or _action_in(path), "dialect": task.dialect, "path": path}
            return seen.model_copy(update=known)
        raise not_found

    async def find(self, task_id: str) -> Task:
        """Look at a task of which only the id is known.

        Raises:
            NotFound: No path shows it to this key, or it cannot be an id.
        """
        return await self.look(Task(id=task_id, status="processing"), waits=backoff)

    @property
    def was_asked(self) -> bool:
        """Whether `ask_for_key` need not be asked any more."""
        return _digest(self._key) in self.connection.asked_keys

    async def ask_for_key(self) -> None:
        """Ask whether RunAPI knows this key.

        Raises:
            KeyRejected: It does not. Where RunAPI says nothing to this, its key may be right.
        """
        try:
            await self.balance()
        except KeyRejected:
            raise
        except RunApiError:
            pass
        self.connection.asked_keys.add(_digest(self._key))

    async def balance(self) -> Balance:
        """The account's money."""
        return self._read(Balance, await self._send(self._request("GET", "/api/v1/me/balance")))

    async def price_schedules(
        self, *, etag: str | None = None, waits: Callable[[], Iterator[float]] = backoff
    ) -> PriceSchedules | None:
        """The current prices of all Flux 2 models; None when they are still those of `etag`."""
        headers = {"If-None-Match": etag} if etag else {}
        params = {"service": SERVICE}
        request = self._request("GET", "/api/v1/price_schedules", params=params, headers=headers, waits=waits)
        response = await self._send(request)
        if response.status_code == HTTPStatus.NOT_MODIFIED:
            return None
        schedules = self._read(PriceSchedules, response)
        return schedules.model_copy(update={"etag": response.headers.get("etag")})

    async def price_quote(self, action: Action, body: Mapping[str, object]) -> PriceQuote:
        """What exactly this create request would cost; makes no task."""
        params = {name: value for name, value in body.items() if name != "model"}
        asked = {"service": SERVICE, "action": action, "model": body.get("model"), "params": params}
        response = await self._send(self._request("POST", "/api/v1/price_quotes", json=asked))
        return self._read(PriceQuote, response, inside="price_quote")

    async def upload(self, data: bytes, *, filename: str) -> TemporaryFile:
        """Lend RunAPI an image for about an hour: prepare, PUT to storage, confirm."""
        asked = await anyio.to_thread.run_sync(ticket_request, data, filename)
        prepared = await self._send(self._request("POST", "/api/v1/files/prepare", json=asked))
        signed_id = await put_to_storage(
            data, self._json(prepared), origin=self.connection.origin, transport=self.connection.storage
        )
        confirmed = await self._send(self._request("POST", "/api/v1/files/confirm", json={"signed_id": signed_id}))
        return self._read(TemporaryFile, confirmed)

    def _request(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, object] | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] = {},
        waits: Callable[[], Iterator[float]] = backoff,
        route: str | None = None,
    ) -> httpx.Request:
        allowed = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return self.connection.request(
            method,
            f"{path}?{urlencode(params)}" if params else path,
            json=json,
            headers={**allowed, **headers},
            extensions={"waits": waits, "rate_limiter": self._rate_limiter, "route": route or path},
        )

    async def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self.connection.send(request)
        except httpx.RequestError as error:
            remedy = TooManyFiles.remedy if has_too_many_files(error) else None
            raise Unreachable(_no_answer(error), remedy=remedy, in_doubt=_in_doubt(request)) from error
        if response.is_success or response.status_code == HTTPStatus.NOT_MODIFIED:
            return response
        failure = error_from(response, mask=self._mask)
        failure.in_doubt = _in_doubt(request)
        if remedy := self._remedies.get(type(failure)):
            failure.remedy = failure.typed_remedy = remedy
        raise failure

    def _json(self, response: httpx.Response) -> object:
        try:
            return self._masked(json.loads(response.content))
        except (ValueError, RecursionError):
            msg = f"RunAPI answered with something that is not JSON (HTTP {response.status_code})."
            raise self._unreadable(msg, response) from None

    def _read(self, shape: type[Shape], response: httpx.Response, *, inside: str | None = None) -> Shape:
        body = self._json(response)
        if inside and isinstance(body, Mapping):
            body = cast("Mapping[str, object]", body).get(inside)
        try:
            return shape.model_validate(body)
        except ValidationError as error:
            fields = ", ".join(sorted({".".join(map(str, each["loc"])) or "the body" for each in error.errors()}))
            msg = f"RunAPI's answer is not a {shape.__name__}: {fields} is missing or unusable."
            raise self._unreadable(msg, response) from None

    def _made(self, response: httpx.Response) -> Task:
        """The task that a create request made: without its id, what was paid for could never be found again."""
        try:
            return self._task(response, fallback_id=self._named_id(response))
        except UnreadableAnswer:
            found = self._named_id(response) or self._id_in_location(response)
            if found is None:
                raise
            try:
                return self._task(response, fallback_id=found)
            except UnreadableAnswer:
                return Task(id=found, status="processing", retry_after=retry_after(response.headers))

    def _names_no_task(self, response: httpx.Response) -> bool:
        try:
            self._made(response)
        except UnreadableAnswer:
            return True
        return False

    def _named_id(self, response: httpx.Response) -> str | None:
        named = self._mask(response.headers.get("x-runapi-task-id", ""))
        return named if is_task_id(named) else None

    def _id_in_location(self, response: httpx.Response) -> str | None:
        """The last part of the path in `Location`, unless it is one that belongs to every task."""
        path, _, _ = (self._own_path(response) or "").partition("?")
        *_, last = path.split("/")
        return last if is_task_id(last) and last not in {"tasks", *get_args(Action)} else None

    def _task(self, response: httpx.Response, *, fallback_id: str | None) -> Task:
        task = task_from(self._json(response), fallback_id=fallback_id)
        if task is None:
            msg = f"RunAPI's answer names no task (HTTP {response.status_code})."
            raise self._unreadable(msg, response)
        said = {
            # Masked first: a cut through the middle of a key would hide it from the mask.
            "word": one_line(self._mask(task.word), most=LONGEST_WORD),
            "error": one_line(self._mask(task.error)),
            "images": tuple(map(self._harmless, task.images)),
            "retry_after": retry_after(response.headers),
        }
        return task.model_copy(update=said)

    def _unreadable(self, message: str, response: httpx.Response) -> UnreadableAnswer:
        # A success that cannot be read is still a success: the task exists.
        return UnreadableAnswer(message, status=response.status_code, in_doubt=response.request.method == "POST")

    def _own_path(self, response: httpx.Response) -> str | None:
        """The path in `Location`, when it stays on RunAPI: the key must not follow it anywhere else."""
        location = response.headers.get("location")
        if not location or self._mask(location) != location:
            return None
        try:
            target = urlsplit(urljoin(str(response.request.url), location))
        except ValueError:
            return None
        if origin_of(target.geturl()) != self.connection.origin:
            return None
        # The slash stays, come what may: without it the rest of a hostile path could be an address.
        path = "/" + target.path.removeprefix(f"{self.connection.path}/").lstrip("/")
        path += f"?{target.query}" if target.query else ""
        return path if PATH.fullmatch(path) else None

    def _mask(self, text: str) -> str:
        return re.sub(r"(Bearer\s+|\brunapi_|\bsk-)[A-Za-z0-9._~+/-]{6,}=*", r"\1[hidden]", self._harmless(text))

    def _harmless(self, text: str) -> str:
        """The same text without the key, and without halves of surrogate pairs: no wire to a host can carry them."""
        text = text.encode("utf-8", errors="replace").decode()
        return text.replace(self._key, "[key]") if self._key else text

    def _masked(self, value: object) -> object:
        """The same JSON in harmless texts, wherever RunAPI may have echoed the key."""
        if isinstance(value, str):
            return self._harmless(value)
        if isinstance(value, list):
            return [self._masked(each) for each in cast("list[object]", value)]
        if isinstance(value, dict):
            return {name: self._masked(each) for name, each in cast("dict[str, object]", value).items()}
        return value


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _action_in(path: str) -> Action | None:
    actions: tuple[Action, ...] = ("text_to_image", "remix_image")
    return next((action for action in actions if f"/{action}/" in path), None)


def _in_doubt(request: httpx.Request) -> bool:
    return request.method == "POST" and bool(request.extensions.get("in_doubt"))


def _no_answer(error: httpx.RequestError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "RunAPI did not answer in time."
    if has_too_many_files(error):
        return f"RunAPI could not be reached. {TooManyFiles.what}"
    if isinstance(error, httpx.ConnectError):
        return "RunAPI could not be reached: no connection."
    if isinstance(error, httpx.DecodingError):
        return "RunAPI's answer cannot be decoded, or is far too long."
    return f"The connection to RunAPI broke ({type(error).__name__})."
