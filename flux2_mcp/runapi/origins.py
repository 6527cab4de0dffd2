"""Which addresses may be given the key: the configured origin, and nothing else."""

from __future__ import annotations

import re
import urllib.request
from urllib.parse import urlsplit

from flux2_mcp.errors import InsecureBaseUrl

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?|[0-9a-f:.]+", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> str | None:
    """`scheme://host:port`, with the port always spelled out; None when this is no http address."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


def safe_origin(base_url: str) -> str:
    """The origin of an address that may be given the key.

    Raises:
        InsecureBaseUrl: Neither https nor loopback, or not a plain address at all.
    """
    origin = origin_of(base_url)
    if origin is None or not _is_unambiguous(base_url):
        msg = "RUNAPI_BASE_URL is not an address like https://runapi.ai."
        raise InsecureBaseUrl(msg)
    host = urlsplit(base_url).hostname
    if origin.startswith("http:") and host not in LOOPBACK:
        msg = f"RUNAPI_BASE_URL points to {host} without TLS, which would show the key to the network."
        raise InsecureBaseUrl(msg)
    return origin


def proxy_for(base_url: str) -> str | None:
    """The proxy that the environment names for this address."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    # A proxy cannot reach our loopback, and would read the key that travels there without TLS.
    if host in LOOPBACK or urllib.request.proxy_bypass(host):
        return None
    proxy = urllib.request.getproxies().get(parts.scheme)
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _is_unambiguous(base_url: str) -> bool:
    """Whether this and every HTTP library read the same host and port from it."""
    from httpx import URL, InvalidURL

    try:
        url = URL(base_url)
        host = url.raw_host.decode("ascii")
        url.host  # noqa: B018 it is decoded when it is asked for: "xn--" is no name
    except (InvalidURL, UnicodeError):
        return False
    if url.port not in {urlsplit(base_url).port, None}:
        return False  # http://[::1]8000
    return _HOST.fullmatch(host) is not None and not any(sign in base_url for sign in "@?#\\")
