"""What a user can do: have pictures made, have pictures remixed, ask how a task is doing.

Each picture is an order in the history before anything is sent; what becomes of it from then on is in `fulfilment`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

import anyio

from flux2_mcp.budget import Agreement, Quote
from flux2_mcp.catalogue import Catalogue, Request
from flux2_mcp.errors import (
    HistoryUnusable,
    KeyRejected,
    NoSuchTask,
    NotFound,
    OutcomeUnknown,
    PictureUnavailable,
    RequestRefused,
    RunApiError,
    TaskFailed,
)
from flux2_mcp.history import RESUME_WITHIN, Arrival, Order, ids_in
from flux2_mcp.images import Picture, check_folder
from flux2_mcp.sources import Sources, checked_roots, lies_outside
from flux2_mcp.studio.deliveries import TIME_TO_READ, Deliveries
from flux2_mcp.studio.fulfilment import Fulfilment
from flux2_mcp.studio.jobs import Deadline, Job, Report, ResultImage, Stage, no_report
from flux2_mcp.studio.plan import Plan
from flux2_mcp.studio.services import Services

__all__ = [
    "DEFAULT_WAIT",
    "LONGEST_WAIT",
    "MOST_PICTURES",
    "Account",
    "Deliveries",
    "Job",
    "Plan",
    "Report",
    "ResultImage",
    "Studio",
    "no_report",
]

DEFAULT_WAIT = 45.0
"""Seconds; several hosts give up on a call after 60."""
LONGEST_WAIT = 600.0
MOST_PICTURES = 8
PATIENCE_FOR_PRICES = 1.0
"""Seconds that a call waits for RunAPI's price list before it goes by the last one known."""
PATIENCE_FOR_BALANCE = 4.0
"""Seconds."""


@dataclass(frozen=True)
class Account:
    """Money in US cents; None where there is no limit, or nobody says."""

    balance: int | None
    spent_today: int
    left_today: int | None
    per_call: int | None
    key_error: KeyRejected | None = None
    """Why nothing can be ordered with this key, where RunAPI says so."""


