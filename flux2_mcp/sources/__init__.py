"""Anything a user calls a source image -> a URL that RunAPI can read.

First every source is opened: read, recognised and counted as what it is, while nothing is sent and nothing is paid.
Later the ones that RunAPI cannot read by itself are uploaded. Between the two only their fingerprints are kept, so
that eight large files do not sit in memory while somebody decides.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from flux2_mcp.errors import (
    Flux2Error,
    NoSuchTask,
    PictureUnavailable,
    RunApiError,
    SourceRefused,
    TaskFailed,
    Throttled,
    Unavailable,
    Unreachable,
    UnreadableAnswer,
)
from flux2_mcp.images.formats import MAX_PIXELS, Picture, in_worker, recognise
from flux2_mcp.runapi.models import TemporaryFile, is_task_id
from flux2_mcp.sources.opening import check_size, data_in, read_file
from flux2_mcp.sources.paths import WINDOWS, checked_roots, lies_outside, path_in, path_in_url
from flux2_mcp.sources.uploads import Uploads

if TYPE_CHECKING:
    from flux2_mcp.runapi.client import RunAPI

__all__ = ["Linked", "Local", "OpenedSource", "SourceLimits", "Sources", "Uploads", "checked_roots", "lies_outside"]

T = TypeVar("T")

EarlierPicture = Callable[[str, int], Awaitable[Picture]]
"""The picture with this task id and number, as they stand in a flux2: address."""

# Two letters at least: one is a Windows drive.
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_EARLIER: Final = re.compile(r"flux2://tasks/([^/]+)/images/([0-9]{1,4})/?", re.IGNORECASE)
_KINDS: Final = (
    "Give an https: address, an absolute path, a file: or data: URI, or flux2://tasks/…/images/… of an earlier result."
)


@dataclass(frozen=True)
class SourceLimits:
    """How much of a local source is accepted, and how many are uploaded at once."""

    max_bytes: int = 20_000_000
    max_pixels: int = MAX_PIXELS
    side_by_side: int = 4


@dataclass(frozen=True)
class Linked:
    """A source that RunAPI fetches itself. The address may be signed, so no `repr` shows it."""

    url: str = field(repr=False)

    @property
    def identity(self) -> str:
        """What makes two requests the same: the address."""
        return self.url


@dataclass(frozen=True)
class Local:
    """A sound picture that RunAPI cannot read by itself, and a way to its bytes."""

    sha256: str
    file_name: str
    """For RunAPI; what the user called the file is nobody's business there."""
    read: Callable[[], bytes] = field(repr=False, compare=False)
    """Blocks: call it in a worker thread."""

    @property
    def identity(self) -> str:
        """What makes two requests the same: the bytes, wherever they are."""
        return f"sha256:{self.sha256}"


