"""The life of one order, from the create request to the file.

What costs money (the create request) and what keeps the result (fetching and saving) are errands: they end well even
when the call that wanted them is cancelled or runs out of time. Looking at a task belongs to the call and stops with
it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast
from uuid import uuid4

import anyio

from flux2_mcp import images, tasks
from flux2_mcp.errands import Errands
from flux2_mcp.errors import (
    Flux2Error,
    KeyReused,
    NoImages,
    OutcomeUnknown,
    PictureNotSaved,
    PictureUnavailable,
    RequestRefused,
    RequestRejected,
    RunApiError,
    SourceRefused,
    TaskFailed,
    TaskOutOfSight,
)
from flux2_mcp.history import History, Intent, Order
from flux2_mcp.runapi.models import Action, DialectName, Task
from flux2_mcp.sources import Uploads
from flux2_mcp.studio.pieces import RESUME_WITHIN, Patience, Piece, Report, Shot

if TYPE_CHECKING:
    from flux2_mcp.runapi.client import RunAPI

logger = logging.getLogger(__name__)

URLS_LAST = timedelta(days=7)
"""RunAPI keeps generated files for seven days."""
NEVER_SENT = "This order was never sent: it was given up before its source images were uploaded."
REPLAY_WITHIN = timedelta(hours=24)
"""How long a create request is sent again with its key; nobody says how long RunAPI remembers keys."""


@dataclass(frozen=True, kw_only=True)
class Fulfilment:
    """Takes orders as far as they get in time."""

    owner: str
    runapi: RunAPI
    history: History
    fetcher: images.Fetcher
    errands: Errands
    places: images.Places
    uploads: Uploads
    daily_cap_cents: int | None
    shows: bool
    """Whether somebody is shown the pictures, so that they are fetched also where they are not saved."""
    pauses: tasks.Pauses = tasks.pauses
    sleep: tasks.Sleep = anyio.sleep

    async def bring(self, pieces: Sequence[Piece], patience: Patience, report: Report) -> None:
        """Take every piece as far as it gets in time; one that fails stops no other."""

        async def bring_one(piece: Piece) -> None:
            try:
                await self._bring_one(piece, patience, lambda: report(pieces))
            except Flux2Error as error:
                piece.error = error
            except anyio.get_cancelled_exc_class():
                piece.is_withdrawn = True
                raise
            except Exception as crash:
                # A mistake of ours with one picture must not lose the others, which are paid for.
                logger.exception("Order %s", piece.order.id)
                self._note_crash(piece, crash)
            report(pieces)

        report(pieces)
        async with anyio.create_task_group() as group:
            for piece in pieces:
                group.start_soon(bring_one, piece)

    def _note_crash(self, piece: Piece, crash: Exception) -> None:
        """Say no more of the money than is known at this point."""
        while isinstance(crash, ExceptionGroup):
            crash = cast("ExceptionGroup[Exception]", crash).exceptions[0]
        msg = f"Something went wrong in this server ({type(crash).__name__})."
        if piece.is_made:
            for shot in piece.shots:
                shot.trouble = shot.trouble or PictureUnavailable(msg)
        elif piece.task or piece.order.task_id:
            piece.error = TaskOutOfSight(msg, task_id=piece.id)
        else:
            by_its_call = not self.history.keeps_words
            piece.error = OutcomeUnknown(msg, order_id=piece.order.id, by_its_call=by_its_call)

    def was_abandoned(self, order: Order) -> bool:
        """Whether its process ended before it was sent, too long ago for the same call to take it up again."""
        return order.was_never_sent and self.history.now() - order.created_at > RESUME_WITHIN

    async def _bring_one(self, piece: Piece, patience: Patience, changed: Callable[[], None]) -> None:
        """Take one piece as far as it gets in time."""
        await self.finish(piece, patience, changed)
        if piece.is_made:
            with anyio.CancelScope(deadline=patience.with_(piece)):
                piece.shots = await self.collected(piece.order, anyway=False)

    async def finish(self, piece: Piece, patience: Patience, changed: Callable[[], None]) -> None:
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
            piece.shots = _shots(piece.order, wanted=self._wants(piece.order))
            changed()

    async def _placed(self, piece: Piece) -> Task:
        """The task of this order: known already, or made now, or found again by its Idempotency-Key."""
        while (task_id := piece.order.task_id) is None:
            with suppress(_Withdrawn):
                piece.order, task = await self.errands.run(f"place {piece.order.id}", partial(self._place, piece))
                return task
            # The call that had it in hand was cancelled; this one wants the picture still.
            piece.order, piece.resumed = await self._ordered_again(piece.order)
        return _task_of(piece.order, task_id)

    async def _ordered_again(self, order: Order) -> tuple[Order, bool]:
        """What stands for an order that was given up: one that somebody has made since, and True, or a new one.

        Raises:
            OverLimit: The money that was given back is spent.
        """
        intent = Intent(
            wish=order.wish,
            nth=order.nth,
            idempotency_key=str(uuid4()),
            action=order.action,
            model=order.model,
            request=None,
            resolution=order.resolution,
            prompt=order.prompt,
            estimated_cents=order.estimated_cents,
            save_to=order.save_to,
        )
        [opened] = await self.history.open_orders(
            [intent], owner=self.owner, resume_within=RESUME_WITHIN, daily_cap_cents=self.daily_cap_cents
        )
        return opened

    async def _place(self, piece: Piece) -> tuple[Order, Task]:
        """Send the create request, for the first time or perhaps once more.

        Raises:
            OutcomeUnknown: It is not known whether there is a task.
            Flux2Error: There is none.
        """
        order = await self._as_it_is(piece)
        if order.task_id is not None:
            return order, _task_of(order, order.task_id)
        is_new = order.was_never_sent
        try:
            order, body, was_tried = await self._prepared(order, piece)
        except (RunApiError, SourceRefused, _Withdrawn) as error:
            order = await self.history.given_up(order, error=error.message)
            if order.state == "failed" or isinstance(error, _Withdrawn) or not is_new:
                raise
            return await self._place(piece)  # another process has uploaded what this one could not
        try:
            task = await self.runapi.create(cast("Action", order.action), body, idempotency_key=order.idempotency_key)
        except RunApiError as error:
            order = await self._refused(order, error, body, was_tried=was_tried)
            if order.task_id is not None:
                return order, _task_of(order, order.task_id)  # another process was luckier with the same order
            if order.state == "unknown":
                by_its_call = not _is_whole(order.request)
                raise OutcomeUnknown(error.message, order_id=order.id, by_its_call=by_its_call) from error
            raise
        return await self.history.accepted(order, task_id=task.id, dialect=task.dialect or ""), task

    async def _refused(self, order: Order, error: RunApiError, body: Mapping[str, object], *, was_tried: bool) -> Order:
        """Note what this answer to the create request means for the order."""
        is_rejected = isinstance(error, RequestRejected)
        if is_rejected:
            self.uploads.forget(_sources_in(body))
        # What keeps a second try from its answer says nothing about the first, unless the request itself is wrong.
        says_nothing = was_tried and (order.state == "unknown" or not is_rejected)
        if error.in_doubt or isinstance(error, KeyReused) or says_nothing:
            return await self.history.unknown(order, error=error.message)
        return await self.history.finished(order, state="failed", error=error.message)

    async def _as_it_is(self, piece: Piece) -> Order:
        """The order as it is now; what nobody can send any more is given up."""
        # Another call or process may be further on than this one has seen.
        order = await self.history.find(self.owner, piece.order.id) or piece.order
        if piece.compose is None and self.was_abandoned(order):
            return await self.history.given_up(order, error=_never_sent().message)
        return order

    async def _prepared(self, order: Order, piece: Piece) -> _Prepared:
        """The order with the exact body that its Idempotency-Key stands for.

        Raises:
            Flux2Error: It will not be sent.
        """
        if order.state == "failed":
            raise _never_sent() if order.request is None else _failure_of(order)
        if not order.was_never_sent:
            return await self._prepared_before(order, piece, was_tried=piece.resumed)
        if piece.compose is None:
            raise _not_sent()
        body = await piece.compose(())
        if piece.is_withdrawn:
            msg = "The call was cancelled before it was sent."
            raise _Withdrawn(msg)
        order, is_first = await self.history.prepared(order, request=body)
        if order.state == "failed":
            # Another process gave it up in the meantime, and its money may be spent elsewhere.
            raise _never_sent() if order.request is None else _failure_of(order)
        if is_first:
            return _Prepared(order, body, was_tried=False)
        return await self._prepared_before(order, piece, was_tried=True)

    async def _prepared_before(self, order: Order, piece: Piece, *, was_tried: bool) -> _Prepared:
        """The same for an order that may have been sent; where no words are kept, its call has them."""
        if was_tried and self.history.now() - order.created_at > REPLAY_WITHIN:
            msg = "What became of this order was never learnt, and it is too old to ask again safely."
            raise Flux2Error(msg, charge="If RunAPI accepted it, it was paid once.", remedy="Look for it at RunAPI.")
        body = order.request or {}
        if not _is_whole(body):
            if piece.compose is None:
                raise _only_by_its_call()
            body = await piece.compose(_sources_in(body))
        return _Prepared(order, body, was_tried=was_tried)

    async def _watch(self, piece: Piece, patience: Patience, changed: Callable[[], None]) -> None:
        """Look until the task is over or the time is up; a resumed one is looked at once in any case."""
        if piece.task is None:
            return
        order = piece.order
        durations = await self.history.durations(
            self.owner, action=order.action, model=order.model, resolution=order.resolution
        )
        piece.expected_seconds = tasks.expected(durations)
        waits = self.pauses(durations, self._age(order))
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

    def _age(self, order: Order) -> float:
        """Seconds since RunAPI accepted it."""
        return (self.history.now() - order.accepted_at).total_seconds() if order.accepted_at else 0.0

    async def _conclude(self, piece: Piece, task: Task) -> None:
        """Write down how the task ended.

        Raises:
            TaskFailed: It failed.
        """
        if task.is_over and not task.images and task.status != "failed":
            # Not written down as an end: the picture may yet be shown.
            msg = "RunAPI says the task is completed, but it shows no image."
            raise NoImages(msg, task_id=piece.id, cost_cents=task.cost_cents)
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
            urls_expire_at=None if piece.order.made_elsewhere else self.history.now() + URLS_LAST,
            settled_cents=task.cost_cents,
        )

    async def collected(self, order: Order, *, anyway: bool = True) -> list[Shot]:
        """The pictures of a completed order: from disk where they were saved, else fetched, and saved if they shall be.

        Unless they are fetched `anyway`, those that are neither shown nor saved stay where they are.
        """
        fetches = anyway or self._wants(order)
        # Two errands: whoever wants the bytes must not be given the result of one that leaves them.
        name = f"collect {order.id}" if fetches else f"look up {order.id}"
        return await self.errands.run(name, partial(self._collect, order, fetches=fetches))

    def _wants(self, order: Order) -> bool:
        """Whether anybody is shown its pictures, or they are to be saved."""
        return self.shows or self.places.saves or bool(order.save_to)

    async def _collect(self, order: Order, *, fetches: bool) -> list[Shot]:
        # Another process may have saved them since this one has looked.
        order = await self.history.find(self.owner, order.id) or order
        shots = _shots(order, wanted=fetches)
        await self._collect_all(order, shots)
        if any(shot.is_missing for shot in shots) and (urls := await self._fresh_links(order)):
            for shot, url in zip(shots, urls, strict=True):
                if shot.is_missing:
                    shot.url, shot.trouble = url, None
            await self._collect_all(order, [shot for shot in shots if shot.is_missing])
        await self._note_places(order, shots)
        return shots

    async def _collect_all(self, order: Order, shots: Sequence[Shot]) -> None:
        async with anyio.create_task_group() as group:
            for shot in shots:
                group.start_soon(self._collect_one, order, shot)

    async def _fresh_links(self, order: Order) -> Sequence[str]:
        """The addresses that RunAPI shows now, if it shows others: links die, some sooner than after seven days."""
        if order.task_id is None:
            return ()
        try:
            task = await self.runapi.look(_task_of(order, order.task_id))
        except RunApiError:
            return ()
        if task.status != "completed" or task.images == order.urls or len(task.images) != len(order.urls):
            return ()
        expire_at = None if order.made_elsewhere else self.history.now() + URLS_LAST
        await self.history.finished(
            order, state="completed", urls=task.images, urls_expire_at=expire_at, settled_cents=task.cost_cents
        )
        return task.images

    async def _note_places(self, seen: Order, shots: Sequence[Shot]) -> None:
        """Note where the pictures lie. Where another process was first, its files are used, and ours are removed.

        Where a call has said meanwhile that they shall lie elsewhere, they are moved there.
        """
        before = {Path(path) for path in seen.paths}
        while any(shot.path for shot in shots):
            paths = tuple(str(shot.path or "") for shot in shots)
            if paths == seen.paths:
                return
            noted = await self.history.saved(seen, paths)
            if noted.paths == paths:
                return
            theirs = [path for _, path in _places(noted)]
            for shot, path in zip(shots, theirs, strict=False):
                ours = shot.path
                if not await _use_instead(shot, path) and noted.save_to != seen.save_to:
                    await self._save(noted, shot)
                if ours and ours != shot.path and ours not in before:
                    with suppress(OSError):
                        await anyio.Path(ours).unlink()
            seen = noted

    async def _collect_one(self, order: Order, shot: Shot) -> None:
        saved, shot.path = shot.path, None
        try:
            if saved and (picture := await images.read(saved)):
                shot.picture, shot.path = picture, saved
            if not shot.is_missing:
                return
            shot.picture = await self.fetcher.fetch(shot.url)
        except PictureUnavailable as error:
            shot.trouble = error
            return
        # A repeated call may have said meanwhile that it shall lie elsewhere.
        await self._save(await self.history.find(self.owner, order.id) or order, shot)

    async def _save(self, order: Order, shot: Shot) -> None:
        """Write the picture where the order wants it."""
        if shot.picture is None:
            return
        try:
            if there := await anyio.to_thread.run_sync(self.places.destination, order.save_to):
                name = there.name or images.file_name(order.prompt, when=order.created_at, tag=order.id[-4:])
                shot.path = await images.save(shot.picture, folder=there.folder, name=name)
        except (PictureNotSaved, RequestRefused) as error:
            shot.trouble = error


class _Prepared(NamedTuple):
    """An order that can be sent."""

    order: Order
    body: Mapping[str, object]
    was_tried: bool
    """Whether it may have been sent before."""


class _Withdrawn(Flux2Error):
    """The call that wanted it was cancelled before anything was sent."""


async def _use_instead(shot: Shot, path: Path | None) -> bool:
    """Use this file, if it can be read; say whether it is used."""
    if path is None or not (picture := await images.read(path)):
        return False
    shot.picture, shot.path, shot.trouble = picture, path, None
    return True


def _failure_of(order: Order, words: str = "") -> TaskFailed:
    """Why there is no picture, and what RunAPI says that it cost."""
    charge = None
    if order.settled_cents:
        charge = f"RunAPI states a cost of ${order.settled_cents / 100:.2f}."
    elif order.task_id is None:
        charge = "Nothing was charged."
    # In private mode the history keeps no words, but what it has of the request says whether it was sent.
    usual = NEVER_SENT if order.request is None and order.task_id is None else "The task failed."
    return TaskFailed(words or order.error or usual, task_id=order.handle, charge=charge)


def _sources_in(body: Mapping[str, object]) -> Sequence[str]:
    """The addresses of the source images in the body of a create request."""
    return cast("Sequence[str]", body.get("source_image_urls", ()))


def _is_whole(body: Mapping[str, object] | None) -> bool:
    """Whether this is all of a create request; where no words are kept, it is not."""
    return body is not None and "prompt" in body


def _never_sent() -> Flux2Error:
    return Flux2Error(NEVER_SENT, remedy="Order it again if it is still wanted.")


def _not_sent() -> Flux2Error:
    msg = "This order was not sent: not all of its source images were uploaded."
    return Flux2Error(msg, remedy="Send the same call again; it takes up this order.")


def _only_by_its_call() -> Flux2Error:
    return Flux2Error(
        "The request of this order was not kept, so only the call itself can find out what became of it.",
        charge="It is not known whether RunAPI accepted it; if it did, it is paid once.",
        remedy="Send the same call again within 15 minutes of the first: it asks with the same Idempotency-Key.",
    )


def _places(order: Order) -> Iterator[tuple[str, Path | None]]:
    """Where each picture of the order is: its URL, and its file if it was saved."""
    saved = (Path(path) if path else None for path in order.paths)
    return ((url, next(saved, None)) for url in order.urls)


def _shots(order: Order, *, wanted: bool) -> list[Shot]:
    return [Shot(url, path=path, wanted=wanted) for url, path in _places(order)]


def _task_of(order: Order, task_id: str) -> Task:
    """The task as far as the history knows it: accepted."""
    dialect = cast("DialectName", order.dialect) if order.dialect in {"sdk", "v1"} else None
    action = cast("Action", order.action) if order.action else None
    return Task(id=task_id, status="processing", action=action, dialect=dialect)
