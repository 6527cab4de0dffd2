"""The faults: what goes wrong, as data."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import anyio

from flux2_mcp.simulator.faults import BAD_GATEWAY_PAGE
from tests.reliability.gateway import Act, Certificate, Exchange, Message, Step, answer

STEPS: Sequence[Step] = (
    *("create", "look", "prepare", "put", "confirm", "picture", "prices", "quote", "balance", "webhook"),
)
DAY = 86400.0
A_BYTE_EACH = 1.0
"""Seconds."""
MOST = 48 * 2**20
"""Bytes: more than we read of anything."""
PIECE = b" " * 2**16
RETRY_AFTER = {429: "1"}

HALF = "half an answer, then nothing"
ENDLESS = "a byte a second, without end"

Often = Literal["once", "twice", "always"]
OFTEN: Mapping[Often, float] = {"once": 1, "twice": 2, "always": float("inf")}
Group = Literal["status", "redirect", "connection", "body", "way", "clock"]


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    name: str
    group: Group
    act: Act | None = None
    names: Literal["refused", "unknown"] | None = None
    certificate: Certificate | None = None
    jump: float = 0.0
    is_slow: bool = False
    """Whether it takes our own limits to end it: half a minute and more."""
    status: int = 0

    @property
    def is_unseen(self) -> bool:
        """Whether it keeps the connection from being made: then nothing can have had an effect."""
        return bool(self.names or self.certificate)

    @property
    def is_about_the_body(self) -> bool:
        """Whether the first line of the answer arrives, and says that all is well."""
        return self.group == "body" or self.name == HALF


def _status(code: int, *, after: bool = False) -> Act:
    async def act(exchange: Exchange) -> None:
        if after:
            await exchange.truth()
        await exchange.client.tell(_refusal(code))

    return act


def _refusal(code: int) -> bytes:
    if code == 502:
        return answer(code, BAD_GATEWAY_PAGE.encode(), Content_Type="text/html").raw
    more = {"Retry_After": RETRY_AFTER[code]} if code in RETRY_AFTER else {}
    body = {"error": {"message": f"This is a fault with status {code}", "code": "fault"}}
    return answer(code, json.dumps(body).encode(), Content_Type="application/json", **more).raw


async def _redirect(exchange: Exchange) -> None:
    await exchange.client.tell(answer(302, Location="/elsewhere").raw)


async def _redirect_away(exchange: Exchange) -> None:
    away = f"http://127.0.0.1:{exchange.gateway.other_port}/elsewhere"
    await exchange.client.tell(answer(307, Location=away).raw)


async def _lost(exchange: Exchange) -> None:
    await exchange.truth()
    if exchange.step == "webhook":
        await exchange.said(exchange.request)
    exchange.client.reset()


async def _reset(exchange: Exchange) -> None:
    async with exchange.victim() as victim:
        victim.reset()


async def _closed(exchange: Exchange) -> None:
    async with exchange.victim() as victim:
        victim.writer.close()


async def _stalled_headers(exchange: Exchange) -> None:
    await exchange.truth()
    async with exchange.victim() as victim:
        await victim.silence()


async def _stalled_body(exchange: Exchange) -> None:
    truth = await exchange.truth()
    async with exchange.victim() as victim:
        await victim.tell(truth.head + truth.body[: len(truth.body) // 2])
        await victim.silence()


async def _drip(exchange: Exchange) -> None:
    truth = await exchange.truth()
    async with exchange.victim() as victim:
        data = truth.head.removesuffix(b"\r\n") + b"X-Drip: "
        while not victim.reader.at_eof() and not victim.writer.transport.is_closing():
            await victim.tell(data[:1] or b"x")
            data = data[1:]
            await anyio.sleep(A_BYTE_EACH)


async def _truncated(exchange: Exchange) -> None:
    truth = await exchange.truth()
    async with exchange.victim() as victim:
        length = max(len(truth.body), 2)
        promised = truth.with_body(b"x" * length, Content_Type="application/json")
        await victim.tell(promised.head + truth.body[: length // 2])
        victim.writer.close()


def _body(body: bytes, media_type: str = "application/json") -> Act:
    async def act(exchange: Exchange) -> None:
        truth = await exchange.truth()
        await exchange.said(truth.with_body(body, Content_Type=media_type))

    return act


async def _huge(exchange: Exchange) -> None:
    truth = await exchange.truth()
    headers = [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")]
    head = Message(truth.start, [*(pair for pair in truth.headers if pair[0].lower() == "host"), *headers]).head
    async with exchange.victim() as victim:
        await victim.tell(head)
        for _ in range(MOST // len(PIECE)):
            if victim.writer.transport.is_closing():
                break
            await victim.tell(f"{len(PIECE):x}\r\n".encode() + PIECE + b"\r\n")


async def _wrong_charset(exchange: Exchange) -> None:
    truth = await exchange.truth()
    words = '{"id": "tsk_é", "status": "terminé", "url": "ü"}'.encode("latin-1")
    await exchange.said(truth.with_body(words, Content_Type="application/json; charset=utf-8"))


@cache
def _zeros() -> bytes:
    return gzip.compress(bytes(MOST), compresslevel=1)


async def _bomb(exchange: Exchange) -> None:
    truth = await exchange.truth()
    await exchange.said(truth.with_body(_zeros(), Content_Type="application/json", Content_Encoding="gzip"))


STATUSES = (400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504, 520)

FAULTS: Sequence[Fault] = (
    *(Fault(f"{code}", "status", _status(code), status=code) for code in STATUSES),
    Fault("504, though it was done", "status", _status(504, after=True), status=504),
    Fault("302", "redirect", _redirect, status=302),
    Fault("307 to another origin", "redirect", _redirect_away, status=307),
    Fault("answer lost, though it was done", "connection", _lost),
    Fault("connection refused", "connection", names="refused"),
    Fault("connection reset", "connection", _reset),
    Fault("closed without an answer", "connection", _closed),
    Fault("no answer at all", "connection", _stalled_headers, is_slow=True),
    Fault(HALF, "connection", _stalled_body, is_slow=True),
    Fault(ENDLESS, "connection", _drip, is_slow=True),
    Fault("an HTML page", "body", _body(BAD_GATEWAY_PAGE.encode(), "text/html")),
    Fault("broken JSON", "body", _body(b'{"id": "tsk_1", "status')),
    Fault("JSON of the wrong type", "body", _body(b'[1, "two", null]')),
    Fault("truncated", "body", _truncated),
    Fault("empty", "body", _body(b"")),
    Fault("huge", "body", _huge),
    Fault("wrong charset", "body", _wrong_charset),
    Fault("a gzip bomb", "body", _bomb),
    Fault("the name is not found (DNS)", "way", names="unknown"),
    Fault("a stranger's certificate", "way", certificate="stranger"),
    Fault("an expired certificate", "way", certificate="expired"),
    Fault("another name's certificate", "way", certificate="other name"),
    Fault("the clock jumps a day ahead", "clock", jump=DAY),
    Fault("the clock jumps a day back", "clock", jump=-DAY),
)
