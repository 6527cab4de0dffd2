"""Where pictures stand while somebody waits for them, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from flux2_mcp.catalogue import Catalogue
from flux2_mcp.errors import NotFound
from flux2_mcp.studio import Job


def words_for(jobs: Sequence[Job], known: Catalogue) -> str:
    """Where these jobs stand, in words that a person can use."""
    if not jobs:
        return "Getting ready"
    if len(jobs) == 1:
        return _stage(jobs[0], known)
    stages = Counter(_stage(job, known) for job in jobs if not job.is_over)
    stage = stages.most_common(1)[0][0] if stages else _last_stage(jobs)
    return f"{stage}, {len(jobs) - stages.total()} of {len(jobs)} done"


def _stage(job: Job, known: Catalogue) -> str:
    if job.error:
        return "It failed" if job.is_lost else "Nothing more can be found out now"
    if job.is_made:
        return _last_stage([job])
    if job.task is None:
        return job.stage or _before_the_task(job)
    if isinstance(job.poll_error, NotFound):
        return "RunAPI does not show the task to this key; asking again"
    if job.poll_error:
        return "RunAPI did not answer the last look; asking again"
    doing = "waits in RunAPI's queue" if job.task.status == "pending" else "is painting"
    return f"{known.title_of(job.order.model)} {doing}"


def _before_the_task(job: Job) -> str:
    """What is done before RunAPI has said anything in this call; only what was never sent is sent now."""
    order = job.order
    if order.state == "completed":
        return _last_stage([job])
    if order.task_id is not None:
        return "Asking RunAPI how the picture is doing"
    if job.compose is None:
        return "Looking for the order"  # to ask RunAPI for it could order it
    is_new = order.was_never_sent or not job.ordered_before
    return "Sending the order to RunAPI" if is_new else "Asking RunAPI whether it has the order"


def _last_stage(jobs: Sequence[Job]) -> str:
    """What is done for jobs of which RunAPI has made all that it will."""
    what = "picture" if len(jobs) == 1 else "pictures"
    found = [image for job in jobs for image in job.images]
    is_left = bool(found) and not any(image.wanted for image in found)
    return f"RunAPI has made the {what}" if is_left else f"Fetching the {what}"
