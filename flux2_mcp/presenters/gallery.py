"""What the gallery's page is told: pictures as cards, the account, and what can be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from flux2_mcp.catalogue import TOOLS, Catalogue
from flux2_mcp.history import Order, State
from flux2_mcp.presenters.account import STATES, Money, in_dollars, money
from flux2_mcp.presenters.progress import words_for
from flux2_mcp.studio import Account, Job, ResultImage, Studio

UPLOADS_LAST = timedelta(minutes=50)
"""RunAPI keeps a source that was uploaded for an hour; an order has to get there in time."""

Ability = Literal["open", "forget"]
"""What a server can do with a picture besides showing it."""


class CardImage(BaseModel):
    """One image of a picture, and where it is."""

    uri: str
    path: str | None = None
    url: str | None = None
    url_expires_at: datetime | None = None
    width: int | None = None
    height: int | None = None


class Again(BaseModel):
    """The call that asks for such a picture once more."""

    tool: str
    arguments: dict[str, Any]


class Card(BaseModel):
    """One picture that was asked for, as the page shows it."""

    task_id: str
    status: Literal["running", "completed", "failed", "unknown"]
    tool: str | None = None
    model: str
    title: str
    prompt: str
    asked_at: datetime
    seconds: float | None = None
    """How long it took."""
    cost_usd: float | None = None
    estimated_cost_usd: float | None = None
    error: str | None = None
    images: list[CardImage] = []
    again: Again | None = None
    doing: str | None = None
    """What is done for it now, in words."""
    running_seconds: float | None = None
    expected_seconds: float | None = None


class Cards(BaseModel):
    """Some pictures, newest first."""

    cards: list[Card]
    next_cursor: str | None = None
    note: str | None = None


class ModelChoice(BaseModel):
    """What one model can be asked for."""

    name: str
    title: str
    aspect_ratios: list[str]
    remix_aspect_ratios: list[str]
    resolutions: list[str]
    most_sources: int


class GalleryAccount(Money):
    """The account, what can be ordered, and what this server does besides."""

    models: list[ModelChoice]
    can: list[Ability]


async def cards(
    studio: Studio, *, limit: int, states: tuple[State, ...] = (), text: str = "", cursor: str = ""
) -> Cards:
    """One page of this owner's pictures."""
    page = await studio.history.recent(studio.owner, limit=limit, states=states, text=text, before=cursor or None)
    note = studio.history.degraded or studio.history.note
    return Cards(cards=[card(studio, order) for order in page.orders], next_cursor=page.cursor, note=note or None)


def card_of(studio: Studio, job: Job) -> Card:
    """The card of a picture that was just looked at."""
    known = card(studio, job.order, job.images)
    news: dict[str, object] = {}
    if job.error and not job.is_made:
        news = {"status": "failed" if job.is_lost else "unknown", "error": str(job.error)}
    elif not job.is_over:
        news = {"doing": words_for([job], studio.catalogue), "expected_seconds": job.expected_seconds}
    elif unfetched := next((image.error for image in job.images if image.error), None):
        news = {"error": unfetched.message}
    return known.model_copy(update=news)


def card(studio: Studio, order: Order, found: Sequence[ResultImage] = ()) -> Card:
    """The card of an order, with what else is known of its images."""
    now = studio.history.now()
    took = order.finished_at - order.accepted_at if order.finished_at and order.accepted_at else None
    is_running = order.state in STATES["running"]
    return Card(
        task_id=order.handle,
        status=_status(order),
        tool=_tool(order),
        model=order.model,
        title=studio.catalogue.title_of(order.model),
        prompt=order.prompt,
        asked_at=order.created_at,
        seconds=None if took is None or order.made_elsewhere else round(took.total_seconds(), 1),
        cost_usd=in_dollars(order.settled_cents),
        estimated_cost_usd=in_dollars(order.estimated_cents),
        error=order.error,
        images=[
            _image(studio, order, nth, found[nth] if nth < len(found) else None, now=now)
            for nth in range(len(order.urls))
        ],
        again=_again(studio.catalogue, order, now=now),
        running_seconds=round((now - order.created_at).total_seconds(), 1) if is_running else None,
    )


def about_account(known: Catalogue, account: Account, can: Sequence[Ability]) -> GalleryAccount:
    """The account, and all models."""
    return GalleryAccount(
        **money(account).model_dump(),
        models=[
            ModelChoice(
                name=model.name,
                title=model.title,
                aspect_ratios=list(model.ratios("text_to_image")),
                remix_aspect_ratios=list(model.ratios("remix_image")),
                resolutions=list(model.resolutions),
                most_sources=model.most_sources,
            )
            for model in known.models
        ],
        can=list(can),
    )


def _tool(order: Order) -> str | None:
    return next((tool for action, tool in TOOLS.items() if action == order.action), None)


def _status(order: Order) -> Literal["running", "completed", "failed", "unknown"]:
    if order.state in {"completed", "failed"}:
        return "completed" if order.state == "completed" else "failed"
    return "unknown" if order.state == "unknown" else "running"


def _image(studio: Studio, order: Order, nth: int, found: ResultImage | None, *, now: datetime) -> CardImage:
    saved = found.path if found else None
    path = str(saved) if saved else order.paths[nth] if nth < len(order.paths) else ""
    lives = order.urls_expire_at is None or now < order.urls_expire_at
    picture = found.picture if found else None
    return CardImage(
        uri=f"flux2://tasks/{order.handle}/images/{nth}",
        path=path if path and _is_in_sight(studio, path) else None,
        url=(found.url if found else order.urls[nth]) if lives else None,
        url_expires_at=order.urls_expire_at if lives else None,
        width=picture.width if picture else None,
        height=picture.height if picture else None,
    )


def _is_in_sight(studio: Studio, path: str) -> bool:
    return studio.is_here and not studio.destinations.hides(Path(path))


def _again(known: Catalogue, order: Order, *, now: datetime) -> Again | None:
    """The same once more, as long as RunAPI has its sources, and where the history has kept its words.

    Not of what is in doubt: this call is another one than that which finds it.
    """
    if order.state == "unknown":
        return None
    model, request = known.named(order.model), order.request
    tool = _tool(order)
    if model is None or request is None or tool is None or not order.prompt:
        return None
    sources = request.get("source_image_urls")
    if sources and now - order.created_at > UPLOADS_LAST:
        return None
    kept = ("aspect_ratio", "output_resolution", "enable_safety_checker", "source_image_urls")
    given = {name: request[name] for name in kept if request.get(name) is not None}
    return Again(tool=tool, arguments={"prompt": order.prompt, "model": model.name, **given})
