"""The tools that only the gallery's page calls; see `apps`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field

from flux2_mcp.errors import Flux2Error, NoSuchTask, PictureUnavailable
from flux2_mcp.images import is_picture_file
from flux2_mcp.presenters.gallery import Ability, Cards, GalleryAccount, about_account, card_of, cards
from flux2_mcp.server.account_tools import Cursor, StatusFilter, Words, states_of
from flux2_mcp.server.apps import OF_PAGE
from flux2_mcp.server.arguments import AnyStudio, Ctx, Index, TaskId
from flux2_mcp.server.progress import ProgressLine
from flux2_mcp.server.strict import StrictTool

LONGEST_LOOK = 30.0
"""Seconds."""

Size = Annotated[int, Field(ge=1, le=50)]
Look = Annotated[float, Field(ge=0, le=LONGEST_LOOK)]
InFolder = Annotated[bool, Field(description="Show it in its folder instead.")]


class Opened(BaseModel):
    """What was opened."""

    path: str


class Forgotten(BaseModel):
    """How many pictures were taken out of the history."""

    forgotten: int


def gallery_tools(can: Sequence[Ability]) -> list[StrictTool]:
    """All of them, for a server that can do this with a picture besides."""

    async def gallery_account(studio: AnyStudio) -> GalleryAccount:
        """The account and the models for the gallery; free."""
        return about_account(studio.catalogue, await studio.account(), can)

    looks, changes = ToolAnnotations(read_only_hint=True), ToolAnnotations(read_only_hint=False)
    of_page = partial(StrictTool.of, meta=OF_PAGE)
    return [
        of_page(gallery_search, title="Search the gallery", annotations=looks),
        of_page(gallery_task, title="Follow a picture", annotations=looks),
        of_page(gallery_account, title="Account", annotations=looks),
        *([of_page(gallery_open, title="Open the file", annotations=looks)] if "open" in can else []),
        *([of_page(gallery_forget, title="Forget a picture", annotations=changes)] if "forget" in can else []),
    ]


async def gallery_search(
    studio: AnyStudio, text: Words = "", status: StatusFilter = "", cursor: Cursor = "", limit: Size = 24
) -> Cards:
    """Pictures for the gallery, newest first; free."""
    return await cards(studio, limit=limit, states=states_of(status), text=text, cursor=cursor)


async def gallery_task(ctx: Ctx, studio: AnyStudio, task_id: TaskId, wait_seconds: Look = 0) -> Cards:
    """One picture for the gallery, after a look at its task; free."""
    async with ProgressLine(ctx, studio).moving() as report:
        # No bytes are needed here: the page asks for the pictures it shows.
        jobs = await replace(studio, shows=False).status(task_id.strip(), wait=wait_seconds, report=report)
    return Cards(cards=[card_of(studio, job) for job in jobs])


async def gallery_open(
    ctx: Ctx,
    studio: AnyStudio,
    task_id: TaskId,
    index: Index = 0,
    in_folder: InFolder = False,  # noqa: FBT002 a tool's signature is its schema
) -> Opened:
    """Open a picture's file on the person's computer; free."""
    order = await studio.history.find(studio.owner, task_id.strip())
    path = order.paths[index] if order and index < len(order.paths) else ""
    if not path or not await anyio.to_thread.run_sync(is_picture_file, path):
        msg = f"The picture is not there any more: {path}" if path else "This picture has no file on this computer."
        raise PictureUnavailable(msg, remedy="Look at the picture again: that fetches it while RunAPI still has it.")
    open_file = ctx.request_context.lifespan_context.environment.open_file
    if not await anyio.to_thread.run_sync(open_file, Path(path), "folder" if in_folder else "file"):
        msg = "There is no desktop here that could open the file."
        raise PictureUnavailable(msg, remedy=f"It is at {path}")
    return Opened(path=path)


async def gallery_forget(studio: AnyStudio, task_id: TaskId) -> Forgotten:
    """Take a picture out of the history; its file stays."""
    order = await studio.history.find(studio.owner, task_id.strip())
    if order is None:
        msg = f"The history knows no picture {task_id[:140]!r}."
        raise NoSuchTask(msg, remedy="It may be forgotten already.")
    counts = order.created_at >= studio.history.midnight() and not order.made_elsewhere
    if counts and studio.budget.limits.per_day is not None:
        msg = "This picture counts in today's budget."
        raise Flux2Error(msg, charge="Nothing was forgotten.", remedy="Forget it tomorrow.")
    if not await studio.history.forget_one(studio.owner, order.id):
        msg = "This picture is still being made, and is paid for."
        raise Flux2Error(msg, charge="Nothing was forgotten.", remedy="Forget it once it is done.")
    return Forgotten(forgotten=1)
