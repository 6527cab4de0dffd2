"""A picture that cannot be fetched was paid for all the same: the call succeeds and says how to get it again."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import anyio
import httpx
import pytest
from mcp.client.client import ConnectMode
from mcp_types import CallToolResult

from flux2_mcp.history import utcnow
from flux2_mcp.simulator import Fault, Script, Simulator
from tests.images.examples import bomb, noise
from tests.paid_once.backdating import time_passes
from tests.pictures.fixtures import ELSEWHERE, Answer, Megabytes, PictureServer, answers, images_in, links_in
from tests.transports import Gate, Wire, fetches, looks
from tests.world import KEY, World, text_of, world

pytestmark = pytest.mark.virtual_time

HTML = b"<!doctype html><title>Sign in</title>"
SCRIPT = Script(looks_until_done=1, plain_pictures=True, public_url=ELSEWHERE)

TROUBLES: dict[str, tuple[Answer, str]] = {
    "web page": (answers(HTML, Content_Type="image/png"), "this is a web page (HTML)"),
    "404": (answers(b"", 404), "answered with HTTP status 404; the link may have expired."),
    "500": (answers(b"", 500), "answered with HTTP status 500."),
    "truncated": (answers(noise(128).data[:20_000]), "This PNG file is cut off or damaged."),
    "empty": (answers(b""), "The file is empty."),
    "noise": (answers(b"\xff\xfe\x00"), "this is something else"),
    "to a private address": (
        answers(b"", 302, Location="https://10.0.0.5/generated/1.png"),
        "10.0.0.5 is not on the public internet",
    ),
    "to the cloud's own data": (
        answers(b"", 307, Location="https://169.254.169.254/generated/"),
        "169.254.169.254 is not on the public internet",
    ),
    "to a file": (answers(b"", 302, Location="file:///etc/passwd"), "not a plain https address"),
    "without TLS": (answers(b"", 302, Location="http://93.184.216.34/generated/1.png"), "not an https address"),
    "in circles": (answers(b"", 302, Location="/generated/again.png"), "redirected more than 3 times"),
}
"""What may have passed the next time."""
UNUSABLE: dict[str, tuple[Answer, str]] = {
    "100 MB": (lambda _: httpx.Response(200, stream=Megabytes(100)), "more than 40 MB"),
    "100 MB announced": (
        lambda _: httpx.Response(200, headers={"Content-Length": "100000000"}, stream=Megabytes(1)),
        "more than 40 MB",
    ),
    "bomb": (answers(bomb()), "more than 64 million pixels"),
    "SVG": (answers(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "this is an SVG drawing"),
    "AVIF": (answers(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf"), "this is an AVIF picture"),
}
"""What will be the same file the next time."""


def troubled(home: Path, answer: Answer, mode: ConnectMode = "auto", **environ: str) -> tuple[World, PictureServer]:
    here = world(home, SCRIPT, mode=mode, environ=environ)
    server = here.transport = PictureServer(here.simulator, answer)
    return here, server


@pytest.mark.parametrize(("answer", "words"), TROUBLES.values(), ids=TROUBLES)
async def test_a_picture_that_cannot_be_fetched_is_still_a_result(tmp_path: Path, answer: Answer, words: str) -> None:
    here, server = troubled(tmp_path, answer)
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox"})
        server.heal()
        again = await client.call_tool("task_status", {"task_id": here.paid[0].id})

    [task] = here.paid
    assert not result.is_error
    assert words in text_of(result)
    assert f"URL: {ELSEWHERE}/generated/{task.picture_name}.png (until " in text_of(result)
    assert f"Call task_status with task_id='{task.id}' to fetch it again; that is free." in text_of(result)
    assert "cost: $0.05" in text_of(result)
    assert images_in(result) == []
    assert len(images_in(again)) == 1
    [saved] = here.output.iterdir()
    assert str(saved) in text_of(again)
    assert words not in text_of(again)
    assert result.structured_content is not None
    [image] = result.structured_content["pictures"][0]["images"]
    assert words in image["note"]
    assert f"task_status with task_id='{task.id}'" in image["note"]
    assert image["url"] == f"{ELSEWHERE}/generated/{task.picture_name}.png"
    assert "path" not in image


@pytest.mark.parametrize(("answer", "words"), UNUSABLE.values(), ids=UNUSABLE)
async def test_a_picture_that_can_never_be_shown_is_not_to_be_fetched_again(
    tmp_path: Path, answer: Answer, words: str
) -> None:
    """The same bytes would come again. What helps is the link."""
    here, _ = troubled(tmp_path, answer)
    async with here.client() as client:
        made = await client.call_tool("generate", {"prompt": "a fox"})
        asked = await client.call_tool("task_status", {"task_id": here.paid[0].id})
        viewed = await client.call_tool("view_image", {"task_id": here.paid[0].id})

    assert made.structured_content is not None
    [image] = made.structured_content["pictures"][0]["images"]
    for told in (text_of(made), text_of(asked), text_of(viewed), image["note"]):
        assert words in told
        assert "To fetch it again would bring the same file. It was paid for and lies at its URL" in told
        assert "Call task_status" not in told
    assert f"URL: {ELSEWHERE}/generated/{here.paid[0].picture_name}.png (until " in text_of(made)
    assert "cost: $0.05" in text_of(made)
    assert not made.is_error
    assert len(here.paid) == 1


async def test_a_picture_that_can_never_be_shown_is_fetched_by_one_start_only(tmp_path: Path) -> None:
    here, server = troubled(tmp_path, UNUSABLE["AVIF"][0])
    fetched: list[int] = []
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox", "wait_seconds": 0})
    for _ in range(3):
        async with here.client() as client:
            await anyio.sleep(5)
            fetched.append(len(server.asked))

    [order] = await here.orders()
    assert (order.state, order.paths) == ("completed", ("",))
    assert fetched == [1, 1, 1]


class LinksOfOneLook(Wire):
    """Signs the links anew at every look; only those of the latest look work."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)
        self.signature = 0
        self.expires = True

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if fetches(request) and self.expires:
            self.expires = False
            self.signature += 1
        if fetches(request) and request.url.params.get("sig") != str(self.signature):
            return httpx.Response(403, request=request)
        answer = await super().handle_async_request(request)
        if not looks(request):
            return answer
        await answer.aread()
        signed = answer.text.replace(".png", f".png?sig={self.signature}")
        return httpx.Response(answer.status_code, text=signed, headers={"Content-Type": "application/json"})


