"""Which addresses are the simulator's own, and the bytes behind them."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from starlette.requests import Request

from .clock import Clock
from .files import Storage
from .ledger import Ledger
from .parsing import own_origin
from .picture_cache import PictureCache
from .script import Script
from .tasks import Source, Task


class Sources:
    """Reads source images from the simulator's own addresses, and from no others."""

    def __init__(
        self, script: Script, clock: Clock, *, ledger: Ledger, storage: Storage, pictures: PictureCache
    ) -> None:
        self._script = script
        self._clock = clock
        self._ledger = ledger
        self._storage = storage
        self._pictures = pictures
        self._origins: set[str] = set()

    def origin(self, request: Request) -> str:
        """What addresses given to this client begin with."""
        origin = (self._script.public_url or own_origin(request)).rstrip("/")
        self._origins.add(origin.lower())
        return origin

    def picture_task(self, name: str) -> Task | None:
        """The finished task whose picture has this name, while the picture lives."""
        task = next((task for task in self._ledger.tasks() if task.picture_name == name), None)
        if task is None or task.status != "completed" or not task.fate.images:
            return None
        return task if self._clock() < task.created_at + self._script.picture_seconds else None

    async def read(self, urls: Sequence[str]) -> tuple[tuple[Source, ...], str | None]:
        """The sources at `urls`, and the first address that should have been readable but was not."""
        found: list[Source] = []
        for url in urls:
            data = await self.own(url)
            if data is not None and not await self._pictures.can_read(data):
                return (), url
            found.append(Source(url, data))
        return tuple(found), None

    async def own(self, url: str) -> bytes | None:
        """The bytes behind an address of ours: empty when nothing is there, None when it is not ours."""
        parts = urlsplit(url)
        if f"{parts.scheme}://{parts.netloc}".lower() not in self._origins:
            return None
        match parts.path.split("/"):
            case ["", "temp", token, name]:
                file = self._storage.at(token, unquote(name))
                return file.data if file else b""
            case ["", "generated", name]:
                task = self.picture_task(name.removesuffix(".png"))
                return await self._pictures.png(task) if task else b""
            case _:
                return b""
