"""A RunAPI that costs next to nothing to run: tasks that take as long as they are told, and one picture for all.

The simulator settles its ledger at every look, which is right for a simulator and slow with a thousand open tasks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from uuid import uuid4

from starlette.types import Receive, Scope, Send

CREATE = "/api/v1/flux_2/text_to_image"
CENTS = 3

Headers = Sequence[tuple[bytes, bytes]]


@dataclass
class Bucket:
    """Admits `pace` requests a second, and a second's worth at once."""

    pace: float
    tokens: float = 0.0
    filled_at: float = field(default_factory=monotonic)

    def __post_init__(self) -> None:
        self.tokens = self.pace

    def wait(self) -> float:
        """Seconds until a request would be admitted; 0 when this one is."""
        now = monotonic()
        self.tokens = min(self.pace, self.tokens + self.pace * (now - self.filled_at))
        self.filled_at = now
        if self.tokens < 1:
            return (1 - self.tokens) / self.pace
        self.tokens -= 1
        return 0.0


@dataclass
class PlainRunAPI:
    """An ASGI app; `durations` are the seconds of the tasks in the order in which they are made."""

    durations: Iterator[float]
    picture: bytes
    bucket: Bucket | None = None
    ends: dict[str, float] = field(default_factory=dict[str, float])
    """When each task ends, in seconds of the monotonic clock, by the prompt it was made with."""
    requests: int = 0
    """Those that are counted: to make a task and to look at one."""
    refused: int = 0
    sent: dict[str, float] = field(default_factory=dict[str, float])
    """When the last byte of a task's picture was handed to the network."""
    callbacks: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    """When tasks end, and the addresses that want to be told."""
    _prompts: dict[str, str] = field(default_factory=dict[str, str])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._live(receive, send)
            return
        body = await _body(receive)
        path: str = scope["path"]
        if path.startswith(CREATE):
            self.requests += 1
            if self.bucket and (wait := self.bucket.wait()):
                self.refused += 1
                headers = [(b"retry-after", str(max(1, round(wait))).encode())]
                await _answer(send, 429, b'{"error":"Too many requests"}', headers=headers)
                return
        if path == CREATE:
            await _answer(send, 200, self._made(json.loads(body)))
        elif looked_at := re.fullmatch(rf"{CREATE}/(.+)", path):
            await _answer(send, 200, self._seen(looked_at[1], scope))
        elif painted := re.fullmatch(r"/generated/(.+)\.png", path):
            await _answer(send, 200, self.picture, kind=b"image/png")
            self.sent[self._prompts[painted[1]]] = monotonic()
        else:
            await _answer(send, 404, b'{"error":"Not found"}')

    def _made(self, request: Mapping[str, str]) -> bytes:
        task, prompt = str(uuid4()), request["prompt"]
        self._prompts[task] = prompt
        self.ends[prompt] = monotonic() + next(self.durations)
        if address := request.get("callback_url"):
            self.callbacks.append((self.ends[prompt], address))
        return json.dumps({"id": task, "status": "pending"}).encode()

    def _seen(self, task: str, scope: Scope) -> bytes:
        if monotonic() < self.ends[self._prompts[task]]:
            return json.dumps({"id": task, "status": "processing"}).encode()
        host = dict(scope["headers"])[b"host"].decode()
        urls = [{"url": f"http://{host}/generated/{task}.png"}]
        usage = {"cost": CENTS / 100, "generated_images": 1}
        return json.dumps({"id": task, "status": "completed", "images": urls, "usage": usage}).encode()

    @staticmethod
    async def _live(receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _answer(
    send: Send,
    status: int,
    body: bytes,
    *,
    kind: bytes = b"application/json",
    headers: Headers = (),
) -> None:
    sizes = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*sizes, *headers]})
    await send({"type": "http.response.body", "body": body})
