"""A proxy that adds a credential, for a suite that has no option for one: python with_token.py PORT URL TOKEN."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


def with_token(url: str, token: str) -> Starlette:
    """An app that asks `url` whatever it is asked: the same bytes, with the token."""
    http = httpx.AsyncClient(base_url=url, timeout=None)  # noqa: S113 whoever asks knows how long they wait

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with http:
            yield

    async def forward(request: Request) -> StreamingResponse:
        headers = [*request.headers.raw, (b"authorization", f"Bearer {token}".encode())]
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        asked = http.build_request(
            request.method,
            httpx.URL(path=request.url.path, query=request.url.query.encode()),
            headers=headers,
            content=request.stream() if has_body else None,
        )
        answer = await http.send(asked, stream=True)
        forwarded = StreamingResponse(answer.aiter_raw(), answer.status_code)
        forwarded.raw_headers = answer.headers.raw
        return forwarded

    return Starlette(routes=[Route("/{path:path}", forward, methods=list(METHODS))], lifespan=lifespan)


if __name__ == "__main__":
    port, url, token = sys.argv[1:]
    uvicorn.run(with_token(url, token), port=int(port), log_level="warning", date_header=False, server_header=False)
