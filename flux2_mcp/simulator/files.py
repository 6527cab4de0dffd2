"""Temporary files: bytes or an address in, an address that lives for an hour out."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from .clock import Timestamps
from .parsing import JsonObject
from .refusals import Refusal, bad_request, invalid, not_found, too_large
from .script import Script

MAGIC: Mapping[bytes, str] = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"BM": "image/bmp",
}
# Not the mimetypes module: it reads the machine's own tables, which differ and block.
SUFFIXES: Mapping[str, str] = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "txt": "text/plain",
    "pdf": "application/pdf",
}


@dataclass(frozen=True)
class StoredFile:
    """A file that can be fetched until it expires."""

    token: str
    name: str
    data: bytes
    created_at: float
    expires_at: float

    @property
    def path(self) -> str:
        """Where it is served."""
        return f"/temp/{self.token}/{quote(self.name, safe='')}"

    @property
    def mime_type(self) -> str:
        """What the bytes are, or what the name says."""
        return media_type(self.data, self.name)


@dataclass
class Upload:
    """An upload: prepared, then put once, then confirmed."""

    key: str
    name: str
    byte_size: int
    checksum: str
    signed_id: str
    token: str
    expires_at: float
    data: bytes | None = None
    file: StoredFile | None = None


class Storage:
    """Everything clients have uploaded."""

    def __init__(self, script: Script, timestamps: Timestamps) -> None:
        self._script = script
        self._timestamps = timestamps
        self._files: dict[str, StoredFile] = {}
        self._uploads: dict[str, Upload] = {}

    @property
    def upload_headers(self) -> dict[str, str]:
        """What an upload must carry, exactly."""
        return {"Content-Type": "application/octet-stream", **self._script.upload_headers}

    def store(self, name: str, data: bytes) -> StoredFile:
        """Keep bytes under a new address.

        Raises:
            Refusal: 413 when they are too many, 422 when there are none.
        """
        self._refuse_size(len(data))
        now = self._timestamps.clock()
        file = StoredFile(secrets.token_hex(12), _plain_name(name), data, now, now + self._script.url_seconds)
        self._forget_expired()
        self._files[file.token] = file
        return file

    def at(self, token: str, name: str) -> StoredFile | None:
        """The file served at `/temp/<token>/<name>`, unless it has expired."""
        file = self._files.get(token)
        if file is None or file.name != name or self._timestamps.clock() >= file.expires_at:
            return None
        return file

    def prepare(self, key: str, name: str, byte_size: int, checksum: str) -> Upload:
        """Prepare an upload of a file with this size and MD5.

        Raises:
            Refusal: 413 when it would be too big, 422 when it would be empty or the checksum is none.
        """
        self._refuse_size(byte_size)
        if len(_from_base64(checksum) or b"") != 16:
            raise invalid({"checksum": ["must be the base64 of an MD5 digest"]})
        expires_at = self._timestamps.clock() + self._script.url_seconds
        signed_id, token = secrets.token_urlsafe(24), secrets.token_hex(16)
        upload = Upload(key, _plain_name(name), byte_size, checksum, signed_id, token, expires_at)
        self._uploads[token] = upload
        return upload

    def put(self, token: str, headers: Mapping[str, str], data: bytes) -> None:
        """Take the bytes of a prepared upload, once.

        Raises:
            Refusal: 400 for a leaked key or wrong bytes, 403 for wrong headers or a used address, 404 otherwise.
        """
        if "authorization" in headers or "x-api-key" in headers:
            msg = "An upload must not carry an API key: the address alone allows it"
            raise bad_request(msg)
        upload = self._uploads.get(token)
        if upload is None or self._timestamps.clock() >= upload.expires_at:
            raise not_found()
        if upload.data is not None:
            raise Refusal(403, {"error": "This upload address has been used"})
        wrong = [name for name, value in self.upload_headers.items() if headers.get(name.lower()) != value]
        if wrong:
            raise Refusal(403, {"error": f"Header is not as prepared: {', '.join(wrong)}"})
        _compare(upload, data)
        upload.data = data

    def confirm(self, key: str, signed_id: str) -> StoredFile:
        """Turn an upload into a file; a second time gives the same file.

        Raises:
            Refusal: 404 for an unknown one, 422 when the bytes have not arrived.
        """
        upload = next((one for one in self._uploads.values() if one.signed_id == signed_id), None)
        if upload is None or upload.key != key:
            raise not_found()
        if upload.data is None:
            raise invalid({"signed_id": ["has no uploaded bytes"]})
        if upload.file is None:
            upload.file = self.store(upload.name, upload.data)
        return upload.file

    def body(self, file: StoredFile, origin: str) -> JsonObject:
        """A file as the API describes it."""
        return {
            "file_name": file.name,
            "url": origin + file.path,
            "size_bytes": len(file.data),
            "mime_type": file.mime_type,
            "created_at": self._timestamps.seconds(file.created_at),
            "expires_at": self._timestamps.seconds(file.expires_at),
        }

    def _refuse_size(self, size: int) -> None:
        if size > self._script.largest_upload_bytes:
            raise too_large()
        if size < 1:
            raise invalid({"byte_size": ["must be greater than 0"]})

    def _forget_expired(self) -> None:
        now = self._timestamps.clock()
        self._files = {token: file for token, file in self._files.items() if file.expires_at > now}
        self._uploads = {token: upload for token, upload in self._uploads.items() if upload.expires_at > now}


def decoded(data: str) -> bytes:
    """The bytes of a base64 source.

    Raises:
        Refusal: 422, when it is not base64.
    """
    found = _from_base64(data)
    if found is None:
        raise invalid({"source": ["data must be base64"]})
    return found


def name_in(url: str) -> str:
    """The file name at the end of an address."""
    return unquote(PurePosixPath(urlsplit(url).path).name) or "file"


def media_type(data: bytes, name: str) -> str:
    """The media type by the first bytes, then by the name."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    by_bytes = next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), None)
    return by_bytes or SUFFIXES.get(name.rpartition(".")[2].lower(), "application/octet-stream")


def _compare(upload: Upload, data: bytes) -> None:
    if len(data) != upload.byte_size:
        msg = f"Expected {upload.byte_size} bytes, received {len(data)}"
        raise bad_request(msg)
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    if base64.b64encode(digest).decode() != upload.checksum:
        msg = "The bytes do not match the checksum"
        raise bad_request(msg)


def _from_base64(data: str) -> bytes | None:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None


def _plain_name(name: str) -> str:
    plain = name.replace("\\", "/").rsplit("/", 1)[-1].strip()
    return plain if plain not in {"", ".", ".."} else "file"
