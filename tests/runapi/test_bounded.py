"""An answer may be neither endless nor huge, whatever is at the other end."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest

from flux2_mcp.errors import Unreachable
from flux2_mcp.runapi.bounded import MOST_BYTES, BoundedTransport
from tests.runapi.network import FOX, Answer, Answers, runapi

pytestmark = pytest.mark.virtual_time

MADE = b'{"id": "t-1", "status": "pending"}'
PIECE = 2**16


class Pieces(httpx.AsyncByteStream):
    """A body that arrives in pieces, and counts those that were taken."""

    def __init__(self, body: bytes, *, size: int = PIECE, pause: float = 0.0) -> None:
        self._body = body
        self._size = size
        self._pause = pause
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), self._size):
            await anyio.sleep(self._pause)
            self.taken += 1
            yield self._body[start : start + self._size]


def sends(pieces: Pieces, encoding: str = "", status: int = 200) -> Answer:
    headers = {"content-encoding": encoding} if encoding else {}
    return lambda _: httpx.Response(status, stream=pieces, headers=headers)


def bomb() -> bytes:
    """320 MB of zeros, a thousand times smaller than they are."""
    packer = zlib.compressobj(wbits=-15)
    # After a full flush nothing refers to what was before, so that a piece may come many times.
    piece = packer.compress(bytes(2**23)) + packer.flush(zlib.Z_FULL_FLUSH)
    return gzip.compress(b"", mtime=0)[:10] + piece * 40


@pytest.mark.parametrize("encoding", ["gzip", "x-unknown", "gzip, gzip", "br", "zstd"])
async def test_an_answer_that_grows_without_end_is_lost_and_in_doubt(encoding: str) -> None:
    pieces = Pieces(bomb(), size=2**12)
    with pytest.raises(Unreachable, match="far too long") as caught:
        await runapi(Answers(sends(pieces, encoding))).create("text_to_image", FOX, idempotency_key="k-1")

    assert caught.value.in_doubt
    assert pieces.taken <= 3 * (MOST_BYTES // 2**22 + 2)


async def test_an_answer_that_is_simply_too_long_is_not_read_to_its_end() -> None:
    pieces = Pieces(bytes(2 * MOST_BYTES))
    with pytest.raises(httpx.DecodingError):
        await BoundedTransport(Answers(sends(pieces))).handle_async_request(httpx.Request("GET", "https://runapi.test"))

    assert pieces.taken == MOST_BYTES // PIECE + 1


async def test_an_answer_that_drips_is_cut_off() -> None:
    """Each byte comes in time; the whole does not."""
    drips = Pieces(bytes(1000), size=1, pause=0.01)
    with pytest.raises(httpx.ReadTimeout):
        await BoundedTransport(Answers(sends(drips)), within=0.1).handle_async_request(
            httpx.Request("POST", "https://runapi.test")
        )

    assert drips.taken < 100


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("", MADE), ("identity", MADE), ("gzip", gzip.compress(MADE, mtime=0)), ("Deflate", zlib.compress(MADE))],
)
async def test_what_was_asked_for_is_decoded(encoding: str, body: bytes) -> None:
    line = Answers(sends(Pieces(body, size=7), encoding))
    task = await runapi(line).create("text_to_image", FOX, idempotency_key="k-1")

    assert task.id == "t-1"
    assert line.requests[0].headers["accept-encoding"] == "gzip, deflate"
