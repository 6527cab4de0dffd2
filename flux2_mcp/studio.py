"""What a user can do: have pictures made, have pictures remixed, ask how a task is doing.

Each picture is an order in the history before anything is sent. What costs money (the create request) and what keeps
the result (fetching and saving) are errands: they end well even when the call that wanted them is cancelled or runs out
of time. Looking at a task belongs to the call and stops with it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import uuid4

import anyio

from flux2_mcp import images, tasks
from flux2_mcp.budget import Budget, Quote, midnight
from flux2_mcp.catalogue import Catalogue, Request
from flux2_mcp.errands import Errands
from flux2_mcp.errors import (
    Flux2Error,
    KeyReused,
    NoImages,
    NoSuchTask,
    NotFound,
    OutcomeUnknown,
    PictureNotSaved,
    PictureUnavailable,
    RequestRefused,
    RequestRejected,
    RunApiError,
    SourceRefused,
    TaskFailed,
    TaskOutOfSight,
    Unreachable,
)
from flux2_mcp.history import History, Intent, Order
from flux2_mcp.images import Picture
from flux2_mcp.runapi.models import Action, DialectName, Task
from flux2_mcp.sources import Local, OpenedSource, Sources, Uploads, checked_roots, lies_outside

if TYPE_CHECKING:
    from flux2_mcp.runapi.client import RunAPI

logger = logging.getLogger(__name__)

DEFAULT_WAIT = 45.0
"""Seconds; several hosts give up on a call after 60."""
LONGEST_WAIT = 600.0
MOST_PICTURES = 8
LEAST_PATIENCE = 3.0
"""Seconds that a create request, and the one look of `status`, get even when the caller wants to wait less."""
RESUME_WITHIN = timedelta(minutes=15)
PATIENCE_FOR_PRICES = 1.0
"""Seconds that a call waits for RunAPI's price list before it goes by the last one known."""
PATIENCE_FOR_BALANCE = 4.0
"""Seconds."""
TIME_TO_READ = 1.0
"""Seconds that a host gets to read a result."""
URLS_LAST = timedelta(days=7)
"""RunAPI keeps generated files for seven days."""


REPLAY_WITHIN = timedelta(hours=24)
"""How long a create request is sent again with its key; nobody says how long RunAPI remembers keys."""
IN_DOUBT = (OutcomeUnknown, TaskOutOfSight, NoImages)
"""After these there may still be a picture."""


@dataclass
class Shot:
    """One image of a finished task: where it is, and its bytes once they are here."""

    url: str
    picture: Picture | None = None
    path: Path | None = None
    trouble: Flux2Error | None = None
    """Why it could not be fetched or saved. It was paid for all the same."""


Compose = Callable[[Sequence[str]], Awaitable[Mapping[str, object]]]
"""From the addresses of uploads that were made for an order before to the JSON to order it with."""


@dataclass
class Piece:
    """One picture that somebody asked for, and how far it has come."""

    order: Order
    compose: Compose | None = None
    """How to come by the JSON to order it with; the history may not keep it, and sources are uploaded for it."""
    stage: str = ""
    """What is being done for it before RunAPI has it, in words."""
    expected_seconds: float | None = None
    """How long such pictures usually take, where the history knows."""
    resumed: bool = False
    """Whether it was ordered before this call."""
    task: Task | None = None
    shots: list[Shot] = field(default_factory=list[Shot])
    trouble: RunApiError | None = None
    """Why the last look saw nothing; the task goes on."""
    error: Flux2Error | None = None
    is_withdrawn: bool = False
    """Whether its call was cancelled: then it is not ordered any more."""

    @property
    def id(self) -> str:
        """RunAPI's id when there is one, else ours; `status` understands both."""
        return self.order.task_id or self.order.id

    @property
    def is_repeat(self) -> bool:
        """Whether a call asked for it again, and was given what an earlier one had ordered."""
        return self.resumed and self.compose is not None

    @property
    def is_made(self) -> bool:
        """Whether RunAPI has finished the picture."""
        return bool(self.shots)

    @property
    def has_pictures(self) -> bool:
        """Whether everything that RunAPI made for it is here."""
        return self.is_made and all(shot.picture for shot in self.shots)

    @property
    def is_lost(self) -> bool:
        """Whether there will be no picture."""
        return self.error is not None and not isinstance(self.error, IN_DOUBT)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen at RunAPI."""
        return self.is_made or self.is_lost


@dataclass(frozen=True)
class Patience:
    """Until when a call waits, by the event loop's clock."""

    deadline: float
    at_least: float
    """For what is done once in any case: the create request, and a look at something older."""

    @classmethod
    def of(cls, seconds: float) -> Patience:
        """Patience of so many seconds from now."""
        now = anyio.current_time()
        return cls(now + seconds, now + max(seconds, LEAST_PATIENCE))

    @contextmanager
    def for_once(self) -> Generator[None]:
        """Give what has to be asked before anything is ordered its time, and no more.

        Raises:
            Unreachable: It took longer.
        """
        try:
            with anyio.fail_after(max(0.0, self.at_least - anyio.current_time())):
                yield
        except TimeoutError as error:
            msg = "The answer did not come in time."
            raise Unreachable(msg, charge="Nothing was ordered.") from error

    def with_(self, piece: Piece) -> float:
        """Until when to wait for this piece."""
        return self.at_least if piece.resumed else self.deadline


