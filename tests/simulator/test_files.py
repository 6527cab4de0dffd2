"""Temporary files: in by JSON, form or direct upload, out until they expire (fact sheet 1.7)."""

from __future__ import annotations

import base64
import hashlib
from typing import cast

import httpx
import pytest

from flux2_mcp.simulator import Script
from tests.simulator.api_client import BLEND, REMIX, ApiClient, api_client

FILES, PREPARE, CONFIRM = "/api/v1/files", "/api/v1/files/prepare", "/api/v1/files/confirm"
NOBODY = {"Authorization": ""}


def checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


async def prepared(here: ApiClient, data: bytes, **fields: object) -> dict[str, object]:
    body = {"filename": "a.png", "byte_size": len(data), "checksum": checksum(data), **fields}
    response = await here.http.post(PREPARE, json=body)
    assert response.status_code == 200, response.text
    return response.json()


async def put(ticket: dict[str, object], here: ApiClient, data: bytes, **headers: str) -> httpx.Response:
    """The PUT as a client should make it: without the key."""
    transport = httpx.ASGITransport(app=here.simulator)
    async with httpx.AsyncClient(transport=transport) as bare:
        return await bare.put(str(ticket["upload_url"]), content=data, headers={**_demanded(ticket), **headers})


def _demanded(ticket: dict[str, object]) -> dict[str, str]:
    headers = ticket["headers"]
    assert isinstance(headers, dict)
    return {str(name): str(value) for name, value in cast("dict[object, object]", headers).items()}


async def test_a_direct_upload_becomes_a_file(red_png: bytes) -> None:
    async with api_client() as here:
        ticket = await prepared(here, red_png)
        answer = await put(ticket, here, red_png)
        file = (await here.http.post(CONFIRM, json={"signed_id": ticket["signed_id"]})).json()
        fetched = await here.http.get(file["url"], headers=NOBODY)

    assert set(ticket) == {"signed_id", "upload_url", "headers"}
    assert (answer.status_code, answer.content) == (200, b"")
    assert set(file) == {"file_name", "url", "size_bytes", "mime_type", "created_at", "expires_at"}
    assert (file["file_name"], file["size_bytes"], file["mime_type"]) == ("a.png", len(red_png), "image/png")
    assert (fetched.content, fetched.headers["content-type"]) == (red_png, "image/png")


@pytest.mark.parametrize(
    ("data", "known"), [(b"png", "v/E5+gWsWD9oWlI6s9EQoA=="), (b"image-bytes", "+YMUOTeczbIMxroStU64aA==")]
)
async def test_the_checksum_is_the_base64_of_an_md5(data: bytes, known: str) -> None:
    """The vectors come from the vendor's own tests."""
    async with api_client() as here:
        answer = await put(await prepared(here, data, checksum=known), here, data)

    assert answer.status_code == 200


@pytest.mark.parametrize("leak", ["Authorization", "X-API-Key"])
async def test_an_upload_that_carries_a_key_is_refused(leak: str) -> None:
    """The storage host is somebody else: a client that shows it the key has a bug, and learns of it here."""
    async with api_client() as here:
        answer = await put(await prepared(here, b"data"), here, b"data", **{leak: "Bearer sk-1"})

    assert answer.status_code == 400
    assert "must not carry an API key" in answer.json()["error"]


async def test_an_upload_address_works_once() -> None:
    async with api_client() as here:
        ticket = await prepared(here, b"data")
        answers = [(await put(ticket, here, data)).status_code for data in (b"date", b"dat", b"data", b"data")]

    assert answers == [400, 400, 200, 403]


async def test_an_upload_must_carry_exactly_the_prepared_headers() -> None:
    async with api_client(Script(upload_headers={"X-Amz-Meta": "demanded"})) as here:
        ticket = await prepared(here, b"data")
        wrong_type = await put(ticket, here, b"data", **{"Content-Type": "image/png"})
        wrong_extra = await put(ticket, here, b"data", **{"X-Amz-Meta": "other"})
        right = await put(ticket, here, b"data")

    assert (wrong_type.status_code, wrong_extra.status_code, right.status_code) == (403, 403, 200)


async def test_an_upload_address_dies_with_time() -> None:
    async with api_client(Script(url_seconds=60)) as here:
        ticket = await prepared(here, b"data")
        here.clock.wait(60)

        assert (await put(ticket, here, b"data")).status_code == 404


async def test_confirming_too_early_or_for_somebody_else_fails() -> None:
    async with api_client() as here:
        ticket = await prepared(here, b"data")
        signed = {"signed_id": ticket["signed_id"]}
        early = await here.http.post(CONFIRM, json=signed)
        await put(ticket, here, b"data")
        foreign = await here.http.post(CONFIRM, json=signed, headers={"Authorization": "Bearer other"})
        unknown = await here.http.post(CONFIRM, json={"signed_id": "nothing"})
        blank = await here.http.post(CONFIRM, json={})
        first = await here.http.post(CONFIRM, json=signed)
        second = await here.http.post(CONFIRM, json=signed)

    assert [early.status_code, foreign.status_code, unknown.status_code, blank.status_code] == [422, 404, 404, 422]
    assert first.json() == second.json()


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"byte_size": 0}, 422),
        ({"byte_size": "4"}, 422),
        ({"byte_size": True}, 422),
        ({"byte_size": 10**9}, 413),
        ({"checksum": "abc"}, 422),
        ({"checksum": None}, 422),
        ({"filename": " "}, 422),
    ],
)
async def test_an_upload_that_cannot_be_is_not_prepared(fields: dict[str, object], status: int) -> None:
    async with api_client() as here:
        body = {"filename": "a.png", "byte_size": 4, "checksum": checksum(b"data"), **fields}

        assert (await here.http.post(PREPARE, json=body)).status_code == status


