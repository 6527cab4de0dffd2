"""What the process gives back to the system of the memory that it does not need any more."""

from __future__ import annotations

import sys
from functools import cache

LARGE = 2**18
"""Bytes."""
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
"""mallopt(3)"""


@cache
def give_back_large_blocks() -> None:
    """Have memory of pictures go back when it is freed, on Linux with glibc; elsewhere the system sees to it.

    glibc takes large blocks from the system one by one, until one is freed: then it takes blocks of that size from
    the heap, which stays as large as it ever was, for each of its threads. A size that is set is kept.
    """
    if sys.platform != "linux":
        return
    import ctypes

    # musl has no such thing, and needs none.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE)
        mallopt(_M_ARENA_MAX, 2)
