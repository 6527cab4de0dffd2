"""The orders in a database: each method is one transaction, blocking, and for one owner."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    and_,
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
from flux2_mcp.history.schema import EPOCH, MICROSECOND, empty_log, lock, orders, reading, writing

ORDER_FIELDS = tuple(field.name for field in fields(Order))
SEARCHED_WORDS = 20
SEARCHED_LETTERS = 200


class Queries:
    """What `History` does, for one database."""

    def __init__(self, engine: Engine, *, keeps_words: bool) -> None:
        self.engine = engine
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
        with writing(self.engine) as connection:
            lock(connection, owner)
            found = {} if resume_since is None else _resumed(connection, owner, intents, resume_since, arrival)
            new = {
                # A microsecond apart, so that the pictures of one call keep their order in `recent`.
                resume_key(intent): intended(intent, owner=owner, at=at + n * MICROSECOND)
                for n, intent in enumerate(intents)
                if resume_key(intent) not in found
            }
            if new:
                check(len(new))
                replaced = and_(orders.c.owner == owner, orders.c.resume_key.in_(new))
                connection.execute(update(orders).where(replaced).values(resume_key=None))
                connection.execute(insert(orders), [self._row(order) for order in new.values()])
            if cap and new:
                spent = _spent_cents(connection, owner, since=cap.day_start)
                _refuse_over(cap, spent=spent, new=list(new.values()))
            keys = [resume_key(intent) for intent in intents]
            return [(found[key], True) if key in found else (_order(self._row(new[key])), False) for key in keys]

    def resumable(self, owner: str, intents: Sequence[Intent], *, since: datetime, arrival: Arrival) -> int:
        with reading(self.engine) as connection:
            return len(_resumed(connection, owner, intents, since, arrival))

    def change(self, seen: Order, step: Callable[[Order], Order]) -> Order:
        """Apply a step to the order as it is now, which may be further on than the caller saw it."""
        with writing(self.engine) as connection:
            lock(connection, seen.owner)
            found = connection.execute(select(orders).where(_is(seen))).mappings().one_or_none()
            before = _order(found) if found else seen
            after = step(catch_up(before, seen=seen))
            if after.task_id != before.task_id:
                after = replace(after, shared_with=_first_with_task(connection, after))
            row = self._row(after) | {"resume_key": _resume_key_after(connection, before, after, found)}
            if not found:
                # Forgotten, or lost with its file, but a picture is paid for.
                connection.execute(insert(orders).values(row))
            elif any(row[name] != found[name] for name in row):
                connection.execute(update(orders).where(_is(seen)).values(row))
            return _order(row)

    def deliver(self, owner: str, ids: Sequence[str]) -> None:
        """Count one delivery, of these orders; what is shown again was delivered at the first time."""
        with writing(self.engine) as connection:
            lock(connection, owner)
            first = and_(orders.c.owner == owner, orders.c.id.in_(ids), orders.c.delivered.is_(False))
            number = _deliveries(connection, owner) + 1
            connection.execute(update(orders).where(first).values(delivered=True, delivery=number))

    def deliveries(self, owner: str) -> int:
        with reading(self.engine) as connection:
            return _deliveries(connection, owner)

    def find(self, owner: str, id: str) -> Order | None:
        with reading(self.engine) as connection:
            return _find(connection, owner, id)

    def adopt(self, order: Order) -> Order:
        with writing(self.engine) as connection:
            lock(connection, order.owner)
            known = _find(connection, order.owner, order.task_id or "")
            if known:
                return known

            row = self._row(order) | {"resume_key": None}
            connection.execute(insert(orders).values(row))
            return _order(row)

    def recent(self, owner: str, *, limit: int, states: Sequence[State], text: str, before: str | None) -> Page:
        newest_first = select(orders).where(orders.c.owner == owner).order_by(*_BY_AGE)
        if states:
            newest_first = newest_first.where(orders.c.state.in_(states))
        if before:
            newest_first = newest_first.where(tuple_(orders.c.created_at, orders.c.id) < _place(before))
        for word in _fold(text).split()[:SEARCHED_WORDS]:
            newest_first = newest_first.where(orders.c.words.contains(word[:SEARCHED_LETTERS], autoescape=True))
        with reading(self.engine) as connection:
            found = [_order(row) for row in connection.execute(newest_first.limit(limit + 1)).mappings()]
        return Page(tuple(found[:limit]), _cursor(found[limit - 1]) if len(found) > limit else None)

    def unfinished(self, owner: str) -> list[Order]:
        running = and_(orders.c.owner == owner, orders.c.state.in_(UNFINISHED))
        with reading(self.engine) as connection:
            rows = connection.execute(select(orders).where(running).order_by(orders.c.created_at, orders.c.id))
            return [_order(row) for row in rows.mappings()]

    def unseen(self, owner: str, *, at: datetime) -> list[Order]:
        made_here = and_(orders.c.owner == owner, orders.c.fingerprint != "", orders.c.state == "completed")
        nowhere = and_(orders.c.delivered.is_(False), orders.c.paths == [], orders.c.urls_expire_at > at)
        with reading(self.engine) as connection:
            rows = connection.execute(
                select(orders).where(made_here, nowhere).order_by(orders.c.created_at, orders.c.id)
            )
            return [_order(row) for row in rows.mappings()]

    def durations(self, owner: str, *, action: str, model: str, resolution: str | None, limit: int) -> list[timedelta]:
        alike = and_(
            orders.c.owner == owner,
            orders.c.action == action,
            orders.c.model == model,
            orders.c.resolution.is_not_distinct_from(resolution),
            orders.c.state == "completed",
            orders.c.accepted_at.is_not(None),
        )
        times = select(orders.c.accepted_at, orders.c.finished_at).where(alike).order_by(*_BY_AGE).limit(limit)
        with reading(self.engine) as connection:
            return [finished - accepted for accepted, finished in connection.execute(times)]

    def spent_cents(self, owner: str, *, since: datetime) -> int:
        with reading(self.engine) as connection:
            return _spent_cents(connection, owner, since=since)

    def forget(self, owner: str, *, before: datetime | None) -> int:
        doomed = orders.c.owner == owner
        if before is not None:
            doomed = and_(doomed, orders.c.created_at < before)
        with writing(self.engine) as connection:
            count = connection.execute(delete(orders).where(doomed)).rowcount
        empty_log(self.engine)
        return count

    def owners(self) -> dict[str, int]:
        counted = select(orders.c.owner, func.count()).group_by(orders.c.owner).order_by(orders.c.owner)
        with reading(self.engine) as connection:
            return {str(owner): int(count) for owner, count in connection.execute(counted)}

    def since(self, moment: datetime) -> list[dict[str, Any]]:
        """Give the rows of all owners that still matter: young ones, and those that are not over."""
        matters = or_(orders.c.created_at >= moment, orders.c.state.in_(UNFINISHED))
        with reading(self.engine) as connection:
            return [dict(row) for row in connection.execute(select(orders).where(matters)).mappings()]

    def take_in(self, rows: Sequence[dict[str, Any]]) -> None:
        with writing(self.engine) as connection:
            for row in rows:
                # Another process that lost the same file may have brought them already.
                connection.execute(_insert(connection, row).on_conflict_do_nothing())

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


_BY_AGE = (orders.c.created_at.desc(), orders.c.id.desc())


def _order(row: RowMapping | dict[str, Any]) -> Order:
    values: dict[str, Any] = {name: row[name] for name in ORDER_FIELDS}
    values["urls"], values["paths"] = tuple(values["urls"]), tuple(values["paths"])
    return Order(**values)


def _resume_key_after(connection: Connection, before: Order, after: Order, found: RowMapping | None) -> str | None:
    """Say whether the same request would still resume the order after it changed."""
    if after.made_elsewhere or after.state == "failed":
        return None
    if found and before.state != "failed":
        return found["resume_key"]
    if after.delivered:
        return None
    # It was given up, or its row is gone, and turns out to be alive: it is resumed again, unless a newer one is.
    same = and_(orders.c.owner == after.owner, orders.c.resume_key == resume_key(after))
    return None if connection.scalar(select(orders.c.id).where(same)) else resume_key(after)


def _resumed(
    connection: Connection, owner: str, intents: Sequence[Intent], since: datetime, arrival: Arrival
) -> dict[str, Order]:
    """The orders that these intents resume, by resume key."""
    held = and_(orders.c.owner == owner, orders.c.resume_key.in_([resume_key(intent) for intent in intents]))
    rows = connection.execute(select(orders).where(held)).mappings()
    return resumed({row["resume_key"]: _order(row) for row in rows}, since=since, arrival=arrival)


def _first_with_task(connection: Connection, order: Order) -> str | None:
    """The other order for which RunAPI has named this task, if there is one; what was only looked at is none."""
    same = and_(orders.c.owner == order.owner, orders.c.task_id == order.task_id, orders.c.shared_with.is_(None))
    others = and_(same, orders.c.id != order.id, orders.c.fingerprint != "")
    found: str | None = connection.scalar(select(orders.c.id).where(others).order_by(orders.c.created_at).limit(1))
    return found


def _deliveries(connection: Connection, owner: str) -> int:
    return connection.scalar(select(func.max(orders.c.delivery)).where(orders.c.owner == owner)) or 0


def _insert(connection: Connection, row: dict[str, Any]) -> sqlite.Insert | postgresql.Insert:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(orders).values(row)


def _is(order: Order) -> ColumnElement[bool]:
    return and_(orders.c.owner == order.owner, orders.c.id == order.id)


def _find(connection: Connection, owner: str, id: str) -> Order | None:
    name = _storable(id)
    named = and_(orders.c.owner == owner, or_(orders.c.id == name, orders.c.task_id == name))
    # A task that RunAPI has named for two orders is the first one's; the second is found by our id. Where somebody only
    # looked at it before its order was known, the order counts.
    rank = (orders.c.fingerprint == "", orders.c.shared_with.is_not(None))
    best_first = select(orders).where(named).order_by(*rank, *_BY_AGE)
    row = connection.execute(best_first.limit(1)).mappings().one_or_none()
    return _order(row) if row else None


def _spent_cents(connection: Connection, owner: str, *, since: datetime) -> int:
    # A failed task is free, except where RunAPI stated a cost all the same.
    cost = case(
        (orders.c.state == "failed", func.coalesce(orders.c.settled_cents, 0)),
        else_=func.coalesce(orders.c.settled_cents, orders.c.estimated_cents, 0),
    )
    ours = and_(orders.c.owner == owner, orders.c.created_at >= since, orders.c.fingerprint != "")
    return int(connection.scalar(select(func.coalesce(func.sum(cost), 0)).where(ours)) or 0)


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
