"""A caller with everything of another's in hand learns nothing of it, not even that it exists."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from anyio import to_thread
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ListRootsResult, PromptReference, ResourceTemplateReference, Root
from pydantic import FileUrl

from flux2_mcp import studio
from flux2_mcp.callers import tokens
from flux2_mcp.studio import deliveries
from tests.hosting.world import ADA, BEN, HostedWorld, Hosts
from tests.images.examples import PNG
from tests.world import KEY, text_of

NOWHERE = "00000000-0000-4000-8000-000000000000"
"""A task that nobody has."""
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|(tsk|task|order|req)[-_]\w+")


@dataclass
class Two:
    """Two callers; the first has a picture of a fox, and the second comes with all that is known of it."""

    server: HostedWorld
    ada: str
    ben: str
    task_id: str
    url: str


@pytest.fixture(params=[("runapi-key", "legacy"), ("tokens", "auto")], ids=["keys, legacy", "tokens, modern"])
async def two(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncGenerator[Two, None]:
    auth, era = request.param
    async with _server(Hosts(tmp_path, era), auth) as (server, ada, ben):
        made = await server.call(ada, "generate", prompt="a secret fox", wait_seconds=20)
        assert not made.is_error
        [task] = server.here.paid
        listed = await server.call(ada, "recent_tasks")
        assert listed.structured_content is not None
        yield Two(server, ada, ben, task.id, listed.structured_content["tasks"][0]["urls"][0])


@asynccontextmanager
async def _server(hosts: Hosts, auth: str) -> AsyncGenerator[tuple[HostedWorld, str, str], None]:
    if auth == "runapi-key":
        async with hosts.server() as server:
            yield server, ADA, BEN
        return
    path: Path = hosts.home / "tokens"
    ada, ben = [await to_thread.run_sync(lambda name=name: tokens.add(path, name, {})) for name in ("ada", "ben")]
    async with hosts.server(FLUX2_HTTP_AUTH="tokens", FLUX2_HTTP_TOKENS_FILE=str(path), RUNAPI_API_KEY=KEY) as server:
        yield server, ada, ben


async def test_no_tool_knows_the_task_of_somebody_else(two: Two) -> None:
    """What it says of a task of another's is what it says of none."""
    for tool, arguments in (
        ("task_status", {"wait_seconds": 0}),
        ("view_image", {}),
        ("view_image", {"index": 3}),
        ("gallery_task", {}),
    ):
        theirs = await two.server.call(two.ben, tool, task_id=two.task_id, **arguments)
        nobodys = await two.server.call(two.ben, tool, task_id=NOWHERE, **arguments)
        assert theirs.is_error
        assert _without_ids(theirs) == _without_ids(nobodys)


async def test_an_order_by_our_own_id_is_as_unknown(two: Two) -> None:
    state = two.server.here
    async with two.server.client(two.ada) as client:
        running = await client.call_tool("generate", {"prompt": "another fox", "wait_seconds": 0})
    [order_id] = re.findall(r"order-[0-9a-f]+", text_of(running)) or [None]
    asked = order_id or state.paid[-1].id

    theirs = await two.server.call(two.ben, "task_status", task_id=asked, wait_seconds=0)
    nobodys = await two.server.call(two.ben, "task_status", task_id=f"{asked[:-4]}0000", wait_seconds=0)

    assert _without_ids(theirs) == _without_ids(nobodys)


async def test_lists_money_and_completions_are_the_callers_own(two: Two) -> None:
    async with two.server.client(two.ben) as client:
        listed = await client.call_tool("recent_tasks", {"text": "secret"})
        shelf = [await _read(client, uri) for uri in ("flux2://tasks", "flux2://account")]
        template = ResourceTemplateReference(uri="flux2://tasks/{task_id}")
        completed = await client.complete(template, {"name": "task_id", "value": ""})
        prompts = [
            await client.complete(PromptReference(name=prompt.name), {"name": argument.name, "value": ""})
            for prompt in (await client.list_prompts()).prompts
            for argument in prompt.arguments or []
        ]
        free = [
            await client.call_tool(tool, arguments)
            for tool, arguments in (
                ("estimate_cost", {"prompt": "a fox"}),
                ("gallery_search", {}),
                ("gallery_search", {"text": "secret"}),
                ("gallery_account", {}),
            )
        ]

    said = json.dumps([each.model_dump(mode="json") for each in (listed, completed, *prompts, *free)]) + str(shelf)
    assert two.task_id not in said
    assert "secret" not in said
    assert completed.completion.values == []
    assert json.loads(shelf[1])["spent_today_usd"] == 0
    assert not any(each.is_error for each in free)


async def test_no_resource_shows_the_task_of_somebody_else(two: Two) -> None:
    async with two.server.client(two.ben) as client:
        for uri in ("flux2://tasks/{}", "flux2://tasks/{}/images/0", "flux2://tasks/{}/images/7"):
            theirs, nobodys = [await _read(client, uri.format(id)) for id in (two.task_id, NOWHERE)]
            assert ID.sub("…", theirs) == ID.sub("…", nobodys)
    async with two.server.client(two.ada) as client:
        assert two.task_id in await _read(client, f"flux2://tasks/{two.task_id}")


