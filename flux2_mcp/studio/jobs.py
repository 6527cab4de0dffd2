"""What somebody asked for, picture by picture, and how far each has come."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import anyio

from flux2_mcp.errors import Flux2Error, NoImages, OutcomeUnknown, RunApiError, TaskOutOfSight, Unreachable
from flux2_mcp.history import Order
from flux2_mcp.images import Picture, PictureInfo
from flux2_mcp.runapi.models import Task

SHORTEST_WAIT = 3.0
"""Seconds that a create request, and the one look of `Studio.status`, get even when the caller wants to wait less."""
IN_DOUBT = (OutcomeUnknown, TaskOutOfSight, NoImages)
"""After these there may still be a picture."""


@dataclass
class ResultImage:
    """One image of a finished task: where it is, and what it is once it has been fetched."""

    url: str
    picture: Picture | PictureInfo | None = None
    """With its bytes only where somebody asked for them; else they are let go once it is saved and its preview made."""
    path: Path | None = None
    error: Flux2Error | None = None
    """Why it could not be fetched or saved. It was paid for all the same."""
    wanted: bool = True
    """Whether anybody looks at the bytes or saves them; if not, the address is all there is to have."""

    @property
    def is_missing(self) -> bool:
        """Whether its bytes are wanted and not here."""
        return self.wanted and self.picture is None

    @property
    def is_received(self) -> bool:
        """Whether nothing went wrong with it, or it can be seen all the same."""
        return self.error is None or bool(self.picture and self.picture.preview)


Stage = Callable[[str], None]
"""Hears what is done for a job now, in words."""


class Compose(Protocol):
    """Makes the body of a create request, from the addresses of the sources where they were uploaded before."""

    async def __call__(self, uploaded: Sequence[str], /, *, stage: Stage) -> Mapping[str, object]: ...


@dataclass
class Job:
    """One picture that somebody asked for, and how far it has come."""

    order: Order
    compose: Compose | None = None
    """None where the call only looks. The history may not keep the body, and sources are uploaded for it."""
    stage: str = ""
    """What is done for it now, before RunAPI has it, in words."""
    expected_seconds: float | None = None
    """How long such pictures usually take, where the history knows."""
    ordered_before: bool = False
    """Whether it was ordered before this call."""
    is_sent: bool = False
    """Whether its create request was handed to the network."""
    task: Task | None = None
    images: list[ResultImage] = field(default_factory=list[ResultImage])
    poll_error: RunApiError | None = None
    """Why the last look saw nothing; the task goes on."""
    error: Flux2Error | None = None
    is_cancelled: bool = False
    """Whether its call was cancelled: then nothing is sent for it any more."""

    @property
    def id(self) -> str:
        """RunAPI's id when there is one of its own, else ours; `Studio.status` understands both."""
        return self.order.handle

    @property
    def is_resumed(self) -> bool:
        """Whether its call asked for a picture, and took up an earlier order."""
        return self.ordered_before and self.compose is not None

    @property
    def is_made(self) -> bool:
        """Whether RunAPI has finished the picture."""
        return bool(self.images)

    @property
    def has_pictures(self) -> bool:
        """Whether everything that RunAPI made for it is here, as far as it is wanted."""
        return self.is_made and not any(image.is_missing for image in self.images)

    @property
    def is_received(self) -> bool:
        """Whether its caller has them: as files, as previews, or by their addresses where nothing more is wanted."""
        return self.has_pictures and all(image.is_received for image in self.images)

    @property
    def is_lost(self) -> bool:
        """Whether there will be no picture."""
        return self.error is not None and not isinstance(self.error, IN_DOUBT)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen at RunAPI."""
        return self.is_made or self.is_lost

    @property
    def is_accepted(self) -> bool:
        """Whether RunAPI has it in hand, or will not have it."""
        return self.task is not None or self.order.task_id is not None or self.is_made or self.error is not None

    @property
    def is_on_its_way(self) -> bool:
        """Whether this side has nothing more to do before RunAPI has it in hand."""
        return self.is_sent or self.is_accepted

    @property
    def is_settled(self) -> bool:
        """Whether waiting changes nothing: its pictures are here, or it is known why they are not."""
        is_fetched = self.is_made and all(image.error or not image.is_missing for image in self.images)
        return is_fetched or self.error is not None


@dataclass(frozen=True)
class Deadline:
    """Until when a call waits, by the event loop's clock."""

    at: float
    at_least: float
    """For what is done once in any case: the create request, and a look at something older."""
    pictures: float = 0.0
    """For pictures that are made, where that is later."""

    @classmethod
    def after(cls, seconds: float, *, since: float | None = None, pictures: float = 0.0) -> Deadline:
        """So many seconds from now, or since then by the event loop's clock; pictures are fetched for longer."""
        now = anyio.current_time()
        at = max(now, (now if since is None else since) + seconds)
        return cls(at, max(at, now + SHORTEST_WAIT), now + pictures)

    @contextmanager
    def once(self) -> Generator[None]:
        """Bound the time of what is asked before anything is ordered.

        Raises:
            Unreachable: It took longer.
        """
        try:
            with anyio.fail_after(max(0.0, self.at_least - anyio.current_time())):
                yield
        except TimeoutError as error:
            msg = "The answer did not come in time."
            raise Unreachable(msg, charge="Nothing was ordered.") from error

    def of(self, job: Job) -> float:
        """Until when to wait for this job."""
        return self.at_least if job.ordered_before else self.at


Report = Callable[[Sequence[Job]], None]


def no_report(_: Sequence[Job]) -> None:
    """For callers that do not want to know how it is going."""
