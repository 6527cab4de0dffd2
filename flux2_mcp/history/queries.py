"""The orders in a database: each method is a step of a transaction, blocking, and for one owner."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    Connection,
    RowMapping,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from flux2_mcp.errors import OverLimit, RequestRefused, Wording
from flux2_mcp.history.orders import (
    UNFINISHED,
    DailyCap,
    Intent,
    Order,
    Page,
    State,
    catch_up,
    intended,
)
from flux2_mcp.history.resuming import Arrival, resume_key, resumed
from flux2_mcp.history.schema import EPOCH, MICROSECOND, orders
from flux2_mcp.history.statements import Row, Statement

ORDER_FIELDS = tuple(field.name for field in fields(Order))
SEARCHED_WORDS = 20
SEARCHED_LETTERS = 200
BY_AGE = (orders.c.created_at.desc(), orders.c.id.desc())

THIS = and_(orders.c.owner == bindparam("of_owner"), orders.c.id == bindparam("of_id"))
"""The one order of these parameters."""
OF_OWNER = orders.c.owner == bindparam("of_owner")

ORDER = Statement(select(orders).where(THIS))
INSERT = Statement(insert(orders))
HOLDER = Statement(select(orders).where(OF_OWNER, orders.c.resume_key == bindparam("held")))
GIVE_WAY = Statement(update(orders).where(OF_OWNER, orders.c.resume_key == bindparam("held")).values(resume_key=None))
DELIVERIES = Statement(select(func.max(orders.c.delivery)).where(OF_OWNER))
DELIVER = Statement(
    update(orders).where(THIS, orders.c.delivered.is_(False)).values(delivered=True, delivery=bindparam("number"))
)
# A task that RunAPI has named for two orders is the first one's; the second is found by our id. Where somebody only
# looked at it before its order was known, the order counts.
BY_TASK = Statement(
    select(orders)
    .where(OF_OWNER, orders.c.task_id == bindparam("task"))
    .order_by(orders.c.fingerprint == "", orders.c.shared_with.is_not(None), *BY_AGE)
    .limit(1)
)
FIRST_WITH_TASK = Statement(
    select(orders.c.id)
    .where(
        OF_OWNER,
        orders.c.task_id == bindparam("task"),
        orders.c.shared_with.is_(None),
        orders.c.id != bindparam("but_id"),
        orders.c.fingerprint != "",
    )
    .order_by(orders.c.created_at)
    .limit(1)
)
# A failed task is free, except where RunAPI stated a cost all the same.
SPENT = Statement(
    select(
        func.coalesce(
            func.sum(
                case(
                    (orders.c.state == "failed", func.coalesce(orders.c.settled_cents, 0)),
                    else_=func.coalesce(orders.c.settled_cents, orders.c.estimated_cents, 0),
                )
            ),
            0,
        ).label("cents")
    ).where(OF_OWNER, orders.c.created_at >= bindparam("since"), orders.c.fingerprint != "")
)
DURATIONS = Statement(
    select(orders.c.accepted_at, orders.c.finished_at)
    .where(
        OF_OWNER,
        orders.c.action == bindparam("action"),
        orders.c.model == bindparam("model"),
        orders.c.resolution.is_not_distinct_from(bindparam("resolution")),
        orders.c.state == "completed",
        orders.c.accepted_at.is_not(None),
    )
    .order_by(*BY_AGE)
    .limit(bindparam("most"))
)


@cache
def _change_of(columns: tuple[str, ...]) -> Statement:
    """Change these columns of an order."""
    return Statement(update(orders).where(THIS).values({name: bindparam(name) for name in columns}))


class Queries:
    """What `History` does, within one transaction."""

    def __init__(self, connection: Connection, *, keeps_words: bool) -> None:
        self.connection = connection
        self._keeps_words = keeps_words

    def open_orders(
        self,
        owner: str,
        intents: Sequence[Intent],
        *,
        at: datetime,
        resume_since: datetime | None,
        arrival: Arrival,
        check: Callable[[int], None],
        cap: DailyCap | None,
    ) -> list[tuple[Order, bool]]:
        found = {} if resume_since is None else self._resumed(owner, intents, resume_since, arrival)
        new = {
            # A microsecond apart, so that the pictures of one call keep their order in `recent`.
            resume_key(intent): intended(intent, owner=owner, at=at + n * MICROSECOND)
            for n, intent in enumerate(intents)
            if resume_key(intent) not in found
        }
        if new:
            check(len(new))
            rows = [self._row(order) for order in new.values()]
            GIVE_WAY.run(self.connection, *({"of_owner": owner, "held": key} for key in new))
            INSERT.run(self.connection, *rows)
        if cap and new:
            _refuse_over(cap, spent=self.spent_cents(owner, since=cap.day_start), new=list(new.values()))
        keys = [resume_key(intent) for intent in intents]
        return [(found[key], True) if key in found else (_order(self._row(new[key])), False) for key in keys]

    def resumable(self, owner: str, intents: Sequence[Intent], *, since: datetime, arrival: Arrival) -> int:
        return len(self._resumed(owner, intents, since, arrival))

    def change(self, seen: Order, step: Callable[[Order], Order]) -> Order:
        """Apply a step to the order as it is now, which may be further on than the caller saw it."""
        found = ORDER.first(self.connection, of_owner=seen.owner, of_id=seen.id)
        before = _order(found) if found else seen
        after = step(catch_up(before, seen=seen))
        if after.task_id != before.task_id:
            after = replace(after, shared_with=self._first_with_task(after))
        row = self._row(after) | {"resume_key": self._resume_key_after(before, after, found)}
        if not found:
            # Forgotten, or lost with its file, but a picture is paid for.
            INSERT.run(self.connection, row)
        elif news := {name: value for name, value in row.items() if value != found[name]}:
            _change_of(tuple(news)).run(self.connection, {"of_owner": seen.owner, "of_id": seen.id, **news})
        return _order(row)

    def deliver(self, owner: str, ids: Sequence[str]) -> None:
        """Count one delivery, of these orders; what is shown again was delivered at the first time."""
        number = self.deliveries(owner) + 1
        DELIVER.run(self.connection, *({"of_owner": owner, "of_id": id, "number": number} for id in ids))

    def deliveries(self, owner: str) -> int:
        return DELIVERIES.scalar(self.connection, of_owner=owner) or 0

    def find(self, owner: str, id: str) -> Order | None:
        name = _storable(id)
        # Not in one statement: SQLite would go through all orders of the owner for it.
        row = ORDER.first(self.connection, of_owner=owner, of_id=name) or BY_TASK.first(
            self.connection, of_owner=owner, task=name
        )
        return _order(row) if row else None

    def adopt(self, order: Order) -> Order:
        if known := self.find(order.owner, order.task_id or ""):
            return known

        row = self._row(order) | {"resume_key": None}
        INSERT.run(self.connection, row)
        return _order(row)

    def recent(self, owner: str, *, limit: int, states: Sequence[State], text: str, before: str | None) -> Page:
        newest_first = select(orders).where(orders.c.owner == owner).order_by(*BY_AGE)
        if states:
            newest_first = newest_first.where(orders.c.state.in_(states))
        if before:
            newest_first = newest_first.where(tuple_(orders.c.created_at, orders.c.id) < _place(before))
        for word in _fold(text).split()[:SEARCHED_WORDS]:
            newest_first = newest_first.where(orders.c.words.contains(word[:SEARCHED_LETTERS], autoescape=True))
        found = [_order(row) for row in self.connection.execute(newest_first.limit(limit + 1)).mappings()]
        return Page(tuple(found[:limit]), _cursor(found[limit - 1]) if len(found) > limit else None)

    def unfinished(self, owner: str) -> list[Order]:
        running = and_(orders.c.owner == owner, orders.c.state.in_(UNFINISHED))
        rows = self.connection.execute(select(orders).where(running).order_by(orders.c.created_at, orders.c.id))
        return [_order(row) for row in rows.mappings()]

    def unseen(self, owner: str, *, at: datetime) -> list[Order]:
        made_here = and_(orders.c.owner == owner, orders.c.fingerprint != "", orders.c.state == "completed")
        nowhere = and_(orders.c.delivered.is_(False), orders.c.paths == [], orders.c.urls_expire_at > at)
        oldest_first = select(orders).where(made_here, nowhere).order_by(orders.c.created_at, orders.c.id)
        return [_order(row) for row in self.connection.execute(oldest_first).mappings()]

    def durations(self, owner: str, *, action: str, model: str, resolution: str | None, limit: int) -> list[timedelta]:
        alike = {"action": action, "model": model, "resolution": resolution}
        rows = DURATIONS.rows(self.connection, of_owner=owner, **alike, most=limit)
        return [row["finished_at"] - row["accepted_at"] for row in rows]

    def spent_cents(self, owner: str, *, since: datetime) -> int:
        return int(SPENT.scalar(self.connection, of_owner=owner, since=since) or 0)

    def forget(self, owner: str, *, before: datetime | None) -> int:
        doomed = orders.c.owner == owner
        if before is not None:
            doomed = and_(doomed, orders.c.created_at < before)
        return self.connection.execute(delete(orders).where(doomed)).rowcount

    def forget_one(self, owner: str, id: str) -> int:
        """Delete an order that is over; what still runs is paid for, and its picture has to be fetched."""
        order = self.find(owner, id)
        if order is None or not order.is_over:
            return 0
        doomed = and_(orders.c.owner == owner, orders.c.id == order.id)
        return self.connection.execute(delete(orders).where(doomed)).rowcount

    def owners(self) -> dict[str, int]:
        counted = select(orders.c.owner, func.count()).group_by(orders.c.owner).order_by(orders.c.owner)
        return {str(owner): int(count) for owner, count in self.connection.execute(counted)}

    def since(self, moment: datetime) -> list[dict[str, Any]]:
        """Give the rows of all owners that still matter: young ones, and those that are not over."""
        matters = or_(orders.c.created_at >= moment, orders.c.state.in_(UNFINISHED))
        return [dict(row) for row in self.connection.execute(select(orders).where(matters)).mappings()]

    def take_in(self, rows: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            # Another process that lost the same file may have brought them already.
            self.connection.execute(_insert(self.connection, row).on_conflict_do_nothing())

    def _row(self, order: Order) -> dict[str, Any]:
        kept = order if self._keeps_words else replace(order, request=_sources(order), prompt="", error=None)
        row = {name: getattr(kept, name) for name in ORDER_FIELDS}
        return row | {
            "resume_key": resume_key(order),
            "request": None if kept.request is None else dict(kept.request),
            "prompt": _storable(kept.prompt),
            "words": _fold(kept.prompt),
            "error": None if kept.error is None else _storable(kept.error),
            "urls": list(order.urls),
            "paths": list(order.paths),
        }

    def _resumed(self, owner: str, intents: Sequence[Intent], since: datetime, arrival: Arrival) -> dict[str, Order]:
        """The orders that these intents resume, by resume key."""
        keys = {resume_key(intent) for intent in intents}
        rows = {key: HOLDER.first(self.connection, of_owner=owner, held=key) for key in keys}
        return resumed({key: _order(row) for key, row in rows.items() if row}, since=since, arrival=arrival)

    def _resume_key_after(self, before: Order, after: Order, found: Row | None) -> str | None:
        """Say whether the same request would still resume the order after it changed."""
        if after.made_elsewhere or after.state == "failed":
            return None
        if found and before.state != "failed":
            return found["resume_key"]
        if after.delivered:
            return None
        # It was given up, or its row is gone, and turns out to be alive: it is resumed again, unless a newer one is.
        key = resume_key(after)
        return None if HOLDER.first(self.connection, of_owner=after.owner, held=key) else key

    def _first_with_task(self, order: Order) -> str | None:
        """The other order for which RunAPI has named this task, if there is one; what was only looked at is none."""
        found: str | None = FIRST_WITH_TASK.scalar(
            self.connection, of_owner=order.owner, task=order.task_id, but_id=order.id
        )
        return found


def _order(row: RowMapping | Row) -> Order:
    values: dict[str, Any] = {name: row[name] for name in ORDER_FIELDS}
    values["urls"], values["paths"] = tuple(values["urls"]), tuple(values["paths"])
    return Order(**values)


def _insert(connection: Connection, row: dict[str, Any]) -> sqlite.Insert | postgresql.Insert:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(orders).values(row)


def _refuse_over(cap: DailyCap, *, spent: int, new: Sequence[Order]) -> None:
    if spent <= cap.cents:
        return

    asked = sum(order.estimated_cents or 0 for order in new)
    message = (
        f"This would cost ${asked / 100:.2f}, and ${(spent - asked) / 100:.2f} of today's limit of "
        f"${cap.cents / 100:.2f} is already spent or reserved."
    )
    remedy = Wording(
        "Wait until tomorrow, or ask the user to raise the daily limit.",
        "Wait until tomorrow, or raise FLUX2_DAILY_BUDGET.",
    )
    raise OverLimit(message, remedy=remedy)


def _sources(order: Order) -> Mapping[str, object] | None:
    """Where RunAPI finds the sources of this order, once that is known: the same key must come with the same body.

    What was known stays known: an order without a request was never sent.
    """
    return None if order.request is None else {"source_image_urls": order.request.get("source_image_urls", [])}


def _cursor(order: Order) -> str:
    return f"{(order.created_at - EPOCH) // MICROSECOND}.{order.id}"


def _place(cursor: str) -> tuple[datetime, str]:
    time, _, id = cursor.partition(".")
    try:
        return EPOCH + int(time) * MICROSECOND, _storable(id)
    except (ValueError, OverflowError) as error:
        message = "That cursor is not one that recent_tasks gave."
        raise RequestRefused(message, charge="", remedy="Leave it out to begin with the newest.") from error


def _storable(text: str) -> str:
    """Leave out what a text column cannot hold: half surrogates, and on PostgreSQL NUL."""
    return text.encode(errors="replace").decode().replace("\0", "")


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", _storable(text)).casefold()
