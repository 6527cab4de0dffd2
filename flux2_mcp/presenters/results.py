"""Results in words and as data, for models and people."""

from __future__ import annotations

from collections.abc import Sequence

from flux2_mcp.catalogue import Catalogue
from flux2_mcp.errors import Flux2Error, OutcomeUnknown, PictureUnusable
from flux2_mcp.history import Order
from flux2_mcp.images import Picture, PictureInfo
from flux2_mcp.invocation import command
from flux2_mcp.studio import Job, ResultImage

Facts = dict[str, object]

OUT_OF_SIGHT = (
    "Files are inside this server's container or its volume; the person sees them only through a mounted folder."
)


def text_of(jobs: Sequence[Job], *, known: Catalogue, shown: int, out_of_sight: bool, warning: str) -> str:
    """What happened, what it cost, where everything is, what the person should know, and the next step."""
    if len(jobs) == 1:
        lines = _lines(jobs[0], known)
    else:
        lines = [_summary(jobs)]
        for number, job in enumerate(jobs, 1):
            first, *rest = _lines(job, known)
            lines += [f"{number}. {first}", *(f"   {line}" for line in rest if line)]
    lines.append(OUT_OF_SIGHT if out_of_sight else "")
    lines.append(warning)
    lines.append(_next_step(jobs) or _about_seeing(shown))
    return "\n".join(line for line in lines if line)


def facts_of(jobs: Sequence[Job], *, typed: bool = False) -> Facts:
    """The same as data, never with the bytes of a picture; what is `typed` in a terminal has its own next step."""
    charged = _charged(jobs)
    facts: Facts = {
        "completed": all(job.is_over for job in jobs),
        "pictures": [_facts_of_job(job, typed=typed) for job in jobs],
        "cost_usd": None if charged is None else charged / 100,
        "next_step": None if typed else _next_step(jobs),
    }
    return _without_nothing(facts)


def dollars(cents: int | None) -> str:
    """US cents as people write them."""
    return "not stated" if cents is None else f"${cents / 100:.2f}"


def about_sharing(order: Order, *, typed: bool = False) -> str:
    """What is known of an order for which RunAPI named another order's task; empty for all others."""
    if not order.shared_with:
        return ""
    status = f"`{command('status ID')}`" if typed else "task_status"
    return (
        f"RunAPI named task {order.task_id} for order {order.id}, though it was order {order.shared_with}'s already. "
        "So both stand for one picture; no second one was made. RunAPI states its cost once, for the task: whether "
        "the second order was charged too is not known, and shows in the balance. "
        f"{status} finds both orders by these ids."
    )


def _summary(jobs: Sequence[Job]) -> str:
    made = sum(job.is_made for job in jobs)
    failed = sum(job.is_lost for job in jobs)
    going = len(jobs) - made - failed
    parts = [f"{made} of {len(jobs)} pictures are made"]
    parts += [f"{going} still to come"] if going else []
    parts += [f"{failed} failed"] if failed else []
    return f"{', '.join(parts)}; {_charge(jobs)}."


def _charge(jobs: Sequence[Job]) -> str:
    charged = _charged(jobs)
    if all(job.order.task_id in _costs(jobs) for job in jobs if job.is_made):
        return f"charged {dollars(charged or 0)} in all"
    return "RunAPI has not stated the cost" + (f" of all; {dollars(charged)} so far" if charged is not None else "")


def _charged(jobs: Sequence[Job]) -> int | None:
    """US cents that RunAPI states for these jobs together, each task once; None where it states nothing."""
    costs = _costs(jobs)
    return sum(costs.values()) if costs else None


def _costs(jobs: Sequence[Job]) -> dict[str | None, int]:
    """US cents by task, of those whose cost RunAPI has stated."""
    return {job.order.task_id: job.order.settled_cents for job in jobs if job.order.settled_cents is not None}


def _lines(job: Job, known: Catalogue) -> list[str]:
    if job.error:
        return [_failure(job)]
    if not job.is_made:
        return _unfinished_lines(job, known)
    order = job.order
    seconds = (order.finished_at - order.accepted_at).total_seconds() if order.finished_at and order.accepted_at else 0
    after = f" in {seconds:.0f} s" if seconds > 0 and not order.made_elsewhere else ""
    resumed = " (found again, not ordered anew)" if job.is_resumed else ""
    lines = [f"{known.title_of(order.model)} made the picture{after}{resumed}."]
    for image in job.images:
        lines += _image_lines(job, image)
    return [*lines, f"{_handle(job)} · cost: {_cost(order)}", about_sharing(order)]


def _unfinished_lines(job: Job, known: Catalogue) -> list[str]:
    order = job.order
    if job.task:
        state, doing = job.task.word or job.task.status, f"{known.title_of(order.model)} is still at work"
    else:
        state, doing = "not answered yet", "the order is on its way to RunAPI"
    lines = [f"The picture is not ready yet: {doing}. completed: false, status: {state}."]
    if job.is_resumed:
        lines.append("This was ordered before; nothing was ordered anew.")
    if job.poll_error:
        lines.append(f"The last look saw nothing: {job.poll_error.message}")
    return [*lines, f"{_handle(job)} · expected cost: {dollars(order.estimated_cents)}", about_sharing(order)]