async def test_a_link_that_died_is_asked_for_anew(tmp_path: Path) -> None:
    """RunAPI may sign its links for an hour, and show fresh ones at every look."""
    here = world(tmp_path, Script(looks_until_done=1, plain_pictures=True))
    here.transport = LinksOfOneLook(here.simulator)
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox"})
        listed = await client.call_tool("recent_tasks", {})

    assert len(images_in(result)) == 1
    assert "sig=1" in text_of(result)
    assert "sig=1" in text_of(listed)
    [saved] = here.output.iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d a fox [0-9a-f]{4}\.png", saved.name)
    assert len(here.creates) == 1


async def test_a_picture_can_be_looked_at_while_it_is_fetched_for_its_call(tmp_path: Path) -> None:
    """Its call keeps no bytes, and who looks at it needs them."""
    here = world(tmp_path, SCRIPT, environ={"FLUX2_PREVIEW": "off"})
    gate = here.transport = Gate(here.simulator, fetches)
    viewed: list[CallToolResult] = []
    async with here.client() as client, anyio.create_task_group() as group:
        group.start_soon(client.call_tool, "generate", {"prompt": "a fox"})
        await gate.holds_one()

        async def view() -> None:
            viewed.append(await client.call_tool("view_image", {"task_id": here.paid[0].id}))

        group.start_soon(view)
        await anyio.sleep(1)
        gate.open()

    assert len(images_in(viewed[0])) == 1
    assert len(list(here.output.iterdir())) == 1


async def test_a_link_that_died_and_is_the_only_one_is_not_tried_again(tmp_path: Path) -> None:
    here, server = troubled(tmp_path, answers(b"", 404))
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
    [order] = await here.orders()

    assert len(server.asked) == 1
    assert order.paths == ()  # a later start looks for it again


def completed(*names: str) -> dict[str, object]:
    """What RunAPI may say of a task, without a cost."""
    return {"id": "t-1", "status": "completed", "images": [{"url": f"{ELSEWHERE}/dead/{name}.png"} for name in names]}


async def test_a_look_for_a_fresh_link_learns_the_cost(tmp_path: Path) -> None:
    here = world(tmp_path, SCRIPT)
    here.simulator.faults.append(Fault(on="look", body=completed("1")))
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox"})
    [order] = await here.orders()

    assert len(images_in(result)) == 1
    assert order.settled_cents == 5


async def test_a_task_that_shows_fewer_pictures_by_now_keeps_its_links(tmp_path: Path) -> None:
    """Which of them are left nobody says."""
    here = world(tmp_path, SCRIPT)
    here.simulator.faults.append(Fault(on="look", body=completed("1", "2")))
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox"})
    [order] = await here.orders()

    assert not result.is_error
    assert images_in(result) == []
    assert order.urls == (f"{ELSEWHERE}/dead/1.png", f"{ELSEWHERE}/dead/2.png")


