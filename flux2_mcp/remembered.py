"""Names that are remembered, but not for ever."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T", bound="str | bytes")


class Remembered(Generic[T]):
    """A set that holds so many names at most; of more, those are forgotten that were not asked for longest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._names: OrderedDict[T, None] = OrderedDict()

    def __contains__(self, name: T) -> bool:
        if name not in self._names:
            return False
        self._names.move_to_end(name)
        return True

    def add(self, name: T) -> None:
        """Remember it from now on."""
        self._names[name] = None
        self._names.move_to_end(name)
        if len(self._names) > self._most:
            self._names.popitem(last=False)