def _handle(job: Job) -> str:
    return f"task_id='{job.id}' · model: {job.order.model or 'not stated'}"


def _image_lines(job: Job, image: ResultImage) -> list[str]:
    lines: list[str] = []
    expires = job.order.urls_expire_at
    if image.path:
        lines.append(f"File: {image.path}")
    until = f" (until {expires:%Y-%m-%d %H:%M} UTC)" if expires else ""
    lines.append(f"URL: {image.url}{until}")
    if image.picture:
        kind = image.picture.media_type.removeprefix("image/").upper()
        lines.append(f"Size: {image.picture.width} × {image.picture.height} pixels, {kind}")
    if image.error:
        lines.append(_image_error(job.id, image.picture, image.error, typed=False))
    elif image.is_missing:
        lines.append("It is still being fetched; task_status shows it once it is here.")
    return lines


def _image_error(task_id: str, picture: Picture | PictureInfo | None, error: Flux2Error, *, typed: bool) -> str:
    """Without the error's own word on money: this picture was paid for."""
    message, remedy = (error.typed_message, error.typed_remedy) if typed else (error.message, error.remedy)
    if isinstance(error, PictureUnusable):
        return f"{message} {remedy}"
    look = f"Run `{command(f'status {task_id}')}`" if typed else f"Call task_status with task_id='{task_id}'"
    elsewhere = ", or with --save-to PATH to save it elsewhere" if typed else ""
    aim = f"to save it once that is fixed{elsewhere}" if picture else "to fetch it again"
    return f"{message} {look} {aim}; that is free."


def _cost(order: Order) -> str:
    if order.settled_cents is not None:
        return dollars(order.settled_cents)
    if order.estimated_cents is None:
        return "not stated"
    return f"about {dollars(order.estimated_cents)} (RunAPI has not stated it)"


def _next_step(jobs: Sequence[Job]) -> str:
    for job in jobs:
        if isinstance(job.error, OutcomeUnknown):
            return job.error.remedy  # the same call takes up all its pictures
    going = [job.id for job in jobs if not job.is_over]
    if not going:
        return ""
    calls = " and ".join(f"task_status with task_id='{task_id}'" for task_id in going)
    ordered = all(job.is_over or job.task for job in jobs)
    how = "it is already ordered and is paid for once" if ordered else "it is being ordered, and is paid for once"
    return f"Call {calls} in a minute; do not generate again: {how}."


def _about_seeing(shown: int) -> str:
    if not shown:
        return "No preview is attached. Give the person the file and the URL, and do not describe the picture."
    attached = "A preview is" if shown == 1 else f"{shown} previews are"
    return f"{attached} attached. Do not describe what you cannot see; give the person the file and the URL."


def failures_of(jobs: Sequence[Job]) -> str:
    messages = list(dict.fromkeys(map(_failure, jobs)))
    if len(messages) == 1:
        return messages[0]
    return "\n".join(f"{number}. {message}" for number, message in enumerate(messages, 1))


def _failure(job: Job) -> str:
    return f"{job.error} {about_sharing(job.order)}".rstrip()


def _facts_of_job(job: Job, *, typed: bool) -> Facts:
    order = job.order
    status = "completed" if job.is_made else "failed" if job.is_lost else "unknown" if job.error else "running"
    return _without_nothing(
        {
            "task_id": job.id,
            "status": status,
            "model": order.model or None,
            "cost_usd": None if order.settled_cents is None else order.settled_cents / 100,
            "estimated_cost_usd": None if order.estimated_cents is None else order.estimated_cents / 100,
            "resumed": job.is_resumed or None,
            "error": (job.error.typed if typed else str(job.error)) if job.error else None,
            "note": about_sharing(order, typed=typed),
            "images": [_facts_of_image(job, image, typed=typed) for image in job.images] or None,
        }
    )


def _facts_of_image(job: Job, image: ResultImage, *, typed: bool) -> Facts:
    expires = job.order.urls_expire_at
    return _without_nothing(
        {
            "path": str(image.path) if image.path else None,
            "url": image.url,
            "url_expires_at": expires.isoformat(timespec="seconds") if expires else None,
            "width": image.picture.width if image.picture else None,
            "height": image.picture.height if image.picture else None,
            "media_type": image.picture.media_type if image.picture else None,
            "note": about_image(job, image, typed=typed),
        }
    )


def about_image(job: Job, image: ResultImage, *, typed: bool) -> str | None:
    """Why its bytes are not here, or not saved, and how to have them; None when there is nothing to say."""
    if image.error:
        return _image_error(job.id, image.picture, image.error, typed=typed)
    if image.path or not image.is_missing:
        return None
    look = f"`{command(f'status {job.id}')}`" if typed else f"task_status with task_id='{job.id}'"
    return f"Not fetched yet: {look} does; free."


def _without_nothing(facts: Facts) -> Facts:
    return {name: value for name, value in facts.items() if value not in (None, "")}
