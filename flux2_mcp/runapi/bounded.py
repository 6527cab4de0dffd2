"""A transport that gives whole answers only, of a size and in a time that a caller can bear."""

from __future__ import annotations

from typing import cast

import anyio
import httpx

MOST_BYTES = 8 * 2**20
"""Of one answer, decoded; RunAPI's own have a few thousand."""
LONGEST_ANSWER = 60.0
"""Seconds from the first byte of a request to the last byte of its answer."""
ENCODINGS = "gzip, deflate"
"""What may be asked for: a small piece of any other, or of two in one another, can become gigabytes at once."""

_KNOWN = frozenset(["", "identity", *ENCODINGS.split(", ")])
_OF_THE_BODY = frozenset([b"content-encoding", b"content-length", b"transfer-encoding"])


class BoundedTransport(httpx.AsyncBaseTransport):
    """Read each answer to its end: one that breaks off in the middle is as lost as one that never came."""

    def __init__(self, inner: httpx.AsyncBaseTransport, *, within: float = LONGEST_ANSWER) -> None:
        self._inner = inner
        self._within = within

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer with its body decoded.

        Raises:
            httpx.RequestError: There was none, or no end of it, or it was too long.
        """
        try:
            with anyio.fail_after(self._within):
                response = await self._inner.handle_async_request(request)
                try:
                    body = await _body_of(response)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            msg = f"The answer was not complete after {self._within:g} seconds."
            raise httpx.ReadTimeout(msg, request=request) from error
        headers = [pair for pair in response.headers.raw if pair[0].lower() not in _OF_THE_BODY]
        return httpx.Response(
            response.status_code, headers=headers, content=body, extensions=response.extensions, request=request
        )

    async def aclose(self) -> None:
        """Close the connections below."""
        await self._inner.aclose()


async def _body_of(response: httpx.Response) -> bytes:
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in _KNOWN:
        msg = "The answer is encoded in a way that was not asked for."
        raise httpx.DecodingError(msg)
    body = bytearray()
    is_plain = encoding in {"", "identity"}
    # httpx's own ways to read a body cut it into pieces once more, which takes longer than to read it.
    pieces = cast("httpx.AsyncByteStream", response.stream) if is_plain else response.aiter_bytes()
    async for piece in pieces:
        body += piece
        if len(body) > MOST_BYTES:
            msg = f"The answer is longer than {MOST_BYTES} bytes."
            raise httpx.DecodingError(msg)
    return bytes(body)
