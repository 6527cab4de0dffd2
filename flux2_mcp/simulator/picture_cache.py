"""Draws in a worker thread, and keeps the last pictures."""

from __future__ import annotations

from collections import OrderedDict

from anyio import to_thread

from .parsing import text
from .script import Script
from .tasks import Task

KEPT_PICTURES = 16


class PictureCache:
    """Pictures of tasks as PNG bytes."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    async def png(self, task: Task) -> bytes:
        """The picture of a task; the same bytes every time."""
        if task.id not in self._kept:
            self._kept[task.id] = await to_thread.run_sync(self._draw, task)
            if len(self._kept) > KEPT_PICTURES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(task.id)
        return self._kept[task.id]

    async def can_read(self, data: bytes) -> bool:
        """Whether these bytes are a picture."""
        return await to_thread.run_sync(_is_picture, data)

    async def placeholder(self, url: str) -> bytes:
        """A placeholder for a picture on another host."""
        return await to_thread.run_sync(_placeholder, url)

    def _draw(self, task: Task) -> bytes:
        # Pillow is imported when the first picture is drawn, and in a thread: the import reads many files.
        from .pictures import PictureSpec, draw

        usual = self._script.models[task.model].output_resolution[0]
        spec = PictureSpec(
            seed=task.id,
            prompt=task.prompt,
            model=task.model,
            aspect_ratio=text(task.params.get("aspect_ratio")) or ("auto" if task.sources else "1:1"),
            resolution=text(task.params.get("output_resolution")) or usual,
            sources=task.sources,
            plain=self._script.plain_pictures,
        )
        return draw(spec)


def _is_picture(data: bytes) -> bool:
    from .pictures import is_picture

    return is_picture(data)


def _placeholder(url: str) -> bytes:
    from .pictures import placeholder

    return placeholder(url)