@dataclass(frozen=True, kw_only=True)
class Studio(Services):
    """What one owner can do with them."""

    catalogue: Catalogue
    deliveries: Deliveries
    came: float
    """When the call came, by the event loop's clock."""
    uncounted: frozenset[str] = frozenset()
    """The orders whose results this process had delivered when the call came, and the history had not counted."""
    is_here: bool = True
    """Whether the owner sits at this computer; else no file of it is read for them."""
    has_own_key: bool = True
    """Whether the key is the owner's; else others pay with it too, and only the history knows whose task is whose."""

    @cached_property
    def _fulfilment(self) -> Fulfilment:
        return Fulfilment(self)

    async def plan(
        self,
        request: Request,
        *,
        count: int = 1,
        wait: float = DEFAULT_WAIT,
        repeat: bool = False,
        save_to: str | None = None,
        client_roots: Sequence[str] = (),
        arrival: Arrival | None = None,
        began: float | None = None,
    ) -> Plan:
        """Check a call, read its sources and work out its price. Orders nothing.

        The call is for `count` pictures, and waits for them for at most `wait` seconds since it `began`, by the event
        loop's clock. `client_roots` are file: URIs of more folders that sources may come from. Without an `arrival` the
        call comes now.

        Raises:
            RequestRefused: RunAPI would refuse it, or a source or `save_to` cannot be used.
        """
        deadline = Deadline.after(wait, since=began)
        arrival = arrival or await self.arrival()
        request = self.catalogue.check(request)
        if save_to:
            await self._check_destination(save_to, writable=False)
        sources = await self._sources(client_roots)
        with deadline.once():
            opened = await sources.opened(request.source_image_urls)
        quote = await self.quote(request, count)
        plan = Plan(
            request=request,
            sources=sources,
            opened=opened,
            quote=quote,
            new=quote,
            arrival=arrival,
            repeat=repeat,
            save_to=save_to,
            wait=wait,
            webhooks=self.webhooks,
            deadline=deadline,
        )
        if save_to or (self.destinations.saves and not self.shows):
            try:
                await self._check_destination(save_to, writable=True)
            except RequestRefused:
                if (await self._new_of(plan)).count:
                    raise
                # It is paid for already, and comes with its address, and with why it is not saved.
        return replace(plan, new=await self._new_of(plan)) if self.budget.must_ask(quote) else plan

    async def _check_destination(self, save_to: str | None, *, writable: bool) -> None:
        def check() -> None:
            there = self.destinations.destination(save_to)
            if there and writable:
                check_folder(there.folder)

        try:
            await anyio.to_thread.run_sync(check)
        except RequestRefused as refusal:
            if self.is_here or not self.destinations.offered:
                raise
            # Where the folders of this computer are is no business of those who sit elsewhere.
            if not save_to:
                msg = "This server can save no pictures now."
                raise RequestRefused(msg, remedy="Tell whoever runs it.") from refusal
            msg = "save_to leads outside the folder for your pictures, or cannot be used."
            raise RequestRefused(msg, remedy="Give a relative path, or leave it out.") from refusal

    async def arrival(self) -> Arrival:
        """What had been delivered when this call came; to be asked before anything takes its time."""
        counted = await self.history.deliveries(self.owner)
        if anyio.current_time() >= self.came + TIME_TO_READ:
            # A result is counted so long after it was delivered: some of these may have come after the call.
            counted = 0
        return Arrival(counted, self.uncounted)

    async def renewed(self, plan: Plan) -> Plan:
        """The same plan at the prices of now, and with its whole wait ahead."""
        quote = await self.quote(plan.request, plan.quote.count)
        return replace(plan, quote=quote, deadline=Deadline.after(plan.wait))

    async def make(
        self,
        plan: Plan,
        *,
        max_cost_usd: float | None = None,
        agreed: Agreement | None = None,
        report: Report = no_report,
    ) -> list[Job]:
        """Order the pictures of this plan, side by side, and wait for them.

        Each picture has its own outcome in its own job; a failure of one is not raised. Nothing is ordered that costs
        more than was `agreed`.

        Raises:
            OverLimit: A limit is in the way.
            KeyRejected: A caller elsewhere brought a key that RunAPI does not know.
        """

        def check(new: int) -> None:
            self.budget.check(replace(plan.quote, count=new), most_usd=max_cost_usd, agreed=agreed)

        if self.has_own_key and not self.is_here and not self.runapi.was_asked:
            # Whoever invents a key writes nothing into the history.
            with anyio.move_on_after(PATIENCE_FOR_BALANCE):
                await self.background.run(f"key of {self.owner}", self.runapi.ask_for_key, matters=False)
        orders = await self.history.open_orders(
            plan.intents,
            owner=self.owner,
            resume_within=None if plan.repeat else RESUME_WITHIN,
            arrival=plan.arrival,
            check=check,
            daily_cap_cents=self.budget.limits.per_day,
        )
        jobs: list[Job] = []

        async def compose(uploaded: Sequence[str], /, *, stage: Stage) -> Mapping[str, object]:
            urls = uploaded or await plan.sources.readable_urls(plan.opened, report=stage)
            return replace(plan.request, source_image_urls=tuple(urls)).body

        for order, resumed in orders:
            jobs.append(Job(await self._redirected(order, plan.save_to), compose, ordered_before=resumed))
        await self._fulfilment.advance(jobs, plan.deadline, report)
        return jobs

    async def _redirected(self, order: Order, save_to: str | None) -> Order:
        """The order, to be saved where its caller says now, if they say."""
        if save_to and save_to != order.save_to:
            return await self.history.redirected(order, save_to=save_to)
        return order

    async def _new_of(self, plan: Plan) -> Quote:
        """The quote for those pictures that no earlier order stands for."""
        if plan.repeat:
            return plan.quote
        ordered = await self.history.resumable(
            plan.intents, owner=self.owner, resume_within=RESUME_WITHIN, arrival=plan.arrival
        )
        return replace(plan.quote, count=plan.quote.count - ordered)

    async def status(
        self,
        task_id: str,
        *,
        wait: float = DEFAULT_WAIT,
        save_to: str | None = None,
        report: Report = no_report,
    ) -> list[Job]:
        """Look at a task at least once, and wait for it for at most `wait` seconds. Orders nothing.

        The id may also be that of one call with all its pictures: see `history.handle_of`. What is not saved yet is
        saved where `save_to` says, if it is given.

        Raises:
            RequestRefused: `save_to` cannot be used.
            NoSuchTask: Neither the history nor RunAPI knows it.
            RunApiError: RunAPI could not be asked.
        """
        deadline = Deadline.after(wait)
        if save_to:
            await self._check_destination(save_to, writable=True)
        with deadline.once():
            jobs = [await self._job_of(id) for id in ids_in(task_id)[:MOST_PICTURES] or [task_id]]
        for job in jobs:
            if save_to and not await _is_saved(job.order):
                job.order = await self._redirected(job.order, save_to)
        await self._fulfilment.advance(jobs, deadline, report)
        return jobs

    def reads_elsewhere(self, given: Sequence[str]) -> bool:
        """Whether a local source lies, as it is written, outside the folders that may be read."""
        return self.is_here and any(
            lies_outside(text, home=self.destinations.home, roots=self.destinations.roots) for text in given
        )

    async def _sources(self, client_roots: Sequence[str]) -> Sources:
        roots: Sequence[Path] = self.destinations.roots if self.is_here else ()
        if client_roots and self.is_here:
            more = await anyio.to_thread.run_sync(checked_roots, self.destinations.home, None, None, client_roots)
            roots = tuple(dict.fromkeys((*roots, *more)))
        return Sources(
            owner=self.owner,
            runapi=self.runapi,
            uploads=self.uploads,
            earlier_picture=self.picture,
            home=self.destinations.home,
            roots=roots,
        )

    async def quote(self, request: Request, count: int) -> Quote:
        """What this checked request would cost, by current prices if RunAPI tells them within a second."""
        if not self.budget.prices.are_fresh:
            with anyio.move_on_after(PATIENCE_FOR_PRICES):
                await self.background.run(
                    f"prices of {self.runapi.connection.origin}", self.budget.prices.current, matters=False
                )
        return await self.budget.quote(request, count)

    async def estimate(self, request: Request, *, count: int) -> Quote:
        """What this checked request would cost, by current prices. Creates nothing."""
        await self.budget.prices.current()
        return await self.budget.quote(request, count)

    async def account(self) -> Account:
        """The money: RunAPI's balance, where it can be had, and what the owner's limits leave."""
        balance = key_error = None
        if self.runapi.has_key and self.has_own_key:
            try:
                with anyio.move_on_after(PATIENCE_FOR_BALANCE):
                    balance = (await self.runapi.balance()).balance_cents
            except KeyRejected as error:
                key_error = error
            except RunApiError:
                pass  # nobody says
        spent, limits = await self.budget.spent_today(), self.budget.limits
        return Account(
            balance=balance,
            spent_today=spent,
            left_today=None if limits.per_day is None else max(0, limits.per_day - spent),
            per_call=limits.per_call,
            key_error=key_error,
        )

    async def recover(self, *, before: datetime | None = None, patience: float = 0.0) -> list[Job]:
        """Look once at everything that is not finished, and keep what is done meanwhile.

        Pictures are waited for `patience` seconds; what is still being fetched then goes on in the background.

        What was finished, but neither saved nor delivered, is fetched as well. Nobody looks at what is fetched here,
        so what is to be saved nowhere is not fetched.
        Orders made since `before` are left to the calls that made them. Orders whose answer was lost stay in doubt:
        asking RunAPI again could order them now, when nobody waits for them. What was never sent is given up, and with
        it the money that was reserved for it.
        """
        left_open = await self.history.unfinished(self.owner)
        unseen = await self.history.unseen(self.owner)
        left_open += [order for order in unseen if self.destinations.saves or order.save_to]
        jobs = [Job(order, ordered_before=True) for order in left_open if before is None or order.created_at < before]
        await Fulfilment(replace(self, shows=False)).advance(jobs, Deadline.after(0, pictures=patience), no_report)
        return jobs

    async def peek(self, task_id: str) -> Job:
        """How a task is doing, from the history or after one look. Fetches no picture, and can order none.

        Raises:
            NoSuchTask: Neither the history nor RunAPI knows it.
            RunApiError: RunAPI could not be asked.
        """
        with Deadline.after(0).once():
            job = await self._job_of(task_id)
        if job.order.was_never_sent:
            return job
        try:
            await self._fulfilment.finish(job, Deadline.after(0), lambda: None)
        except (TaskFailed, OutcomeUnknown) as error:
            job.error = error.without_frames()
        return job

    async def picture(self, task_id: str, index: int) -> Picture:
        """One picture of a finished task, from disk or fetched again.

        Raises:
            NoSuchTask: Neither the history nor RunAPI knows the task, or it has no such picture.
            TaskFailed: It failed.
            PictureUnavailable: It cannot be fetched, or not yet.
        """
        job = await self.peek(task_id)
        if job.error:
            raise job.error
        if not job.is_made:
            msg = f"Task {job.id} is still being made."
            raise PictureUnavailable(msg, remedy=f"Call task_status with task_id='{job.id}' to wait for it.")
        if not 0 <= index < len(job.images):
            msg = f"Task {job.id} has {len(job.images)} picture(s), counted from 0."
            raise NoSuchTask(msg)
        found = await self._fulfilment.collected(job.order, whole=True)
        if isinstance(picture := found[index].picture, Picture):
            return picture
        raise found[index].error or PictureUnavailable("The picture could not be fetched.")

    def note_delivery(self, jobs: Sequence[Job]) -> None:
        """Note that the results of these jobs go to the host now."""
        self.deliveries.note(self.owner, jobs)

    async def _job_of(self, task_id: str) -> Job:
        """What the history knows of a task, or RunAPI."""
        try:
            if order := await self.history.find(self.owner, task_id):
                return Job(order, ordered_before=True)
        except HistoryUnusable as unusable:
            try:
                return await self._adopted(task_id)
            except NoSuchTask:
                raise unusable from None  # it may be an id of ours
        return await self._adopted(task_id)

    async def _adopted(self, task_id: str) -> Job:
        """A task that was made elsewhere with this key."""
        if not self.has_own_key:
            msg = f"This server knows no task {task_id[:140]!r} of yours."
            raise NoSuchTask(msg, remedy="Check the id; every result carries its own, and recent_tasks lists them.")
        try:
            task = await self.runapi.find(task_id)
        except NotFound as error:
            msg = f"Neither this server nor RunAPI knows a task {task_id[:140]!r} for this key."
            remedy = "Check the id; every result carries its own. RunAPI shows tasks only to the key that made them."
            raise NoSuchTask(msg, remedy=remedy) from error
        order = await self.history.adopt(
            owner=self.owner, task_id=task.id, action=task.action or "", dialect=task.dialect or ""
        )
        return Job(order, ordered_before=True, task=task)


async def _is_saved(order: Order) -> bool:
    """Whether a picture of this order still lies where it was saved."""
    with suppress(OSError):  # what cannot be looked at might as well not be there
        return any([path and await anyio.Path(path).is_file() for path in order.paths])
    return False
