"""A data: URI, path, file: URL or address is read, or refused in our words; the key is sent to no other place."""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import httpx

from flux2_mcp.errors import InsecureBaseUrl, SourceRefused
from flux2_mcp.images.public_addresses import is_public
from flux2_mcp.runapi.origins import LOOPBACK, origin_of, safe_origin
from flux2_mcp.sources.opening import data_in
from flux2_mcp.sources.paths import lies_outside, path_in, path_in_url

LONGEST = 400
LIMIT = 100
"""Bytes of a data: URI's content."""
HOME = Path("/home/me")


def check(data: bytes) -> None:
    """Read these bytes as each of them."""
    text = data.decode("utf-8", errors="surrogateescape")
    _check_data_uri(text)
    for windows in (False, True):
        _check_path(text, windows=windows)
    _check_origin(text)
    is_public(text)


def _check_data_uri(text: str) -> None:
    try:
        found = data_in(text, limit=LIMIT)
    except SourceRefused:
        return
    assert len(found) <= LIMIT
    head, _, body = text.partition(",")
    if not head.lower().rstrip().endswith(";base64"):
        assert found == unquote_to_bytes(body)
        return
    with suppress(binascii.Error, ValueError):
        # Ours reads more: without padding, with line breaks, with the letters of URLs.
        assert found == base64.b64decode(body, validate=True)


def _check_path(text: str, *, windows: bool) -> None:
    outside = lies_outside(text, home=HOME, roots=[HOME], windows=windows)
    try:
        written = path_in_url(text, windows=windows)
        path = path_in(written, home=HOME, windows=windows)
    except SourceRefused:
        return
    assert "\0" not in str(path)
    assert windows or path.is_absolute()
    assert windows or not text.lower().startswith("file:") or outside != path.is_relative_to(HOME)


def _check_origin(text: str) -> None:
    try:
        safe = safe_origin(text)
    except InsecureBaseUrl:
        return
    # The client that will send the key must see the same place.
    url = httpx.URL(text)
    assert url.scheme == "https" or url.host in LOOPBACK
    assert safe == origin_of(text)
    again = httpx.URL(safe)
    assert (again.scheme, again.raw_host) == (url.scheme, url.raw_host)
    assert urlsplit(safe).port == (url.port or {"http": 80, "https": 443}[url.scheme])