async def test_nobody_remixes_the_picture_of_somebody_else(two: Two) -> None:
    source = f"flux2://tasks/{two.task_id}/images/0"
    paid = len(two.server.here.paid)

    refused = await two.server.call(two.ben, "remix", prompt="in snow", source_image_urls=[source])
    own = await two.server.call(two.ada, "remix", prompt="in snow", source_image_urls=[source])

    assert refused.is_error
    assert "no task" in text_of(refused) or "knows a task" in text_of(refused)
    assert not own.is_error
    assert len(two.server.here.paid) == paid + 1


async def test_the_same_words_of_two_callers_are_two_pictures(two: Two) -> None:
    """Resuming is for one's own orders."""
    async with two.server.client(two.ada) as ada, two.server.client(two.ben) as ben:
        first = await ada.call_tool("generate", {"prompt": "a hare", "wait_seconds": 0})
        second = await ben.call_tool("generate", {"prompt": "a hare", "wait_seconds": 0})
        again = await ben.call_tool("generate", {"prompt": "a hare"})

    assert len({_id(result) for result in (first, second, again)}) == 2
    assert _id(again) == _id(second)


async def test_the_same_words_right_after_the_picture_are_another_picture(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also before the delivery is counted; what another caller was given meanwhile changes nothing of it."""
    for module in (studio, deliveries):
        monkeypatch.setattr(module, "TIME_TO_READ", 600)
    results = [await two.server.call(who, "generate", prompt="a hare") for who in (two.ada, two.ben, two.ada, two.ben)]

    assert [result.is_error for result in results] == [False] * 4
    assert len(two.server.here.paid) == 1 + 4


async def test_a_cursor_of_somebody_else_leads_nowhere(two: Two) -> None:
    async with two.server.client(two.ada) as client:
        await client.call_tool("generate", {"prompt": "a hare"})
        page = await client.call_tool("recent_tasks", {"limit": 1})
    assert page.structured_content is not None

    stolen = await two.server.call(two.ben, "recent_tasks", cursor=page.structured_content["next_cursor"])

    assert two.task_id not in text_of(stolen)


async def test_no_file_of_the_server_is_read_for_a_caller(two: Two) -> None:
    """Also not where the client says that it has the folder."""
    home = two.server.here.home
    picture = home / "fox.png"
    await to_thread.run_sync(picture.write_bytes, PNG)

    async def folders(_: object) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri=FileUrl(home.as_uri()))])

    async with two.server.client(two.ben, list_roots_callback=folders) as client:
        for source in (str(picture), picture.as_uri(), "~/fox.png", str(home / "nothing.png")):
            refused = await client.call_tool("remix", {"prompt": "in snow", "source_image_urls": [source]})
            assert "This server reads no files from its own disk" in text_of(refused)


async def test_nothing_is_saved_where_no_folder_is_set(two: Two) -> None:
    refused = await two.server.call(two.ben, "generate", prompt="a hare", save_to="/srv/hares")

    assert "this server saves no files" in text_of(refused)
    assert {each.name for each in two.server.here.home.iterdir()} <= {"data", "tokens"}


async def test_pictures_are_saved_in_a_folder_for_each_caller(hosts: Hosts) -> None:
    folder = hosts.home / "all"
    async with hosts.server(FLUX2_OUTPUT_DIR=str(folder)) as server:
        await server.call(ADA, "generate", prompt="a fox")
        [ada] = folder.iterdir()
        await server.call(BEN, "generate", prompt="a fox")
        [ben] = set(folder.iterdir()) - {ada}
        [theirs] = ada.iterdir()
        outside = [
            await server.call(BEN, "generate", prompt="a hare", save_to=save_to)
            for save_to in (str(ada), "../..", str(theirs), "~/../x")
        ]
        inside = await server.call(BEN, "generate", prompt="a hare", save_to="hares")

    assert all("save_to leads outside the folder" in text_of(result) for result in outside)
    assert not any(str(hosts.home) in text_of(result) for result in outside)
    assert not inside.is_error
    assert len(list(ada.iterdir())) == 1
    assert {each.name for each in folder.iterdir()} == {ada.name, ben.name}


async def test_login_and_what_the_server_has_are_not_offered(two: Two) -> None:
    async with two.server.client(two.ben) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]

    assert "login" not in names


async def _read(client: Client, uri: str) -> str:
    try:
        return "".join(getattr(each, "text", "") for each in (await client.read_resource(uri)).contents)
    except MCPError as error:
        return f"{error.code} {error}"


def _without_ids(result: CallToolResult) -> str:
    return ID.sub("…", text_of(result))


def _id(result: CallToolResult) -> str:
    found = re.search(r"task_id='([^']+)'", text_of(result))
    assert found, text_of(result)
    return found[1]
