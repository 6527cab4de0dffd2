"""Results as blocks that a model and a person can use."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent

from flux2_mcp.catalogue import catalogue
from flux2_mcp.errors import Flux2Error, PictureUnusable
from flux2_mcp.history import Order
from flux2_mcp.images import Picture, Preview
from flux2_mcp.studio import Piece, Shot

Facts = dict[str, object]

OUT_OF_SIGHT = "Files are inside this server's container; the person sees them only through a mounted folder."


def title_of(order: Order) -> str:
    """The model in words: "Flux 2 Pro"."""
    return catalogue().tier_of(order.model).title if order.model else "Flux 2"


def result_of(
    pieces: Sequence[Piece],
    previews: Sequence[Preview],
    *,
    structured: bool,
    out_of_sight: bool = False,
    warning: str = "",
) -> CallToolResult:
    """One call's result: words first, then the previews, then links to the originals.

    Structured content goes with what is unfinished in any case: there is no picture yet that it could displace.

    Raises:
        ToolError: No picture came of it, and none will.
    """
    if all(piece.error for piece in pieces):
        raise ToolError(_failures(pieces))
    blocks: list[ContentBlock] = [
        TextContent(text=text_of(pieces, shown=len(previews), out_of_sight=out_of_sight, warning=warning))
    ]
    blocks += [_block(preview) for preview in previews]
    blocks += [_link(piece, nth, shot) for piece in pieces for nth, shot in enumerate(piece.shots)]
    carries = structured or not previews
    facts = facts_of(pieces) | ({"note": OUT_OF_SIGHT} if out_of_sight else {})
    return CallToolResult(content=blocks, structured_content=_without_nothing(facts) if carries else None)


def picture_result(task_id: str, index: int, picture: Picture, preview: Preview) -> CallToolResult:
    """One picture again, for the model to look at."""
    text = (
        f"Picture {index} of task_id='{task_id}': {picture.width} × {picture.height} pixels, "
        f"shown here at {preview.width} × {preview.height}."
    )
    original = ResourceLink(
        name=f"{task_id}-{index}",
        uri=_address(task_id, index),
        mime_type=picture.media_type,
        size=len(picture.data),
    )
    return CallToolResult(content=[TextContent(text=text), _block(preview), original])


def text_of(pieces: Sequence[Piece], *, shown: int, out_of_sight: bool = False, warning: str = "") -> str:
    """What happened, what it cost, where everything is, what the person should know, and the next step."""
    if len(pieces) == 1:
        lines = _lines(pieces[0])
    else:
        lines = [_summary(pieces)]
        for number, piece in enumerate(pieces, 1):
            first, *rest = _lines(piece)
            lines += [f"{number}. {first}", *(f"   {line}" for line in rest if line)]
    lines.append(OUT_OF_SIGHT if out_of_sight else "")
    lines.append(warning)
    lines.append(_next_step(pieces) or _about_seeing(shown))
    return "\n".join(line for line in lines if line)


def facts_of(pieces: Sequence[Piece]) -> Facts:
    """The same as data, never with the bytes of a picture."""
    charged = _charged(pieces)
    facts: Facts = {
        "completed": all(piece.is_over for piece in pieces),
        "pictures": [_facts_of_piece(piece) for piece in pieces],
        "cost_usd": None if charged is None else charged / 100,
        "next_step": _next_step(pieces),
    }
    return _without_nothing(facts)


def dollars(cents: int | None) -> str:
    """US cents as people write them."""
    return "not stated" if cents is None else f"${cents / 100:.2f}"


def about_sharing(order: Order) -> str:
    """What is known of an order for which RunAPI named another order's task; empty for all others."""
    if not order.shared_with:
        return ""
    return (
        f"RunAPI named task {order.task_id} for order {order.id}, though it was order {order.shared_with}'s already. "
        "So both stand for one picture; no second one was made. RunAPI states its cost once, for the task: whether "
        "the second order was charged too is not known, and shows in the balance. task_status finds both orders by "
        "these ids."
    )


def _summary(pieces: Sequence[Piece]) -> str:
    made = sum(piece.is_made for piece in pieces)
    failed = sum(piece.is_lost for piece in pieces)
    going = len(pieces) - made - failed
    parts = [f"{made} of {len(pieces)} pictures are made"]
    parts += [f"{going} still to come"] if going else []
    parts += [f"{failed} failed"] if failed else []
    return f"{', '.join(parts)}; charged {dollars(_charged(pieces) or 0)} in all."


def _charged(pieces: Sequence[Piece]) -> int | None:
    """US cents that RunAPI states for these pieces together, each task once; None where it states nothing."""
    costs = {piece.order.task_id: piece.order.settled_cents for piece in pieces}
    known = [cents for cents in costs.values() if cents is not None]
    return sum(known) if known else None


def _lines(piece: Piece) -> list[str]:
    if piece.error:
        return [_failure(piece)]
    if not piece.is_made:
        return _unfinished_lines(piece)
    order = piece.order
    seconds = (order.finished_at - order.accepted_at).total_seconds() if order.finished_at and order.accepted_at else 0
    after = f" in {seconds:.0f} s" if seconds > 0 and not order.made_elsewhere else ""
    resumed = " (found again, not ordered anew)" if piece.is_repeat else ""
    lines = [f"{title_of(order)} made the picture{after}{resumed}."]
    for shot in piece.shots:
        lines += _shot_lines(piece, shot)
    return [*lines, f"{_handle(piece)} · cost: {_cost(order)}", about_sharing(order)]