Report = Callable[[Sequence[Piece]], None]


def _unheard(_: Sequence[Piece]) -> None:
    """For callers that do not want to know how it is going."""


@dataclass(frozen=True)
class Account:
    """Money in US cents; None where there is no limit, or nobody says."""

    balance: int | None
    spent_today: int
    left_today: int | None
    per_call: int | None


class Deliveries:
    """Which results were handed to a host. After that, the same words mean a new picture.

    The history hears of it a moment later: a process that is killed before the host has read the result must not have
    said that it was delivered. Within this process it counts at once.
    """

    def __init__(self, history: History, errands: Errands, *, sleep: tasks.Sleep = anyio.sleep) -> None:
        self._history = history
        self._errands = errands
        self._sleep = sleep
        self._handed_over: set[tuple[str, str]] = set()

    def note(self, owner: str, pieces: Sequence[Piece]) -> None:
        """The results of one call go to the host now; as long as a picture of it is to come, they are none yet."""
        if all(piece.has_pictures or piece.is_lost for piece in pieces):
            self._handed_over |= {(owner, piece.order.id) for piece in pieces if piece.has_pictures}
        self._errands.start("deliveries", self._write_down_soon, matters=False)

    async def write_down(self) -> None:
        """Tell the history now."""
        handed_over, self._handed_over = self._handed_over, set()
        for owner in {owner for owner, _ in handed_over}:
            await self._history.delivered(*(id for each, id in handed_over if each == owner), owner=owner)

    async def _write_down_soon(self) -> None:
        while self._handed_over:
            await self._sleep(TIME_TO_READ)
            await self.write_down()


