"""The endpoints for temporary files, such as source images."""

from __future__ import annotations

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .files import Storage, StoredFile, decoded, name_in
from .ledger import Ledger
from .parsing import as_object, bearer, json_object, text
from .picture_cache import PictureCache
from .refusals import bad_request, invalid, not_found
from .sources import Sources


class FileEndpoints:
    """Stores files, and serves them until they expire."""

    def __init__(self, *, ledger: Ledger, storage: Storage, sources: Sources, pictures: PictureCache) -> None:
        self._ledger = ledger
        self._storage = storage
        self._sources = sources
        self._pictures = pictures

    async def create(self, request: Request) -> Response:
        """`POST /api/v1/files`: JSON with an address or base64, or the older multipart form."""
        self._ledger.authenticated(bearer(request))
        is_form = request.headers.get("content-type", "").lower().startswith("multipart/")
        name, data = await (_from_form(request) if is_form else self._from_json(request))
        return self._described(request, self._storage.store(name, data))

    async def prepare(self, request: Request) -> Response:
        """`POST /api/v1/files/prepare`: ask for an address to put a file to."""
        key = self._ledger.authenticated(bearer(request)).key
        body = await json_object(request)
        name, byte_size, checksum = body.get("filename"), body.get("byte_size"), text(body.get("checksum"))
        if not isinstance(name, str) or not name.strip():
            raise invalid({"filename": ["is required"]})
        if not isinstance(byte_size, int) or isinstance(byte_size, bool):
            raise invalid({"byte_size": ["must be an integer"]})
        upload = self._storage.prepare(key, name, byte_size, checksum)
        address = f"{self._sources.origin(request)}/temp/user-uploads/{upload.token}"
        headers = self._storage.upload_headers
        return JSONResponse({"signed_id": upload.signed_id, "upload_url": address, "headers": headers})

    async def put(self, request: Request) -> Response:
        """`PUT /temp/user-uploads/{token}`: the bytes, without a key."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        self._storage.put(request.path_params["token"], headers, await request.body())
        return Response(status_code=200)

    async def confirm(self, request: Request) -> Response:
        """`POST /api/v1/files/confirm`: the upload becomes a file with an address."""
        key = self._ledger.authenticated(bearer(request)).key
        signed_id = text((await json_object(request)).get("signed_id"))
        if not signed_id:
            raise invalid({"signed_id": ["is required"]})
        return self._described(request, self._storage.confirm(key, signed_id))

    async def fetch(self, request: Request) -> Response:
        """`GET /temp/{token}/{name}`: an uploaded file, until it expires."""
        file = self._storage.at(request.path_params["token"], request.path_params["name"])
        if file is None:
            raise not_found()
        # A stranger's file must not run as a page of this host.
        headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
        return Response(file.data, media_type=file.mime_type, headers=headers)

    async def _from_json(self, request: Request) -> tuple[str, bytes]:
        body = await json_object(request)
        source = as_object(body.get("source")) or {}
        name = text(body.get("file_name"))
        match source.get("type"), source.get("url"), source.get("data"):
            case "url", str(url), _ if url.lower().startswith(("http://", "https://")):
                return name or name_in(url), await self._behind(url)
            case "base64", _, str(data):
                return name or "file", decoded(data)
            case _:
                raise invalid({"source": ["must be a url or base64 source"]})

    async def _behind(self, url: str) -> bytes:
        own = await self._sources.own(url)
        if own == b"":
            raise invalid({"source": ["url could not be read"]})
        return await self._pictures.placeholder(url) if own is None else own

    def _described(self, request: Request, file: StoredFile) -> Response:
        return JSONResponse(self._storage.body(file, self._sources.origin(request)))


async def _from_form(request: Request) -> tuple[str, bytes]:
    async with request.form() as form:
        file, name = form.get("file"), form.get("file_name")
        if not isinstance(file, UploadFile):
            msg = "The form has no file"
            raise bad_request(msg)
        return (name if isinstance(name, str) else "") or file.filename or "file", await file.read()