def _unfinished_lines(piece: Piece) -> list[str]:
    order = piece.order
    if piece.task:
        state, doing = piece.task.word or piece.task.status, f"{title_of(order)} is still at work"
    else:
        state, doing = "not answered yet", "the order is on its way to RunAPI"
    lines = [f"The picture is not ready yet: {doing}. completed: false, status: {state}."]
    if piece.is_repeat:
        lines.append("This is the order that was placed before; nothing was ordered anew.")
    if piece.trouble:
        lines.append(f"The last look saw nothing: {piece.trouble.message}")
    return [*lines, f"{_handle(piece)} · expected cost: {dollars(order.estimated_cents)}", about_sharing(order)]


def _handle(piece: Piece) -> str:
    return f"task_id='{piece.id}' · model: {piece.order.model or 'not stated'}"


def _shot_lines(piece: Piece, shot: Shot) -> list[str]:
    lines: list[str] = []
    expires = piece.order.urls_expire_at
    if shot.path:
        lines.append(f"File: {shot.path}")
    until = f" (until {expires:%Y-%m-%d %H:%M} UTC)" if expires else ""
    lines.append(f"URL: {shot.url}{until}")
    if shot.picture:
        kind = shot.picture.media_type.removeprefix("image/").upper()
        lines.append(f"Size: {shot.picture.width} × {shot.picture.height} pixels, {kind}")
    if shot.trouble:
        lines.append(_trouble(piece.id, shot.picture, shot.trouble))
    elif shot.is_missing:
        lines.append("It is still being fetched; task_status shows it once it is here.")
    return lines


def _trouble(task_id: str, picture: Picture | None, trouble: Flux2Error) -> str:
    """Without the error's own word on money: this picture was paid for."""
    if isinstance(trouble, PictureUnusable):
        return f"{trouble.message} {trouble.remedy}"
    aim = "to save it once that is mended" if picture else "to fetch it again"
    return f"{trouble.message} Call task_status with task_id='{task_id}' {aim}; that is free."


def _cost(order: Order) -> str:
    if order.settled_cents is not None:
        return dollars(order.settled_cents)
    if order.estimated_cents is None:
        return "not stated"
    return f"about {dollars(order.estimated_cents)} (RunAPI has not stated it)"


def _next_step(pieces: Sequence[Piece]) -> str:
    going = [piece.id for piece in pieces if not piece.is_over]
    if not going:
        return ""
    calls = " and ".join(f"task_status with task_id='{task_id}'" for task_id in going)
    ordered = all(piece.is_over or piece.task for piece in pieces)
    how = "it is already ordered and is paid for once" if ordered else "it is being ordered, and is paid for once"
    return f"Call {calls} in a minute; do not generate again: {how}."


def _about_seeing(shown: int) -> str:
    if not shown:
        return "No preview is attached. Give the person the file and the URL, and do not describe the picture."
    attached = "A preview is" if shown == 1 else f"{shown} previews are"
    return f"{attached} attached. Do not describe what you cannot see; give the person the file and the URL."


def _failures(pieces: Sequence[Piece]) -> str:
    messages = list(dict.fromkeys(map(_failure, pieces)))
    if len(messages) == 1:
        return messages[0]
    return "\n".join(f"{number}. {message}" for number, message in enumerate(messages, 1))


def _failure(piece: Piece) -> str:
    return f"{piece.error} {about_sharing(piece.order)}".rstrip()


def _facts_of_piece(piece: Piece) -> Facts:
    order = piece.order
    status = "completed" if piece.is_made else "failed" if piece.is_lost else "unknown" if piece.error else "running"
    return _without_nothing(
        {
            "task_id": piece.id,
            "status": status,
            "model": order.model or None,
            "cost_usd": None if order.settled_cents is None else order.settled_cents / 100,
            "estimated_cost_usd": None if order.estimated_cents is None else order.estimated_cents / 100,
            "resumed": piece.is_repeat or None,
            "error": str(piece.error) if piece.error else None,
            "note": about_sharing(order),
            "images": [_facts_of_shot(piece, shot) for shot in piece.shots] or None,
        }
    )


def _facts_of_shot(piece: Piece, shot: Shot) -> Facts:
    expires = piece.order.urls_expire_at
    return _without_nothing(
        {
            "path": str(shot.path) if shot.path else None,
            "url": shot.url,
            "url_expires_at": expires.isoformat(timespec="seconds") if expires else None,
            "width": shot.picture.width if shot.picture else None,
            "height": shot.picture.height if shot.picture else None,
            "media_type": shot.picture.media_type if shot.picture else None,
            "note": _note(piece, shot),
        }
    )


def _note(piece: Piece, shot: Shot) -> str | None:
    if shot.trouble:
        return _trouble(piece.id, shot.picture, shot.trouble)
    return (
        None
        if shot.path or not shot.is_missing
        else f"Not fetched yet: task_status with task_id='{piece.id}' does; free."
    )


def _without_nothing(facts: Facts) -> Facts:
    return {name: value for name, value in facts.items() if value not in (None, "")}


def _block(preview: Preview) -> ImageContent:
    return ImageContent(data=base64.b64encode(preview.data).decode("ascii"), mime_type=preview.media_type)


def _address(task_id: str, index: int) -> str:
    return f"flux2://tasks/{task_id}/images/{index}"


def _link(piece: Piece, nth: int, shot: Shot) -> ResourceLink:
    return ResourceLink(
        name=shot.path.name if shot.path else f"{piece.id}-{nth}",
        uri=_address(piece.id, nth),
        mime_type=shot.picture.media_type if shot.picture else None,
        size=len(shot.picture.data) if shot.picture else None,
    )