@dataclass(frozen=True, kw_only=True)
class Studio:
    """RunAPI, a history and a folder, in the hands of one owner."""

    owner: str
    runapi: RunAPI
    catalogue: Catalogue
    budget: Budget
    history: History
    fetcher: images.Fetcher
    errands: Errands
    deliveries: Deliveries
    places: images.Places
    uploads: Uploads
    pauses: tasks.Pauses = tasks.pauses
    sleep: tasks.Sleep = anyio.sleep

    async def make(
        self,
        request: Request,
        *,
        count: int = 1,
        wait: float = DEFAULT_WAIT,
        repeat: bool = False,
        max_cost_usd: float | None = None,
        save_to: str | None = None,
        client_roots: Sequence[str] = (),
        report: Report = _unheard,
    ) -> list[Piece]:
        """Have `count` pictures made, side by side, and wait for them for at most `wait` seconds.

        Each picture has its own outcome in its own piece; a failure of one is not raised. `client_roots` are file: URIs
        of more folders that sources may come from.

        Raises:
            RequestRefused: RunAPI would refuse it, a source cannot be used, or a limit is in the way.
        """
        patience = Patience.of(wait)  # from here on: the host's clock runs while prices and sources are read
        request = self.catalogue.check(request)
        await anyio.to_thread.run_sync(self.places.destination, save_to)
        sources = await self._sources(client_roots)
        with patience.for_once():
            opened = await sources.opened(request.source_image_urls)
        quote = await self.quote(request, count)
        self.budget.check(quote, most_usd=max_cost_usd)
        await self.deliveries.write_down()
        orders = await self.history.open_orders(
            self._intents(request, opened, quote, save_to),
            owner=self.owner,
            resume_within=None if repeat else RESUME_WITHIN,
            daily_cap_cents=self.budget.limits.per_day,
            day_start=midnight(),
        )
        pieces: list[Piece] = []

        def uploading(words: str) -> None:
            for piece in pieces:
                piece.stage = words
            report(pieces)

        async def compose(uploaded: Sequence[str]) -> Mapping[str, object]:
            urls = uploaded or await sources.lent(opened, report=uploading)
            return replace(request, source_image_urls=tuple(urls)).body

        for order, resumed in orders:
            kept = order
            if save_to and save_to != order.save_to:
                kept = await self.history.redirected(order, save_to=save_to)
            pieces.append(Piece(kept, compose, resumed=resumed))
        await self._bring_all(pieces, patience, report)
        return pieces

    async def status(self, task_id: str, *, wait: float = DEFAULT_WAIT, report: Report = _unheard) -> list[Piece]:
        """Look at a task at least once, and wait for it for at most `wait` seconds.

        Raises:
            NoSuchTask: Neither the history nor RunAPI knows it.
            RunApiError: RunAPI could not be asked.
        """
        patience = Patience.of(wait)
        order = await self.history.find(self.owner, task_id)
        with patience.for_once():
            piece = Piece(order, resumed=True) if order else await self._adopted(task_id)
        await self._bring_all([piece], patience, report)
        return [piece]

    def reads_elsewhere(self, given: Sequence[str]) -> bool:
        """Whether a local source lies, as it is written, outside the folders that may be read."""
        return any(lies_outside(text, home=self.places.home, roots=self.places.roots) for text in given)

    async def _sources(self, client_roots: Sequence[str]) -> Sources:
        more = await anyio.to_thread.run_sync(checked_roots, self.places.home, None, None, client_roots)
        return Sources(
            owner=self.owner,
            runapi=self.runapi,
            uploads=self.uploads,
            ours=self.picture,
            home=self.places.home,
            roots=tuple(dict.fromkeys((*self.places.roots, *more))),
        )

    @staticmethod
    def _intents(request: Request, opened: Sequence[OpenedSource], quote: Quote, save_to: str | None) -> list[Intent]:
        known = replace(request, source_image_urls=tuple(source.identity for source in opened))
        wish = _fingerprint(known, quote.count)
        # Local sources have no address before they are uploaded, and nothing is uploaded for an order that resumes.
        body = None if any(isinstance(source, Local) for source in opened) else request.body
        return [
            Intent(
                wish=wish,
                nth=nth,
                idempotency_key=str(uuid4()),
                action=request.action,
                model=request.model,
                request=body,
                resolution=request.output_resolution,
                prompt=request.prompt,
                estimated_cents=quote.each,
                save_to=save_to,
            )
            for nth in range(quote.count)
        ]

    async def quote(self, request: Request, count: int) -> Quote:
        """What this checked request would cost, by current prices if RunAPI tells them within a second."""
        with anyio.move_on_after(PATIENCE_FOR_PRICES):
            await self.errands.run("prices", self.budget.prices.current, matters=False)
        return await self.budget.quote(request, count)

    async def estimate(self, request: Request, *, count: int = 1) -> Quote:
        """What this would cost. Creates nothing.

        Raises:
            RequestRefused: RunAPI would refuse it.
        """
        request = self.catalogue.check(request)
        await self.budget.prices.current()
        return await self.budget.quote(request, count)

    async def account(self) -> Account:
        """The money: RunAPI's balance, where it can be had, and what the owner's limits leave."""
        balance = None
        if self.runapi.has_key:
            with suppress(RunApiError), anyio.move_on_after(PATIENCE_FOR_BALANCE):
                balance = (await self.runapi.balance()).balance_cents
        spent, limits = await self.budget.spent_today(), self.budget.limits
        return Account(
            balance=balance,
            spent_today=spent,
            left_today=None if limits.per_day is None else max(0, limits.per_day - spent),
            per_call=limits.per_call,
        )

    async def recover(self, *, before: datetime | None = None) -> list[Piece]:
        """Look once at everything that was accepted and not finished, and keep what is done meanwhile.

        What was finished, but neither saved nor handed over, is fetched as well.
        Orders made since `before` are left to the calls that made them. Orders whose answer was lost are left alone:
        asking again could order them now, when nobody waits for them.
        """
        left_open = [order for order in await self.history.unfinished(self.owner) if order.state == "accepted"]
        if self.places.saves:
            left_open += await self.history.unseen(self.owner)
        pieces = [Piece(order, resumed=True) for order in left_open if before is None or order.created_at < before]
        await self._bring_all(pieces, Patience.of(0), _unheard)
        return pieces

    async def peek(self, task_id: str) -> Piece:
        """How a task is doing, from the history or after one look. Fetches no picture, and can order none.

        Raises:
            NoSuchTask: Neither the history nor RunAPI knows it.
            RunApiError: RunAPI could not be asked.
        """
        order = await self.history.find(self.owner, task_id)
        with Patience.of(0).for_once():
            piece = Piece(order, resumed=True) if order else await self._adopted(task_id)
        if piece.order.task_id is None and not piece.order.is_over:
            # Asking what became of it could order it: that is for calls that may spend.
            return piece
        try:
            await self._finish(piece, Patience.of(0), lambda: None)
        except TaskFailed as failure:
            piece.error = failure
        return piece

    async def picture(self, task_id: str, index: int) -> Picture:
        """One picture of a finished task, from disk or fetched again.

        Raises:
            NoSuchTask: Neither the history nor RunAPI knows the task, or it has no such picture.
            TaskFailed: It failed.
            PictureUnavailable: It cannot be had, or not yet.
        """
        piece = await self.peek(task_id)
        if piece.error:
            raise piece.error
        if not piece.is_made:
            msg = f"Task {piece.id} is still being made."
            raise PictureUnavailable(msg, remedy=f"Call task_status with task_id='{piece.id}' to wait for it.")
        if not 0 <= index < len(piece.shots):
            msg = f"Task {piece.id} has {len(piece.shots)} picture(s), counted from 0."
            raise NoSuchTask(msg)
        shots = await self._collected(piece.order)
        if picture := shots[index].picture:
            return picture
        raise shots[index].trouble or PictureUnavailable("The picture could not be had.")

    def hand_over(self, pieces: Sequence[Piece]) -> None:
        """Note that the results of these pieces go to the host now."""
        self.deliveries.note(self.owner, pieces)

    async def _adopted(self, task_id: str) -> Piece:
        """A task that was made elsewhere with this key."""
        try:
            task = await self.runapi.find(task_id)
        except NotFound as error:
            msg = f"Neither this server nor RunAPI knows a task {task_id[:140]!r} for this key."
            remedy = "Check the id; every result carries its own. RunAPI shows tasks only to the key that made them."
            raise NoSuchTask(msg, remedy=remedy) from error
        order = await self.history.adopt(
            owner=self.owner, task_id=task.id, action=task.action or "", dialect=task.dialect or ""
        )
        return Piece(order, resumed=True, task=task)

    async def _bring_all(self, pieces: Sequence[Piece], patience: Patience, report: Report) -> None:
        """Take every piece as far as it gets in time; one that fails stops no other."""

        async def bring(piece: Piece) -> None:
            try:
                await self._bring(piece, patience, lambda: report(pieces))
            except Flux2Error as error:
                piece.error = error
            except anyio.get_cancelled_exc_class():
                piece.is_withdrawn = True
                raise
            except Exception as crash:
                # A mistake of ours with one picture must not lose the others, which are paid for.
                logger.exception("Order %s", piece.order.id)
                msg = f"Something went wrong in this server ({type(crash).__name__})."
                piece.error = TaskOutOfSight(msg, task_id=piece.id)
            report(pieces)

        report(pieces)
        async with anyio.create_task_group() as group:
            for piece in pieces:
                group.start_soon(bring, piece)

    async def _bring(self, piece: Piece, patience: Patience, changed: Callable[[], None]) -> None:
        """Take one piece as far as it gets in time."""
        await self._finish(piece, patience, changed)
        if piece.is_made:
            with anyio.CancelScope(deadline=patience.with_(piece)):
                piece.shots = await self._collected(piece.order)

    async def _finish(self, piece: Piece, patience: Patience, changed: Callable[[], None]) -> None:
        """Have RunAPI finish the piece, if it does so in time.

        Raises:
            TaskFailed: It failed, now or earlier.
        """
        if piece.order.state == "failed":
            raise _failure_of(piece.order)
        if piece.order.state != "completed":
            with anyio.CancelScope(deadline=patience.at_least):
                piece.task = piece.task or await self._placed(piece)
            changed()
            await self._watch(piece, patience, changed)
        if piece.order.state == "completed":
            piece.shots = [Shot(url, path=path) for url, path in _places(piece.order)]
            changed()

    async def _placed(self, piece: Piece) -> Task:
        """The task of this order: known already, or made now, or found again by its Idempotency-Key."""
        order = piece.order
        while order.task_id is None:
            with suppress(_Withdrawn):
                piece.order, task = await self.errands.run(f"place {order.id}", partial(self._place, piece))
                return task
        return _task_of(order, order.task_id)

    async def _place(self, piece: Piece) -> tuple[Order, Task]:
        """Send the create request, for the first time or perhaps once more.

        Raises:
            OutcomeUnknown: It is not known whether there is a task.
            Flux2Error: There is none.
        """
        # Another call or process may be further on than this one has seen.
        order = await self.history.find(self.owner, piece.order.id) or piece.order
        if order.task_id is not None:
            return order, _task_of(order, order.task_id)
        doubted = order.state == "unknown"
        try:
            order, body = await self._prepared(order, piece)
            task = await self.runapi.create(cast("Action", order.action), body, idempotency_key=order.idempotency_key)
        except RunApiError as error:
            # What keeps a second try from its answer says nothing about the first, unless the request itself is wrong.
            again = piece.resumed and (doubted or not isinstance(error, RequestRejected))
            if error.in_doubt or isinstance(error, KeyReused) or again:
                order = await self.history.unknown(order, error=error.message)
                if order.task_id is None:
                    by_its_call = not self.history.keeps_words
                    raise OutcomeUnknown(error.message, order_id=order.id, by_its_call=by_its_call) from error
            else:
                order = await self.history.finished(order, state="failed", error=error.message)
                if order.task_id is None:
                    raise
            # Another process was luckier with the same order.
            return order, _task_of(order, order.task_id)
        except (SourceRefused, _Withdrawn) as error:
            await self.history.finished(order, state="failed", error=error.message)
            raise
        return await self.history.accepted(order, task_id=task.id, dialect=task.dialect or ""), task

    async def _prepared(self, order: Order, piece: Piece) -> tuple[Order, Mapping[str, object]]:
        """The order with the exact body that its Idempotency-Key stands for."""
        if piece.resumed and datetime.now(UTC) - order.created_at > REPLAY_WITHIN:
            msg = "What became of this order was never learnt, and it is too old to ask again safely."
            raise Flux2Error(msg, charge="If RunAPI accepted it, it was paid once.", remedy="Look for it at RunAPI.")
        if order.request is not None and "prompt" in order.request:
            return order, order.request
        if piece.compose is None:
            raise _only_by_its_call(kept=self.history.keeps_words)
        uploaded = cast("Sequence[str]", order.request["source_image_urls"]) if order.request else ()
        body = await piece.compose(uploaded)
        if piece.is_withdrawn:
            msg = "The call was cancelled before it was sent."
            raise _Withdrawn(msg)
        order = await self.history.prepared(order, request=body)
        return order, order.request if order.request and "prompt" in order.request else body

    async def _watch(self, piece: Piece, patience: Patience, changed: Callable[[], None]) -> None:
        """Look until the task is over or the time is up; a resumed one is looked at once in any case."""
        if piece.task is None:
            return
        order = piece.order
        durations = await self.history.durations(
            self.owner, action=order.action, model=order.model, resolution=order.resolution
        )
        piece.expected_seconds = tasks.expected(durations)
        waits = self.pauses(durations, _age(order))
        if piece.resumed:
            waits = chain([0.0], waits)
        with anyio.CancelScope(deadline=patience.with_(piece)):
            async with aclosing(tasks.watch(self.runapi, piece.task, waits=waits, sleep=self.sleep)) as looks:
                async for look in looks:
                    piece.task, piece.trouble = look.task, look.trouble
                    changed()
                    if anyio.current_time() >= patience.deadline:
                        break
        if piece.task.is_over:
            await self._conclude(piece, piece.task)

    async def _conclude(self, piece: Piece, task: Task) -> None:
        """Write down how the task ended.

        Raises:
            TaskFailed: It failed.
        """
        if task.is_over and not task.images and task.status != "failed":
            # Not written down as an end: the picture may yet be shown.
            msg = "RunAPI says the task is completed, but it shows no image."
            raise NoImages(msg, task_id=task.id, cost_cents=task.cost_cents)
        if task.status == "failed":
            reason = task.error.rstrip(".") or "no reason given"
            words = f"RunAPI could not make the picture: {reason}."
            piece.order = await self.history.finished(
                piece.order, state="failed", settled_cents=task.cost_cents, error=words
            )
            raise _failure_of(piece.order, words)
        piece.order = await self.history.finished(
            piece.order,
            state="completed",
            urls=task.images,
            # Nobody says when a task of others was finished.
            urls_expire_at=None if piece.order.made_elsewhere else datetime.now(UTC) + URLS_LAST,
            settled_cents=task.cost_cents,
        )

    async def _collected(self, order: Order) -> list[Shot]:
        """The pictures of a completed order: from disk where they were saved, else fetched and saved now."""
        return await self.errands.run(f"collect {order.id}", partial(self._collect, order))

    async def _collect(self, order: Order) -> list[Shot]:
        shots = [Shot(url, path=path) for url, path in _places(order)]
        async with anyio.create_task_group() as group:
            for shot in shots:
                group.start_soon(self._collect_one, order, shot)
        paths = tuple(str(shot.path or "") for shot in shots)
        if any(paths) and paths != order.paths:
            await self.history.saved(order, paths)
        return shots

    async def _collect_one(self, order: Order, shot: Shot) -> None:
        saved, shot.path = shot.path, None
        try:
            if saved and (picture := await images.read(saved)):
                shot.picture, shot.path = picture, saved
                return
            shot.picture = await self.fetcher.fetch(shot.url)
            # A repeated call may have said meanwhile that it shall lie elsewhere.
            order = await self.history.find(self.owner, order.id) or order
            if there := await anyio.to_thread.run_sync(self.places.destination, order.save_to):
                name = there.name or images.file_name(order.prompt, when=order.created_at, tag=order.id[-4:])
                shot.path = await images.save(shot.picture, folder=there.folder, name=name)
        except (PictureUnavailable, PictureNotSaved, RequestRefused) as error:
            shot.trouble = error


