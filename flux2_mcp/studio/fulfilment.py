"""The life of one order, from the create request to the file.

What costs money (the create request) and what keeps the result (fetching and saving) are background tasks: they go on
when the call that wanted them is cancelled or runs out of time. Polling a task belongs to the call and stops with it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple, cast
from uuid import uuid4

import anyio

from flux2_mcp import images, polling, telemetry
from flux2_mcp.errors import (
    Flux2Error,
    KeyReused,
    NoImages,
    NotFound,
    OutcomeUnknown,
    PictureNotSaved,
    PictureUnavailable,
    PictureUnusable,
    RequestRefused,
    RequestRejected,
    RunApiError,
    SourceRefused,
    TaskFailed,
    TaskForgotten,
    TaskOutOfSight,
    same_again,
)
from flux2_mcp.history import BEFORE_ALL, RESUME_WITHIN, Intent, Order
from flux2_mcp.images import Picture
from flux2_mcp.runapi.models import Action, DialectName, Task
from flux2_mcp.studio.jobs import Deadline, Job, Report, ResultImage
from flux2_mcp.studio.services import Services
from flux2_mcp.studio.watched import Watched

BodyOf = Callable[[Sequence[str]], Awaitable[Mapping[str, object]]]
"""`Compose`, in the hands of one job."""

logger = logging.getLogger(__name__)

URLS_LAST = timedelta(days=7)
"""RunAPI keeps generated files for seven days."""
LONG_ENOUGH = timedelta(hours=1)
"""After this long, RunAPI has made every picture, and shows every task that it will ever show."""
NEVER_SENT = "This order was never sent: it was given up before its source images were uploaded."
"""The history keeps it; a change of these words needs a migration."""


@dataclass(frozen=True)
class Fulfilment:
    """Takes orders as far as they get in time."""

    services: Services

    async def advance(self, jobs: Sequence[Job], deadline: Deadline, report: Report) -> None:
        """Take every job as far as it gets in time; one that fails stops no other."""

        async def guarded(job: Job) -> None:
            try:
                await self._advance(job, deadline, lambda: report(jobs))
            except Flux2Error as error:
                job.error = error.without_frames()
            except anyio.get_cancelled_exc_class():
                job.is_cancelled = True
                raise
            except Exception as crash:
                # A mistake of ours with one picture must not lose the others, which are paid for.
                logger.exception("Order %s", job.order.id, extra={"order": job.order.id})
                self._note_crash(job, crash)
            report(jobs)

        report(jobs)
        if len(jobs) == 1:
            await guarded(jobs[0])
        else:
            async with anyio.create_task_group() as group:
                for job in jobs:
                    group.start_soon(guarded, job)

    def _note_crash(self, job: Job, crash: Exception) -> None:
        """Say no more of the money than is known at this point."""
        while isinstance(crash, ExceptionGroup):
            crash = cast("ExceptionGroup[Exception]", crash).exceptions[0]
        msg = f"Something went wrong in this server ({type(crash).__name__})."
        if job.is_made:
            for image in job.images:
                image.error = image.error or PictureUnavailable(msg)
        elif job.task or job.order.task_id:
            job.error = TaskOutOfSight(msg, task_id=job.id)
        else:
            job.error = self._in_doubt(job.order, msg)

    def _is_too_old(self, order: Order) -> bool:
        """Whether the same call would not take it up any more."""
        return self.services.history.now() - order.created_at > RESUME_WITHIN

    def _in_doubt(self, order: Order, message: str) -> OutcomeUnknown:
        return OutcomeUnknown(message, order_id=order.id, too_late=self._is_too_old(order))

    async def _advance(self, job: Job, deadline: Deadline, changed: Callable[[], None]) -> None:
        """Take one job as far as it gets in time."""
        await self.finish(job, deadline, changed)
        if job.is_made and (self._wants(job.order) or job.order.paths):
            with self.services.background.patience(max(deadline.of(job), deadline.pictures)):
                job.images = await self.collected(job.order)

    async def finish(self, job: Job, deadline: Deadline, changed: Callable[[], None]) -> None:
        """Have RunAPI finish the job, if it does so in time.

        Raises:
            TaskFailed: It failed, now or earlier.
        """
        if job.order.state == "failed":
            raise _failure_of(job.order)
        if job.order.state != "completed":
            with self.services.background.patience(deadline.at_least):
                job.task = job.task or await self._task_for(job, changed)
            changed()
            await self._poll(job, deadline, changed)
        if job.order.state == "completed":
            job.images = _images_of(job.order, wanted=self._wants(job.order))
            changed()

    async def _task_for(self, job: Job, changed: Callable[[], None]) -> Task:
        """The task of this order: known already, or made now, or found again by its Idempotency-Key."""

        def stage(words: str) -> None:
            job.stage = words
            changed()

        if job.compose is None:
            return await self._looked_up(job)
        while (task_id := job.order.task_id) is None:
            with suppress(_Cancelled):
                work = partial(self._create, job, partial(job.compose, stage=stage), changed)
                job.order, task = await self.services.background.run(_creating(job.order), work)
                return task
            # The call that had it in hand was cancelled; this one wants the picture still.
            job.order, job.ordered_before = await self._ordered_again(job.order)
        return _task_of(job.order, task_id)

    async def _looked_up(self, job: Job) -> Task:
        """The task of an order that is only looked at. Nothing is sent for it: that could order it now.

        Raises:
            OutcomeUnknown: It is not known whether there is a task.
            Flux2Error: There is none.
        """
        await self.services.background.settled(_creating(job.order))
        # Another call or process may be further on than this one has seen.
        order = await self.services.history.latest(job.order)
        if order.was_never_sent and self._is_too_old(order):
            order = await self.services.history.given_up(order, error=NEVER_SENT)
        job.order = order
        if order.task_id is not None:
            return _task_of(order, order.task_id)
        if order.state == "failed":
            raise _failure_of(order)
        if order.was_never_sent:
            raise _not_sent()
        raise self._in_doubt(order, order.error or "No answer to this order is known.")

    async def _ordered_again(self, order: Order) -> tuple[Order, bool]:
        """What stands for an order that was given up: one that somebody has made since, and True, or a new one.

        Raises:
            OverLimit: The money that was given back is spent.
        """
        intent = Intent(
            fingerprint=order.fingerprint,
            position=order.position,
            idempotency_key=str(uuid4()),
            service=order.service,
            action=order.action,
            model=order.model,
            request=None,
            resolution=order.resolution,
            prompt=order.prompt,
            estimated_cents=order.estimated_cents,
            save_to=order.save_to,
        )
        [opened] = await self.services.history.open_orders(
            [intent],
            owner=self.services.owner,
            resume_within=RESUME_WITHIN,
            arrival=BEFORE_ALL,  # whatever has taken its place was made while this call waited
            daily_cap_cents=self.services.budget.limits.per_day,
        )
        return opened

    async def _create(self, job: Job, body_of: BodyOf, changed: Callable[[], None]) -> tuple[Order, Task]:
        """Send the create request, for the first time or perhaps once more.

        Raises:
            OutcomeUnknown: It is not known whether there is a task.
            Flux2Error: There is none.
        """
        # Another call or process may be further on than this one has seen, also a moment after it was ordered.
        order = await self.services.history.latest(job.order)
        if order.task_id is not None:
            return order, _task_of(order, order.task_id)
        is_new = order.was_never_sent
        try:
            order, body, was_tried = await self._prepared(order, job, self._with_webhook(order, body_of))
        except (RunApiError, SourceRefused, _Cancelled) as error:
            why = NEVER_SENT if isinstance(error, _Cancelled) else error.message
            order = await self.services.history.given_up(order, error=why)
            if order.state == "failed" or isinstance(error, _Cancelled) or not is_new:
                raise
            job.order, job.ordered_before = order, True
            return await self._create(job, body_of, changed)  # another process has uploaded what this one could not
        job.is_sent = True
        changed()
        try:
            with telemetry.span("create"):
                task = await self.services.runapi.create(
                    cast("Action", order.action), body, idempotency_key=order.idempotency_key
                )
        except RunApiError as error:
            order = await self._after_error(order, error, body, was_tried=was_tried)
            if order.task_id is not None:
                return order, _task_of(order, order.task_id)  # another process was luckier with the same order
            if order.state == "unknown":
                raise self._in_doubt(order, error.message) from error
            raise
        return await self.services.history.accepted(order, task_id=task.id, dialect=task.dialect or ""), task

    def _with_webhook(self, order: Order, body_of: BodyOf) -> BodyOf:
        """The same body, and where RunAPI tells the end of this order, unless its caller wants to be told instead."""
        webhooks = self.services.webhooks
        if webhooks is None:
            return body_of

        async def told(uploaded: Sequence[str], /) -> Mapping[str, object]:
            return {"callback_url": webhooks.address_for(order.idempotency_key), **await body_of(uploaded)}

        return told

    async def _after_error(
        self, order: Order, error: RunApiError, body: Mapping[str, object], *, was_tried: bool
    ) -> Order:
        """The order after this answer to its create request."""
        is_rejected = isinstance(error, RequestRejected)
        if is_rejected:
            self.services.uploads.forget(_sources_in(body))
        # What keeps a second try from its answer says nothing about the first, unless the request itself is wrong.
        says_nothing = was_tried and (order.state == "unknown" or not is_rejected)
        if error.in_doubt or isinstance(error, KeyReused) or says_nothing:
            return await self.services.history.unknown(order, error=error.message)
        return await self.services.history.finished(order, state="failed", error=error.message)

    async def _prepared(self, order: Order, job: Job, body_of: BodyOf) -> _Prepared:
        """The order with the exact body that its Idempotency-Key stands for.

        Raises:
            Flux2Error: It will not be sent.
        """
        if order.state == "failed":
            raise _why_not_sent(order)
        if not order.was_never_sent:
            return await _prepared_before(order, body_of, was_tried=job.ordered_before)
        body = await body_of(())
        if job.is_cancelled:
            msg = "The call was cancelled before it was sent."
            raise _Cancelled(msg)
        order, is_first = await self.services.history.prepared(order, request=body)
        if order.state == "failed":
            # Another process gave it up in the meantime, and its money may be spent elsewhere.
            raise _why_not_sent(order)
        if is_first:
            return _Prepared(order, body, was_tried=False)
        return await _prepared_before(order, body_of, was_tried=True)

    async def _poll(self, job: Job, deadline: Deadline, changed: Callable[[], None]) -> None:
        """Look until the task is over or the time is up; a resumed one is looked at once in any case."""
        if job.task is None:
            return
        order = job.order
        durations = await self.services.history.durations(
            self.services.owner, action=order.action, model=order.model, resolution=order.resolution
        )
        job.expected_seconds = polling.expected(durations)
        connection = self.services.runapi.connection
        usual = self.services.intervals(durations, self._age(order), lambda: connection.waits)
        with (
            telemetry.span("wait"),
            self._woken(job, usual) as (waits, sleep, watched),
            connection.waiting(),
            self.services.background.patience(deadline.of(job)),
        ):
            pauses = chain([0.0], waits) if job.ordered_before else waits
            async with aclosing(polling.poll(self.services.runapi, job.task, waits=pauses, sleep=sleep)) as snapshots:
                async for snapshot in snapshots:
                    job.task, job.poll_error = snapshot.task, snapshot.error
                    watched.seen(snapshot)
                    changed()
                    if anyio.current_time() >= deadline.at or self._is_forgotten(job):
                        break
        if job.task.is_over:
            await self._conclude(job, job.task)
        elif self._is_forgotten(job):
            if self.services.history.now() - job.order.created_at > URLS_LAST:
                # With another key it could still be found, but not its pictures.
                job.order = await self.services.history.finished(job.order, state="failed", error=TaskForgotten.what)
            raise _forgotten(job.order)

    @contextmanager
    def _woken(self, job: Job, waits: Iterator[float]) -> Generator[tuple[Iterator[float], polling.Sleep, Watched]]:
        """The pauses between looks at this job's task, and how to sleep in them: until a webhook comes, if one can."""
        webhooks, order = self.services.webhooks, job.order
        began = None if job.ordered_before else anyio.current_time()
        if webhooks is None or (order.request or {}).get("callback_url") != webhooks.address_for(order.idempotency_key):
            yield waits, self.services.sleep, Watched(began)
            return
        with webhooks.waking(order.idempotency_key) as wake:
            yield webhooks.pauses(waits), wake.sleep, Watched(began, wake)
            is_new = not job.ordered_before  # others may have ended long before
            if is_new and job.task and job.task.is_over and not wake.has_arrived:
                webhooks.missed()

    def _is_forgotten(self, job: Job) -> bool:
        """Whether RunAPI does not know the task, and not only because it was made a moment ago."""
        return isinstance(job.poll_error, NotFound) and self.services.history.now() - job.order.created_at > LONG_ENOUGH

    def _age(self, order: Order) -> float:
        """Seconds since RunAPI accepted it."""
        return (self.services.history.now() - order.accepted_at).total_seconds() if order.accepted_at else 0.0

    async def _conclude(self, job: Job, task: Task) -> None:
        """Write down how the task ended.

        Raises:
            TaskFailed: It failed.
        """
        if task.is_over and not task.images and task.status != "failed":
            # Not written down as an end: the picture may yet be shown.
            msg = "RunAPI says the task is completed, but it shows no image."
            raise NoImages(msg, task_id=job.id, cost_cents=task.cost_cents)
        if task.status == "failed":
            reason = task.error.rstrip(".") or "no reason given"
            words = f"RunAPI could not make the picture: {reason}."
            job.order = await self.services.history.finished(
                job.order, state="failed", settled_cents=task.cost_cents, error=words
            )
            raise _failure_of(job.order, words)
        job.order = await self.services.history.finished(
            job.order,
            state="completed",
            urls=task.images,
            # Nobody says when a task of others was finished.
            urls_expire_at=None if job.order.made_elsewhere else self.services.history.now() + URLS_LAST,
            settled_cents=task.cost_cents,
        )

    async def collected(self, order: Order, *, whole: bool = False) -> list[ResultImage]:
        """The pictures of a completed order: from disk, or else fetched, and saved where that is wanted.

        Unless they are wanted `whole`, those that are neither shown nor saved stay where they are, and of the others
        the bytes are let go.
        """
        # Two background tasks: whoever wants the bytes must not be given the result of one that lets them go.
        name = f"collect {order.id}{' whole' if whole else ''}"
        return await self.services.background.run(name, partial(self._collect, order, whole=whole))

    def _wants(self, order: Order) -> bool:
        """Whether anybody is shown its pictures, or they are to be saved."""
        return self.services.shows or self.services.destinations.saves or bool(order.save_to)

    async def _collect(self, order: Order, *, whole: bool) -> list[ResultImage]:
        # Another call or process may have saved them since this one has looked.
        order = await self.services.history.latest(order)
        found = _images_of(order, wanted=whole or self._wants(order))
        with telemetry.span("fetch"):
            await self._collect_all(order, found, whole=whole)
        lacking = [image for image in found if image.is_missing and not isinstance(image.error, PictureUnusable)]
        if lacking and (urls := await self._fresh_links(order)):
            for image, url in zip(found, urls, strict=True):
                if any(image is each for each in lacking):
                    image.url, image.error = url, None
            await self._collect_all(order, lacking, whole=whole)
        await self._note_paths(order, found, whole=whole)
        return found

    async def _collect_all(self, order: Order, found: Sequence[ResultImage], *, whole: bool) -> None:
        async with anyio.create_task_group() as group:
            for image in found:
                group.start_soon(partial(self._collect_one, order, image, whole=whole))

    async def _fresh_links(self, order: Order) -> Sequence[str]:
        """The addresses that RunAPI shows now, if it shows others: links die, some sooner than after seven days."""
        if order.task_id is None:
            return ()
        try:
            task = await self.services.runapi.look(_task_of(order, order.task_id))
        except RunApiError:
            return ()
        if task.status != "completed" or task.images == order.urls or len(task.images) != len(order.urls):
            return ()
        expire_at = None if order.made_elsewhere else self.services.history.now() + URLS_LAST
        await self.services.history.finished(
            order, state="completed", urls=task.images, urls_expire_at=expire_at, settled_cents=task.cost_cents
        )
        return task.images

    async def _note_paths(self, seen: Order, found: Sequence[ResultImage], *, whole: bool) -> None:
        """Note where the pictures lie. Where another process was first, its files are used, and ours are removed.

        That happens when a second host starts its server, which recovers what a call of the first still waits for. That
        a picture cannot be used is noted too, as an empty path: it would be the same at each start.
        """
        paths = tuple(str(image.path or "") for image in found)
        is_settled = any(image.path or isinstance(image.error, PictureUnusable) for image in found)
        if not is_settled or paths == seen.paths:
            return
        noted = await self.services.history.saved(seen, paths)
        if noted.paths == paths:
            return
        for image, (_, theirs) in zip(found, _urls_and_files(noted), strict=False):
            ours = image.path
            if (
                await self._use_instead(image, theirs, whole=whole)
                and ours
                and ours != theirs
                and str(ours) not in seen.paths
            ):
                with suppress(OSError):
                    await anyio.Path(ours).unlink()

    async def _use_instead(self, image: ResultImage, path: Path | None, *, whole: bool) -> bool:
        """Use this file, if it can be read; say whether it is used."""
        if path is None or not (picture := await images.read(path, previewer=self.services.fetcher.previewer)):
            return False
        image.picture, image.path, image.error = picture if whole else picture.info, path, None
        return True

    async def _collect_one(self, order: Order, image: ResultImage, *, whole: bool) -> None:
        saved, image.path = image.path, None
        if await self._use_instead(image, saved, whole=whole) or not image.wanted:
            return
        async with self.services.fetcher.turn():
            try:
                picture = await self.services.fetcher.fetch(image.url)
            except PictureUnavailable as error:
                image.error = error.without_frames()
                return
            # A repeated call may have said meanwhile that it shall lie elsewhere.
            await self._save(await self.services.history.latest(order), image, picture)
            image.picture = picture if whole else picture.info

    async def _save(self, order: Order, image: ResultImage, picture: Picture) -> None:
        """Write the picture where the order wants it."""
        try:
            if there := await anyio.to_thread.run_sync(self.services.destinations.destination_of_order, order.save_to):
                name = there.name or images.file_name(order.prompt, when=order.created_at, tag=order.id[-4:])
                image.path = await images.save(picture, folder=there.folder, name=name)
        except (PictureNotSaved, RequestRefused) as error:
            image.error = error.without_frames()