OpenedSource = Linked | Local


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The source images of one owner."""

    owner: str
    runapi: RunAPI
    uploads: Uploads
    earlier_picture: EarlierPicture
    home: Path
    roots: Sequence[Path]
    """The folders that may be read, from `checked_roots`; none on a server whose users sit elsewhere."""
    limits: SourceLimits = SourceLimits()
    windows: bool = WINDOWS

    async def opened(self, given: Sequence[str]) -> list[OpenedSource]:
        """Read and check every source; nothing is sent.

        Raises:
            SourceRefused: Names each source that cannot be used, counted from 1, and why.
            RunApiError: An earlier picture had to be looked up, and RunAPI could not be asked.
        """
        results = await _each([partial(self._opened, text) for text in given], at_once=len(given), to_the_end=True)
        reasons = [
            f"Source {nth} of {len(given)} ({_shown(given[nth - 1])}): {result.message}"
            for nth, result in enumerate(results, 1)
            if isinstance(result, SourceRefused)
        ]
        if reasons:
            raise SourceRefused(" ".join(reasons))
        return _successes(results)

    async def readable_urls(self, opened: Sequence[OpenedSource], *, report: Callable[[str], None]) -> list[str]:
        """URLs that RunAPI can read, in the same order; local sources are uploaded, unless they are still there.

        Raises:
            SourceRefused: A file is not what it was when it was opened.
            RunApiError: An upload failed. It is never `in_doubt`: uploads order nothing.
        """
        works = [
            partial(self._readable_url, source, report, f"Uploading source {nth} of {len(opened)}")
            for nth, source in enumerate(opened, 1)
        ]
        return _successes(await _each(works, at_once=self.limits.side_by_side, to_the_end=False))

    async def _opened(self, given: str) -> OpenedSource:
        text = given.strip()
        scheme = _scheme(text)
        if scheme in {"http", "https"}:
            _check_address(text)
            return Linked(text)
        if scheme == "flux2":
            return await self._opened_earlier(text)
        return await in_worker(lambda: self._opened_local(text, scheme))

    async def _opened_earlier(self, uri: str) -> Local:
        found = _EARLIER.fullmatch(uri)
        if found is None or not is_task_id(found[1]):
            msg = "A picture of an earlier result is flux2://tasks/TASK_ID/images/NUMBER."
            raise SourceRefused(msg)
        try:
            picture = await self.earlier_picture(found[1], int(found[2]))
        except (NoSuchTask, TaskFailed, PictureUnavailable) as error:
            raise SourceRefused(error.message) from error
        check_size(len(picture.data), limit=self.limits.max_bytes)
        return await in_worker(lambda: _local(picture, lambda: picture.data))

    def _opened_local(self, text: str, scheme: str) -> Local:
        """Blocks."""
        read = self._reader(text, scheme)
        try:
            return _local(recognise(read(), max_pixels=self.limits.max_pixels), read)
        except PictureUnavailable as error:
            raise SourceRefused(error.message) from error

    def _reader(self, text: str, scheme: str) -> Callable[[], bytes]:
        limit = self.limits.max_bytes
        if not text:
            msg = f"It is empty. {_KINDS}"
            raise SourceRefused(msg)
        if scheme == "data":
            return partial(data_in, text, limit=limit)
        if scheme not in {"", "file"}:
            msg = f"{scheme}: addresses cannot be used. {_KINDS}"
            raise SourceRefused(msg)
        written = path_in_url(text, windows=self.windows) if scheme else text
        path = path_in(written, home=self.home, windows=self.windows)
        return partial(read_file, path, roots=self.roots, limit=limit)

    async def _readable_url(self, source: OpenedSource, report: Callable[[str], None], words: str) -> str:
        if isinstance(source, Linked):
            return source.url

        async def upload() -> TemporaryFile:
            report(words)
            data = await anyio.to_thread.run_sync(_read_again, source)
            return await self._uploaded(data, source.file_name)

        return await self.uploads.url((self.owner, self.runapi.connection.origin, source.sha256), upload)

    async def _uploaded(self, data: bytes, file_name: str) -> TemporaryFile:
        """Upload once more after a failure that may pass: an upload costs nothing."""
        try:
            try:
                return await self.runapi.upload(data, filename=file_name)
            except (Throttled, UnreadableAnswer):
                pass
            except (Unreachable, Unavailable) as error:
                if error.status is not None and error.status < 500:
                    raise
            return await self.runapi.upload(data, filename=file_name)
        except RunApiError as error:
            # Whatever became of the upload, there is no task yet that could be paid for.
            error.in_doubt = False
            raise


def _local(picture: Picture, read: Callable[[], bytes]) -> Local:
    sha256 = hashlib.sha256(picture.data).hexdigest()
    return Local(sha256, f"source-{sha256[:12]}{picture.extension}", read)


def _read_again(source: Local) -> bytes:
    data = source.read()
    if hashlib.sha256(data).hexdigest() != source.sha256:
        msg = "A source image was changed while it was being used."
        raise SourceRefused(msg, remedy="Send the request when the file is finished.")
    return data


def _scheme(text: str) -> str:
    found = _SCHEME.match(text)
    return found[1].lower() if found else ""


def _check_address(url: str) -> None:
    """Only that it can be an address: RunAPI is the one who fetches it."""
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        has_host = False
    if not has_host or any(letter.isspace() or not letter.isprintable() for letter in url):
        msg = "It is not a complete address; one looks like https://example.com/picture.png."
        raise SourceRefused(msg)


def _shown(given: str) -> str:
    """How a sentence names a source: never with the bytes of a data: URI or the secret part of an address."""
    text = given[:201].strip()
    scheme = _scheme(text)
    if scheme == "data":
        return "a data: URI"
    if scheme not in {"", "file", "flux2"}:
        return f"{scheme}: …"
    plain = "".join(letter if letter.isprintable() else "�" for letter in text)
    return (f"{plain[:200]}…" if len(plain) > 200 else plain) or "empty"


async def _each(
    works: Sequence[Callable[[], Coroutine[object, object, T]]], *, at_once: int, to_the_end: bool
) -> list[T | Flux2Error]:
    """The outcome of each work, in order; of those that were begun, unless `to_the_end`, after the first failure."""
    if not works:
        return []
    outcomes: dict[int, T | Flux2Error] = {}
    limiter = anyio.CapacityLimiter(max(1, at_once))

    async def do(nth: int, work: Callable[[], Coroutine[object, object, T]]) -> None:
        async with limiter:
            if not to_the_end and any(isinstance(outcome, Flux2Error) for outcome in outcomes.values()):
                return
            try:
                outcomes[nth] = await work()
            except Flux2Error as error:
                outcomes[nth] = error

    async with anyio.create_task_group() as group:
        for nth, work in enumerate(works):
            group.start_soon(do, nth, work)
    return [outcomes[nth] for nth in sorted(outcomes)]


def _successes(results: Sequence[T | Flux2Error]) -> list[T]:
    for result in results:
        if isinstance(result, Flux2Error):
            raise result
    return [result for result in results if not isinstance(result, Flux2Error)]