class _Withdrawn(Flux2Error):
    """The call that wanted it was cancelled before anything was sent."""


def _failure_of(order: Order, words: str = "") -> TaskFailed:
    """Why there is no picture, and what RunAPI says that it cost."""
    charge = None
    if order.settled_cents:
        charge = f"RunAPI states a cost of ${order.settled_cents / 100:.2f}."
    elif order.task_id is None:
        charge = "Nothing was charged."
    return TaskFailed(words or order.error or "The task failed.", task_id=order.task_id or order.id, charge=charge)


def _age(order: Order) -> float:
    """Seconds since RunAPI accepted it."""
    return (datetime.now(UTC) - order.accepted_at).total_seconds() if order.accepted_at else 0.0


def _only_by_its_call(*, kept: bool) -> Flux2Error:
    """Why an order without a request cannot be taken up by its id; `kept`: requests are noted before they are sent."""
    if kept:
        msg = "This order was not sent: not all of its source images were uploaded."
        return Flux2Error(msg, remedy="Send the same call again; it takes up this order.")
    return Flux2Error(
        "The history keeps no requests, so only the call itself can find out what became of this order.",
        charge="It is not known whether RunAPI accepted it; if it did, it is paid once.",
        remedy="Send the same call again within 15 minutes of the first: it asks with the same Idempotency-Key.",
    )


def _places(order: Order) -> Iterator[tuple[str, Path | None]]:
    """Where each picture of the order is: its URL, and its file if it was saved."""
    saved = (Path(path) if path else None for path in order.paths)
    return ((url, next(saved, None)) for url in order.urls)


def _task_of(order: Order, task_id: str) -> Task:
    """The task as far as the history knows it: accepted."""
    dialect = cast("DialectName", order.dialect) if order.dialect in {"sdk", "v1"} else None
    action = cast("Action", order.action) if order.action else None
    return Task(id=task_id, status="processing", action=action, dialect=dialect)


def _fingerprint(request: Request, count: int) -> str:
    """What makes two requests the same wish."""
    wish = json.dumps([request.action, count, request.body], sort_keys=True)
    return hashlib.sha256(wish.encode()).hexdigest()