@pytest.mark.parametrize("path", [FILES, PREPARE, CONFIRM])
async def test_files_need_a_key(path: str) -> None:
    async with api_client(key="") as here:
        assert (await here.http.post(path, json={})).status_code == 401


async def test_a_file_can_come_as_base64(red_png: bytes) -> None:
    async with api_client() as here:
        source = {"type": "base64", "data": base64.b64encode(red_png).decode()}
        file = (await here.http.post(FILES, json={"source": source, "file_name": "red.png"})).json()
        fetched = await here.http.get(file["url"])

    assert (file["file_name"], fetched.content) == ("red.png", red_png)


async def test_a_file_can_come_as_a_form(red_png: bytes) -> None:
    async with api_client() as here:
        form = {"files": {"file": ("x.png", red_png)}, "data": {"file_name": "red.png"}}
        response = await here.http.post(FILES, **form)  # pyright: ignore[reportArgumentType]
        empty = await here.http.post(FILES, files={"other": b"x"})

    assert response.json()["file_name"] == "red.png"
    assert empty.status_code == 400


async def test_an_address_of_ours_is_copied_and_a_foreign_one_is_never_fetched(red_png: bytes) -> None:
    async with api_client() as here:
        own = await here.upload(red_png)
        copied = await here.http.post(FILES, json={"source": {"type": "url", "url": own}})
        gone = await here.http.post(FILES, json={"source": {"type": "url", "url": own.replace("/temp/", "/temp/0")}})
        foreign = await here.http.post(FILES, json={"source": {"type": "url", "url": "https://img.example/b.jpg"}})
        drawn = await here.http.get(foreign.json()["url"])

    assert copied.json()["size_bytes"] == len(red_png)
    assert gone.status_code == 422
    assert foreign.json()["file_name"] == "b.jpg"
    assert drawn.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    "source", [None, {}, {"type": "url"}, {"type": "url", "url": "file:///x"}, {"type": "base64", "data": "%"}]
)
async def test_a_source_that_is_none_is_refused(source: object) -> None:
    async with api_client() as here:
        assert (await here.http.post(FILES, json={"source": source})).status_code == 422


async def test_a_file_is_gone_after_its_hour(red_png: bytes) -> None:
    async with api_client() as here:
        url = await here.upload(red_png)
        here.clock.wait(3599)
        before = await here.http.get(url)
        here.clock.wait(1)
        after = await here.http.get(url)

    assert (before.status_code, after.status_code) == (200, 404)


async def test_a_file_name_never_leaves_its_folder(red_png: bytes) -> None:
    async with api_client() as here:
        url = await here.upload(red_png, "../../100% größe.png")
        fetched = await here.http.get(url)

    assert url.rpartition("/")[2] == "100%25%20gr%C3%B6%C3%9Fe.png"
    assert fetched.content == red_png


async def test_an_uploaded_page_does_not_run_here() -> None:
    async with api_client() as here:
        fetched = await here.http.get(await here.upload(b"<script>alert(1)</script>", "a.html"))

    assert fetched.headers["content-type"] == "application/octet-stream"
    assert fetched.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"words", "image/png"),
    ],
)
async def test_a_file_is_what_its_bytes_say_and_else_its_name(data: bytes, kind: str) -> None:
    async with api_client() as here:
        response = await here.http.post(FILES, files={"file": ("a.png", data)})

    assert response.json()["mime_type"] == kind


@pytest.mark.parametrize("broken", ["expired", "unknown", "not a file", "not a picture"])
async def test_a_source_of_ours_that_cannot_be_read_fails_the_task(broken: str, red_png: bytes) -> None:
    async with api_client(Script(looks_until_done=1)) as here:
        url = await here.upload(b"just words" if broken == "not a picture" else red_png)
        if broken == "expired":
            here.clock.wait(3600)
        if broken == "unknown":
            url += "x"
        if broken == "not a file":
            url = "http://runapi.test/v1/models"
        task_id = await here.created({**BLEND, "source_image_urls": [url]}, REMIX)
        body = await here.look(task_id, REMIX)

        assert (body["status"], body["error"]) == ("failed", f"Source image could not be read: {url}")
        assert await here.balance() == 1000


async def test_addresses_begin_with_the_public_one_if_there_is_one(red_png: bytes) -> None:
    async with api_client(Script(public_url="https://pictures.example/")) as here:
        response = await here.http.post(FILES, files={"file": ("a.png", red_png)})
        ticket = await prepared(here, b"data")

    assert response.json()["url"].startswith("https://pictures.example/temp/")
    assert str(ticket["upload_url"]).startswith("https://pictures.example/temp/user-uploads/")
