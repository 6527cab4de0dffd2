"""The direct upload of a local file: what to ask for, and the PUT to storage, which never carries the key."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

import anyio
import httpx
from pydantic import ValidationError

from flux2_mcp import telemetry
from flux2_mcp.errors import Unreachable, UnreadableAnswer, same_again
from flux2_mcp.runapi.models import UploadTicket
from flux2_mcp.runapi.observed import endpoint
from flux2_mcp.runapi.origins import origin_of

STORAGE_TIMEOUT = httpx.Timeout(120.0, connect=5.0)
"""Seconds without a byte; a large file on a slow line takes its time."""
SLOWEST_LINE = 64 * 1024
"""Bytes a second that are waited for, and the same time as for a byte besides: an answer may drip without end."""


def ticket_request(data: bytes, filename: str) -> Mapping[str, object]:
    """The body of the prepare request: RunAPI checks the upload against size and MD5."""
    checksum = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    return {"filename": filename, "byte_size": len(data), "checksum": checksum}


async def put_to_storage(
    data: bytes, prepared: object, *, origin: str, transport: httpx.AsyncBaseTransport | None
) -> str:
    """Put the bytes where RunAPI said, with its headers; return the id to confirm.

    One try only: the URL works once. It has a client of its own, which has never seen the key.

    Raises:
        UnreadableAnswer: RunAPI's ticket cannot be used.
        Unreachable: The storage did not take the bytes.
    """
    try:
        ticket = UploadTicket.model_validate(prepared)
    except ValidationError:
        msg = "RunAPI's answer is not an upload ticket."
        raise UnreadableAnswer(msg) from None
    storage_origin = origin_of(ticket.upload_url) or ""
    if not storage_origin.startswith("https:") and storage_origin != origin:
        msg = "RunAPI named a storage address without TLS for the upload, so nothing was sent there."
        raise UnreadableAnswer(msg)
    longest = (STORAGE_TIMEOUT.read or 0) + len(data) / SLOWEST_LINE
    async with httpx.AsyncClient(transport=transport, timeout=STORAGE_TIMEOUT, follow_redirects=False) as storage:
        try:
            # The body of the answer is not read: nothing in it matters, and nobody knows how long it is.
            url, headers = httpx.URL(ticket.upload_url), _without_credentials(ticket.headers)
            with anyio.fail_after(longest), telemetry.request("PUT", endpoint(url), "{upload}") as answer:
                async with storage.stream("PUT", url, content=data, headers=headers) as response:
                    answer.status = response.status_code
        except (httpx.InvalidURL, httpx.LocalProtocolError, UnicodeError):
            msg = "RunAPI's upload ticket names an address or a header that cannot be sent."
            raise UnreadableAnswer(msg) from None
        except (httpx.RequestError, TimeoutError) as error:
            msg = f"The image could not be uploaded to RunAPI's storage ({type(error).__name__})."
            raise Unreachable(msg) from error
    if not response.is_success:
        msg = f"RunAPI's storage refused the image (HTTP {response.status_code})."
        raise Unreachable(msg, status=response.status_code, remedy=same_again(" in a minute."))
    return ticket.signed_id


def _without_credentials(headers: Mapping[str, str]) -> dict[str, str]:
    """The returned headers without credentials of another kind, and without those that belong to the transport."""
    kept_back = {"authorization", "proxy-authorization", "cookie"}
    of_the_transport = {"content-length", "transfer-encoding", "host", "connection"}
    return {name: value for name, value in headers.items() if name.lower() not in kept_back | of_the_transport}