class _Prepared(NamedTuple):
    """An order that can be sent."""

    order: Order
    body: Mapping[str, object]
    was_tried: bool
    """Whether it may have been sent before."""


class _Cancelled(Flux2Error):
    """The call that wanted it was cancelled before anything was sent."""


async def _prepared_before(order: Order, body_of: BodyOf, *, was_tried: bool) -> _Prepared:
    """The same for an order that may have been sent; where no words are kept, its call has them."""
    body = order.request or {}
    if "prompt" not in body:
        body = await body_of(_sources_in(body))
    return _Prepared(order, body, was_tried=was_tried)


def _failure_of(order: Order, words: str = "") -> TaskFailed:
    """Why there is no picture, and what RunAPI says that it cost."""
    if order.error == TaskForgotten.what:
        return _forgotten(order)
    charge = None
    if order.settled_cents:
        charge = f"RunAPI states a cost of ${order.settled_cents / 100:.2f}."
    elif order.task_id is None:
        charge = "Nothing was charged."
    # In private mode the history keeps no words, but what it has of the request says whether it was sent.
    usual = NEVER_SENT if order.request is None and order.task_id is None else "The task failed."
    message = words or order.error or usual
    remedy = None
    if message == NEVER_SENT:
        remedy = "Order it again if it is still wanted."
    elif order.task_id is None:
        # What RunAPI did not even accept need not be the fault of its words.
        remedy = f"Once that is mended, send it again: that is a new order. Id: {order.handle}."
    return TaskFailed(message, task_id=order.handle, charge=charge, remedy=remedy)


