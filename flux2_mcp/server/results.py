"""Results as the blocks that hosts know: words first, then previews, then links to the originals."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent

from flux2_mcp.catalogue import Catalogue
from flux2_mcp.images import Picture, Preview
from flux2_mcp.presenters.results import OUT_OF_SIGHT, facts_of, failures_of, text_of
from flux2_mcp.studio import Job, ResultImage


class NoPicture(ToolError):
    """No picture came of the call, and none will. A class of its own, for `sdk.is_wrong_answer`."""


def result_of(
    jobs: Sequence[Job],
    previews: Sequence[Preview],
    *,
    known: Catalogue,
    structured: bool,
    out_of_sight: bool,
    warning: str,
) -> CallToolResult:
    """One call's result: words first, then the previews, then links to the originals.

    Structured content goes with what is unfinished in any case: there is no picture yet that it could displace.

    Raises:
        NoPicture: No picture came of it, and none will.
    """
    if all(job.error for job in jobs):
        raise NoPicture(failures_of(jobs))
    words = text_of(jobs, known=known, shown=len(previews), out_of_sight=out_of_sight, warning=warning)
    blocks: list[ContentBlock] = [TextContent(text=words)]
    blocks += [_block(preview) for preview in previews]
    blocks += [_link(job, nth, image) for job in jobs for nth, image in enumerate(job.images)]
    carries = structured or not previews
    facts = facts_of(jobs) | ({"note": OUT_OF_SIGHT} if out_of_sight else {})
    return CallToolResult(content=blocks, structured_content=facts if carries else None)


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
        size=picture.size,
    )
    return CallToolResult(content=[TextContent(text=text), _block(preview), original])


def _block(preview: Preview) -> ImageContent:
    return ImageContent(data=base64.b64encode(preview.data).decode("ascii"), mime_type=preview.media_type)


def _address(task_id: str, index: int) -> str:
    return f"flux2://tasks/{task_id}/images/{index}"


def _link(job: Job, nth: int, image: ResultImage) -> ResourceLink:
    return ResourceLink(
        name=image.path.name if image.path else f"{job.id}-{nth}",
        uri=_address(job.id, nth),
        mime_type=image.picture.media_type if image.picture else None,
        size=image.picture.size if image.picture else None,
    )