@pytest.mark.parametrize("elsewhere", [False, True], ids=["made here", "made elsewhere"])
async def test_a_fresh_link_is_good_for_another_week(tmp_path: Path, *, elsewhere: bool) -> None:
    """For how long it is where the task was made by another program, RunAPI does not say."""
    here = world(tmp_path, Script(looks_until_done=1, plain_pictures=True), environ={"FLUX2_SAVE": "off"})
    links = here.transport = LinksOfOneLook(here.simulator)
    maker = World(here.simulator, tmp_path / "maker") if elsewhere else here
    async with maker.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
    async with here.client() as client:
        await client.call_tool("task_status", {"task_id": here.paid[0].id})
        time_passes(tmp_path, days=1)
        [before] = await here.orders()
        links.expires = True
        shown = await client.call_tool("view_image", {"task_id": here.paid[0].id})
    [after] = await here.orders()

    assert len(images_in(shown)) == 1
    assert before.urls != after.urls
    if elsewhere:
        assert after.urls_expire_at is None
    else:
        assert before.urls_expire_at
        assert after.urls_expire_at
        assert after.urls_expire_at - before.urls_expire_at >= timedelta(days=1)
        assert timedelta(days=6) < after.urls_expire_at - utcnow() <= timedelta(days=7)


async def test_nobody_says_for_how_long_the_link_to_a_picture_of_others_is_good(tmp_path: Path) -> None:
    here = world(tmp_path, Script(looks_until_done=1, plain_pictures=True))
    async with World(here.simulator, tmp_path / "maker").client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
    async with here.client() as client:
        looked = await client.call_tool("task_status", {"task_id": here.paid[0].id})
    [order] = await here.orders()

    assert f"/generated/{here.paid[0].picture_name}.png" in text_of(looked)
    assert "(until " not in text_of(looked)
    assert order.urls_expire_at is None


async def test_a_name_that_leads_to_this_computer_is_not_followed(tmp_path: Path) -> None:
    """Anything may listen there; only RunAPI itself may be local."""
    script = Script(looks_until_done=1, plain_pictures=True, public_url="https://localhost")
    here = world(tmp_path, script)
    server = here.transport = PictureServer(here.simulator, answers(b""))
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox"})

    assert not result.is_error
    assert "localhost is not on the public internet, so the picture was not fetched." in text_of(result)
    assert "URL: https://localhost/generated/" in text_of(result)
    assert server.asked == []


async def test_a_wrong_content_type_is_not_believed(tmp_path: Path, era: ConnectMode) -> None:
    here, _ = troubled(tmp_path, answers(noise(128).data, Content_Type="text/html"), era)
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox"})

    assert len(images_in(result)) == 1
    assert "128 × 128 pixels, PNG" in text_of(result)


@pytest.mark.parametrize("trouble", ["404", "web page", "to a private address"])
async def test_a_picture_that_is_there_again_can_be_viewed(tmp_path: Path, trouble: str) -> None:
    answer, words = TROUBLES[trouble]
    here, server = troubled(tmp_path, answer)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})
        task_id = here.paid[0].id
        refused = await client.call_tool("view_image", {"task_id": task_id})
        server.heal()
        result = await client.call_tool("view_image", {"task_id": task_id})

    assert refused.is_error
    assert words in text_of(refused)
    assert len(images_in(result)) == 1
    assert len(here.paid) == 1


async def test_nobody_says_of_what_type_a_picture_is_that_nobody_has_seen(tmp_path: Path) -> None:
    here, _ = troubled(tmp_path, answers(b"", 404))
    async with here.client() as client:
        [link] = links_in(await client.call_tool("generate", {"prompt": "a fox"}))

    assert link.mime_type is None
    assert link.size is None


async def test_the_key_is_shown_to_no_server_of_pictures(tmp_path: Path, era: ConnectMode) -> None:
    here, server = troubled(tmp_path, answers(b"", 404), era)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox"})

    assert server.asked
    assert all(KEY not in repr(request.headers.raw) for request in server.asked)


async def test_one_download_that_hangs_keeps_no_other_back(tmp_path: Path, era: ConnectMode) -> None:
    here = world(tmp_path, Script(looks_until_done=1, plain_pictures=True), mode=era)
    here.simulator.faults.append(Fault(on="picture", hang=60))
    async with here.client("claude-code") as client:
        result = await client.call_tool("generate", {"prompt": "a fox", "count": 2, "wait_seconds": 1})

    assert len(images_in(result)) == 1
    assert len(list(here.output.iterdir())) == 1
    assert all(task.picture_name in text_of(result) for task in here.paid)
    assert "It is still being fetched; task_status shows it once it is here." in text_of(result)
