from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx
import pytest

from flux2_mcp.errors import RunApiError, SourceRefused
from flux2_mcp.images import Picture
from flux2_mcp.simulator import Fault, Script, Simulator
from flux2_mcp.sources import Local, SourceLimits, Uploads
from tests.sources.owner_sources import KEY, Clock, data_uri, owner_sources, png


async def test_an_https_address_is_passed_on_untouched(home: Path) -> None:
    """RunAPI fetches it, so it may even be signed."""
    signed = "https://EXAMPLE.com:8443/a%20b.png?Signature=a%2Bb&x=[1]#top"
    async with owner_sources(home) as studio:
        urls = await studio.urls(signed, "http://127.0.0.1:9/picture.png")

        assert urls == [signed, "http://127.0.0.1:9/picture.png"]
        assert not studio.simulator.requests
        assert not studio.words


async def test_a_local_file_becomes_an_address_that_runapi_can_read(home: Path) -> None:
    (home / "fox.png").write_bytes(png())
    async with owner_sources(home) as studio:
        (url,) = await studio.urls(str(home / "fox.png"))

        async with httpx.AsyncClient(transport=httpx.ASGITransport(studio.simulator)) as runapi:
            assert (await runapi.get(url)).content == png()


async def test_nothing_is_sent_before_every_source_has_been_checked(home: Path) -> None:
    (home / "fox.png").write_bytes(png())
    async with owner_sources(home) as studio:
        with pytest.raises(SourceRefused, match="Source 2 of 2"):
            await studio.urls(str(home / "fox.png"), str(home / "missing.png"))

        assert not studio.simulator.requests


async def test_the_upload_carries_no_key_and_no_name_of_the_users(home: Path) -> None:
    (home / "my passport.png").write_bytes(png())
    async with owner_sources(home) as studio:
        await studio.urls(str(home / "my passport.png"))

        (put,) = studio.puts
        assert "authorization" not in put.headers
        assert KEY not in str(put.headers)
        assert studio.names == [f"source-{hashlib.sha256(png()).hexdigest()[:12]}.png"]


async def test_the_same_content_is_uploaded_once(home: Path) -> None:
    """However it is written: two copies, a path, a file: URL, a data: URI."""
    for name in ("fox.png", "copy.png"):
        (home / name).write_bytes(png())
    given = [str(home / "fox.png"), "~/copy.png", (home / "fox.png").as_uri(), data_uri(png())]
    async with owner_sources(home) as studio:
        urls = await studio.urls(*given)

        assert len(set(urls)) == 1
        assert len(studio.puts) == 1
        assert studio.words == ["Uploading source 1 of 4"]


async def test_calls_at_the_same_time_share_an_upload(home: Path) -> None:
    (home / "fox.png").write_bytes(png())
    async with owner_sources(home) as studio, anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(studio.urls, "~/fox.png")

    assert len(studio.puts) == 1


@pytest.mark.parametrize(("minutes", "uploads"), [(54, 1), (56, 2)], ids=["it lives", "it is about to expire"])
async def test_an_upload_is_used_again_until_it_is_about_to_expire(home: Path, minutes: int, uploads: int) -> None:
    """RunAPI fetches sources when it paints, which may be minutes after the order."""
    (home / "fox.png").write_bytes(png())
    clock = Clock()
    async with owner_sources(home, uploads=Uploads(now=clock)) as studio:
        first = await studio.urls("~/fox.png")
        clock.forward(minutes=minutes)
        second = await studio.urls("~/fox.png")

        assert len({*first, *second}) == uploads
        assert len(studio.puts) == uploads


async def test_an_owner_is_not_given_the_upload_of_another(home: Path) -> None:
    """The address alone opens the picture."""
    (home / "fox.png").write_bytes(png())
    uploads, simulator = Uploads(), Simulator(Script())
    async with (
        owner_sources(home, owner="me", uploads=uploads, simulator=simulator) as mine,
        owner_sources(home, owner="you", uploads=uploads, simulator=simulator) as yours,
    ):
        assert await mine.urls("~/fox.png") != await yours.urls("~/fox.png")


async def test_progress_names_the_sources_that_are_uploaded(home: Path) -> None:
    (home / "fox.png").write_bytes(png("red"))
    (home / "owl.png").write_bytes(png("blue"))
    async with owner_sources(home) as studio:
        urls = await studio.urls("~/fox.png", "https://example.com/a.png", "~/owl.png")

        assert studio.words == ["Uploading source 1 of 3", "Uploading source 3 of 3"]
        assert urls[1] == "https://example.com/a.png"


async def test_identity_is_the_content_of_a_file_and_the_address_of_a_link(home: Path) -> None:
    """A request is the same when its file was moved meanwhile."""
    (home / "fox.png").write_bytes(png())
    async with owner_sources(home) as studio:
        opened = await studio.sources.opened(["~/fox.png", data_uri(png()), "https://example.com/a.png"])

        sha256 = f"sha256:{hashlib.sha256(png()).hexdigest()}"
        assert [source.identity for source in opened] == [sha256, sha256, "https://example.com/a.png"]


async def test_a_signed_address_is_in_no_repr(home: Path) -> None:
    async with owner_sources(home) as studio:
        assert "secret" not in repr(await studio.sources.opened(["https://example.com/a.png?signature=secret"]))


async def test_an_earlier_picture_is_uploaded_by_its_address(home: Path) -> None:
    async def earlier(task_id: str, number: int) -> Picture:
        assert (task_id, number) == ("task-1", 2)
        return Picture(png(), "image/png", 8, 6)

    async with owner_sources(home, earlier_picture=earlier) as studio:
        (opened,) = await studio.sources.opened(["flux2://tasks/task-1/images/2"])
        await studio.sources.readable_urls([opened], report=studio.words.append)

        assert isinstance(opened, Local)
        assert [put.body for put in studio.puts] == [png()]