def _forgotten(order: Order) -> TaskForgotten:
    return TaskForgotten(task_id=order.task_id or order.id, estimated_cents=order.estimated_cents)


def _sources_in(body: Mapping[str, object]) -> Sequence[str]:
    """The addresses of the source images in the body of a create request."""
    return cast("Sequence[str]", body.get("source_image_urls", ()))


def _creating(order: Order) -> str:
    """The name of the background task that sends its create request."""
    return f"create {order.id}"


def _why_not_sent(order: Order) -> TaskFailed:
    """Why this call will not send an order; what kept another call from sending it need not keep this one from it."""
    return _failure_of(order, NEVER_SENT if order.request is None else "")


def _not_sent() -> Flux2Error:
    msg = "This order was not sent: not all of its source images were uploaded."
    return Flux2Error(msg, remedy=same_again("; it takes up this order."))


def _urls_and_files(order: Order) -> Iterator[tuple[str, Path | None]]:
    """Where each picture of the order is: its URL, and its file if it was saved."""
    saved = (Path(path) if path else None for path in order.paths)
    return ((url, next(saved, None)) for url in order.urls)


def _images_of(order: Order, *, wanted: bool) -> list[ResultImage]:
    return [ResultImage(url, path=path, wanted=wanted) for url, path in _urls_and_files(order)]


def _task_of(order: Order, task_id: str) -> Task:
    """The task as far as the history knows it: accepted."""
    dialect = cast("DialectName", order.dialect) if order.dialect in {"sdk", "v1"} else None
    action = cast("Action", order.action) if order.action else None
    return Task(id=task_id, status="processing", action=action, dialect=dialect)