async def test_a_file_that_was_changed_after_the_check_is_not_sent(home: Path) -> None:
    """Otherwise anything could be sent that was never checked."""
    (home / "fox.png").write_bytes(png())
    async with owner_sources(home) as studio:
        opened = await studio.sources.opened(["~/fox.png"])
        (home / "fox.png").write_bytes(b"secret")
        with pytest.raises(SourceRefused, match="changed while it was being used"):
            await studio.sources.readable_urls(opened, report=studio.words.append)

        assert not studio.simulator.requests


class Watched(httpx.ASGITransport):
    """Counts how many uploads are under way at once; the first ones take until there are four."""

    most = 0
    now = 0
    four: anyio.Event

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "PUT":
            return await super().handle_async_request(request)
        Watched.now += 1
        Watched.most = max(Watched.most, Watched.now)
        if Watched.now == 4:
            Watched.four.set()
        await Watched.four.wait()
        response = await super().handle_async_request(request)
        Watched.now -= 1
        return response


async def test_eight_large_files_are_uploaded_four_at_a_time(home: Path) -> None:
    Watched.most = Watched.now = 0
    Watched.four = anyio.Event()
    colours = ["red", "green", "blue", "black", "white", "yellow", "gray", "pink"]
    for colour in colours:
        (home / f"{colour}.png").write_bytes(png(colour, padding=4_000_000))
    async with owner_sources(home, transport=Watched, limits=SourceLimits()) as studio:
        with anyio.fail_after(20):
            urls = await studio.urls(*(f"~/{colour}.png" for colour in colours))

    assert len(set(urls)) == 8
    assert Watched.most == 4


class LosesUploads(httpx.ASGITransport):
    """The line breaks at this step of an upload, the first times."""

    def __init__(self, simulator: Simulator, *, step: str, times: int) -> None:
        super().__init__(simulator)
        self.step = step
        self.times = times

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.step in request.url.path and self.times:
            self.times -= 1
            msg = "gone"
            raise httpx.ReadError(msg, request=request)
        return await super().handle_async_request(request)


STEPS = ["/files/prepare", "/temp/user-uploads/", "/files/confirm"]


@pytest.mark.parametrize("step", STEPS)
async def test_an_upload_that_broke_is_made_once_more(home: Path, step: str) -> None:
    """It costs nothing, and the address of the first works only once."""
    (home / "fox.png").write_bytes(png())
    async with owner_sources(home, transport=partial(LosesUploads, step=step, times=1)) as studio:
        (url,) = await studio.urls("~/fox.png")

        assert url.startswith("https://runapi.test/temp/")


@pytest.mark.parametrize("answer", [{"status": 429}, {"status": 503}, {"body": "<h1>Welcome</h1>"}, {"body": "[]"}])
@pytest.mark.parametrize("step", ["prepare", "confirm"])
async def test_an_upload_is_made_once_more_after_an_answer_that_may_pass(
    home: Path, step: Literal["prepare", "confirm"], answer: dict[str, Any]
) -> None:
    (home / "fox.png").write_bytes(png())
    simulator = Simulator(Script())
    simulator.faults.append(Fault(on=step, **answer))
    async with owner_sources(home, simulator=simulator) as studio:
        (url,) = await studio.urls("~/fox.png")

        assert url.startswith("https://runapi.test/temp/")


@pytest.mark.parametrize("step", STEPS)
async def test_a_failed_upload_leaves_no_doubt_about_money(home: Path, step: str) -> None:
    """A lost answer of another POST would mean that something may have been ordered."""
    (home / "fox.png").write_bytes(png())
    async with owner_sources(home, transport=partial(LosesUploads, step=step, times=2)) as studio:
        with pytest.raises(RunApiError) as caught:
            await studio.urls("~/fox.png")

        assert not caught.value.in_doubt
        assert "Nothing was charged." in str(caught.value)
        assert await studio.urls("~/fox.png")  # the failure was not remembered


async def test_a_refused_upload_is_not_repeated(home: Path) -> None:
    (home / "fox.png").write_bytes(png())
    simulator = Simulator(Script(largest_upload_bytes=10))
    async with owner_sources(home, simulator=simulator) as studio:
        with pytest.raises(RunApiError) as caught:
            await studio.urls("~/fox.png")

        assert caught.value.status == 413
        assert len(simulator.requests) == 1


async def test_after_a_failure_no_further_upload_is_begun(home: Path) -> None:
    colours = ["red", "green", "blue"]
    for colour in colours:
        (home / f"{colour}.png").write_bytes(png(colour))
    simulator = Simulator(Script(largest_upload_bytes=10))
    async with owner_sources(home, simulator=simulator, limits=SourceLimits(side_by_side=1)) as studio:
        with pytest.raises(RunApiError):
            await studio.urls(*(f"~/{colour}.png" for colour in colours))

        assert studio.words == ["Uploading source 1 of 3"]


async def test_an_upload_without_an_end_is_kept_for_an_hour(home: Path) -> None:
    clock = Clock()
    uploads = Uploads(now=clock)
    (home / "fox.png").write_bytes(png())
    stated = {"file_name": "a.png", "url": "https://file.runapi.test/a.png"}
    simulator = Simulator(Script())
    simulator.faults.append(Fault(on="confirm", body=stated, status=200))
    async with owner_sources(home, uploads=uploads, simulator=simulator) as studio:
        first = await studio.urls("~/fox.png")
        clock.forward(minutes=54)
        assert await studio.urls("~/fox.png") == first
        clock.forward(minutes=2)

        assert first == ["https://file.runapi.test/a.png"]
        assert await studio.urls("~/fox.png") != first
