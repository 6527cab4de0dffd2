from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from mcp.client.client import ConnectMode

from flux2_mcp.errors import nobody_reads
from flux2_mcp.simulator import Fault, Script
from tests.sources.owner_sources import data_uri, png
from tests.transports import NoNetwork
from tests.world import World, every, text_of, world

pytestmark = pytest.mark.virtual_time

FOX = {"prompt": "a fox", "wait_seconds": 0.1}
PIXELS = data_uri(png())

ORDERS_AGAIN = ("try again", "send the request", "call generate", "generate again")
"""Advice that would pay for a second picture, once a task exists."""

LOOKS = {
    **{str(status): Fault(on="look", status=status, times=10_000) for status in (401, 402, 403, 409, 418, 429, 500)},
    "redirect": Fault(on="look", status=302, headers={"Location": "https://elsewhere.example/"}, times=10_000),
    "no answer": Fault(on="look", lose=True, times=10_000),
    "not JSON": Fault(on="look", body="[1, 2", times=10_000),
    "a page": Fault(on="look", body="<html><title>Welcome</title></html>", times=10_000),
    "a list": Fault(on="look", body='["completed"]', times=10_000),
    "empty": Fault(on="look", body={}, times=10_000),
    "bytes": Fault(on="look", body=b"\xff\xfe\x00", times=10_000),
    "an unknown word": Fault(on="look", body={"status": "marinating"}, times=10_000),
    "404": Fault(on="look", status=404, times=10_000),
    "silence": Fault(on="look", hang=60, times=10_000),
}
"""One status of each kind; tests/runapi/test_polling.py has all of them."""
DOWNLOADS = {
    **{str(status): Fault(on="picture", status=status, times=99) for status in (401, 404, 500)},
    "no answer": Fault(on="picture", lose=True, times=99),
    "a page": Fault(on="picture", body="<html><title>Sign in</title></html>", times=99),
    "bytes": Fault(on="picture", body=b"\xff\xfe\x00", times=99),
    "nothing": Fault(on="picture", body=b"", times=99),
}


def quick_world(home: Path, *faults: Fault, mode: ConnectMode = "auto") -> World:
    here = world(home, Script(looks_until_done=2, plain_pictures=True), intervals=every(0.02), mode=mode)
    here.simulator.faults.extend(faults)
    return here


@pytest.mark.parametrize("fault", LOOKS.values(), ids=LOOKS)
async def test_the_id_survives_every_failure_to_look(tmp_path: Path, fault: Fault) -> None:
    """The task is paid for: its id comes with every answer, and no answer says to order once more."""
    here = quick_world(tmp_path, fault)
    async with here.client() as client:
        result = await client.call_tool("generate", FOX)
        here.simulator.faults.clear()
        later = await client.call_tool("task_status", {"task_id": here.paid[0].id})

    [task] = here.simulator.ledger.tasks()
    assert task.id in text_of(result)
    told = text_of(result).lower().replace("do not generate again", "")
    assert not any(advice in told for advice in ORDERS_AGAIN)
    assert not later.is_error
    assert len(list(here.output.iterdir())) == 1


@pytest.mark.parametrize("fault", DOWNLOADS.values(), ids=DOWNLOADS)
async def test_the_id_and_the_url_survive_every_failure_to_fetch(tmp_path: Path, fault: Fault) -> None:
    """The picture was made and paid for; a file that cannot be had now is no failed call."""
    here = quick_world(tmp_path, fault)
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox"})

    [task] = here.paid
    assert not result.is_error
    assert task.id in text_of(result)
    assert f"/generated/{task.picture_name}.png" in text_of(result)
    told = text_of(result).lower()
    assert not any(advice in told for advice in ORDERS_AGAIN)


@pytest.mark.parametrize(
    "names",
    [
        ("409", "418", "429", "500"),
        ("redirect", "no answer", "not JSON", "a page"),
        ("a list", "empty", "bytes", "an unknown word", "404"),
    ],
    ids=", ".join,
)
async def test_bad_looks_end_no_wait(tmp_path: Path, names: tuple[str, ...]) -> None:
    """The first looks go wrong one after the other, each in its own way."""
    here = quick_world(tmp_path, *(replace(LOOKS[name], times=1) for name in names))
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox"})

    assert not result.is_error
    assert "made the picture" in text_of(result)
    assert here.simulator.faults == []
    assert not any(seen.path == "/" for seen in here.simulator.requests)


@pytest.mark.parametrize("name", ["401", "403"])
async def test_a_key_that_is_refused_at_a_look_ends_the_wait(tmp_path: Path, name: str) -> None:
    here = quick_world(tmp_path, LOOKS[name])
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox"})

    assert result.is_error
    assert "do not generate again" in text_of(result)
    assert len(here.looks) == 1


@pytest.mark.parametrize(
    ("end", "words", "pays"),
    [("empty", ("no image", "$0.05"), True), ("failed", ("Content policy violation", "does not charge"), False)],
    ids=["empty", "failed"],
)
async def test_a_task_without_a_picture_keeps_its_id_and_says_what_it_cost(
    tmp_path: Path, era: ConnectMode, end: str, words: tuple[str, ...], *, pays: bool
) -> None:
    here = quick_world(tmp_path, mode=era)
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": f"a fox [simulate: {end}]"})

    [task] = here.simulator.ledger.tasks()
    assert result.is_error
    assert task.id in text_of(result)
    assert all(each in text_of(result) for each in words)
    assert bool(here.paid) is pays


async def test_half_letters_in_a_reason_reach_no_host(tmp_path: Path, era: ConnectMode) -> None:
    """JSON can spell one half of a surrogate pair; written to a host, it would end the server."""
    fault = Fault(on="look", body=r'{"id": "x", "status": "failed", "error": "bad \ud800 prompt"}', times=99)
    here = quick_world(tmp_path, fault, mode=era)
    async with here.client() as client:
        result = await client.call_tool("generate", FOX)

    assert "bad ? prompt" in result.model_dump_json()


@pytest.mark.parametrize("save", ["on", "off"])
async def test_a_folder_whose_name_is_no_text_is_no_trouble(tmp_path: Path, save: str) -> None:
    """On Linux a name is any bytes; Python keeps those that are no UTF-8 as halves of surrogate pairs."""
    here = quick_world(tmp_path)
    here.environ |= {"FLUX2_OUTPUT_DIR": f"{tmp_path}/caf\udce9", "FLUX2_SAVE": save}
    async with here.client() as client:
        made = await client.call_tool("generate", FOX)
        refused = await client.call_tool("generate", {**FOX, "save_to": "/etc"})
        recent = await client.call_tool("recent_tasks", {})
        tasks = await client.read_resource("flux2://tasks")
        task = await client.read_resource(f"flux2://tasks/{here.paid[0].id}")

    assert not made.is_error
    assert made.model_dump_json()
    assert not recent.is_error
    assert recent.model_dump_json()
    assert tasks.model_dump_json()
    assert task.model_dump_json()
    assert "outside the folders" in refused.model_dump_json()


async def test_a_task_that_failed_says_the_same_the_next_time(tmp_path: Path) -> None:
    here = quick_world(tmp_path)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox [simulate: failed]"})
        [task] = here.simulator.ledger.tasks()
        result = await client.call_tool("task_status", {"task_id": task.id})

    assert result.is_error
    assert task.id in text_of(result)
    assert "Content policy violation" in text_of(result)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            {"error": "Validation failed", "errors": {"prompt": ["is vulgar", "is too long"]}},
            "prompt is vulgar, is too",
        ),
        ({"errors": {"aspect_ratio": ["is odd"]}}, "aspect_ratio is odd"),
        ({"error": {"code": "invalid", "message": "prompt must be kind"}}, "prompt must be kind"),
        ({"detail": "source_image_urls[0] cannot be read"}, "source_image_urls[0] cannot be read"),
    ],
)
async def test_what_runapi_says_about_a_field_reaches_the_caller(
    tmp_path: Path, body: dict[str, object], words: str
) -> None:
    here = quick_world(tmp_path, Fault(on="create", status=422, body=body))
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox"})

    assert result.is_error
    assert words in text_of(result)
    assert "Nothing was charged" in text_of(result)
    assert len(here.creates) == 1


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, "RUNAPI_API_KEY"),
        (403, "RUNAPI_API_KEY"),
        (402, "Add credits"),
        (404, "RUNAPI_BASE_URL and RUNAPI_DIALECT"),
        (429, "Wait a minute"),
        (413, "Change"),
    ],
)
async def test_a_refused_order_says_that_nothing_was_charged_and_what_to_do(
    tmp_path: Path, status: int, remedy: str
) -> None:
    here = quick_world(tmp_path, Fault(on="create", status=status, times=99))
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox"})

    assert result.is_error
    assert "Nothing was charged" in text_of(result)
    assert remedy in text_of(result)
    assert not here.simulator.ledger.tasks()


async def test_an_order_that_runapi_did_not_accept_is_not_blamed_on_its_words_later(tmp_path: Path) -> None:
    """The call had no time left when the refusal came; `task_status` tells it."""
    here = quick_world(tmp_path, Fault(on="create", status=402, hang=0.2))
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "a fox", "wait_seconds": 0})
        [order] = await here.orders()
        result = await client.call_tool("task_status", {"task_id": order.handle})
        again = await client.call_tool("generate", {"prompt": "a fox"})

    assert result.is_error
    assert "Insufficient credits" in text_of(result)
    assert "Nothing was charged" in text_of(result)
    assert "send it again: that is a new order" in text_of(result)
    assert "Change the words" not in text_of(result)
    assert not again.is_error
    assert len(here.paid) == 1


@pytest.mark.parametrize(
    "answer", [{"status": 409}, {"body": "<h1>Welcome</h1>"}, {"body": "[]"}], ids=["409", "a page", "a list"]
)
@pytest.mark.parametrize("step", ["prepare", "confirm"])
async def test_an_upload_that_failed_says_what_to_do(
    tmp_path: Path, step: Literal["prepare", "confirm"], answer: dict[str, Any]
) -> None:
    here = quick_world(tmp_path, Fault(on=step, times=99, **answer))
    async with here.client() as client:
        result = await client.call_tool("remix", {"prompt": "a fox", "source_image_urls": [PIXELS]})

    assert result.is_error
    assert "Nothing was charged. Wait a minute, then send the request" in text_of(result)
    assert not here.simulator.ledger.tasks()


@pytest.mark.parametrize(("number", "windows", "told"), [(22, True, True), (22, False, False), (28, True, False)])
def test_a_pipe_that_nobody_reads_is_known_on_windows_too(number: int, *, windows: bool, told: bool) -> None:
    assert nobody_reads(OSError(number, ""), windows=windows) is told
    assert nobody_reads(BrokenPipeError(), windows=windows)
    assert not nobody_reads(OSError(number, "", "a name that cannot be"), windows=windows)


async def test_no_network_costs_nothing_and_says_so(tmp_path: Path) -> None:
    here = world(tmp_path, transport=NoNetwork())
    async with here.client() as client:
        result = await client.call_tool("generate", {"prompt": "a fox"})

    assert result.is_error
    assert "could not be reached" in text_of(result)
    assert "Nothing was charged" in text_of(result)


async def test_an_id_that_nobody_knows_is_refused_in_words(tmp_path: Path) -> None:
    here = quick_world(tmp_path)
    async with here.client() as client:
        result = await client.call_tool("task_status", {"task_id": "tsk_0000", "wait_seconds": 1})

    assert result.is_error
    assert "knows a task 'tsk_0000'" in text_of(result)


@pytest.mark.parametrize("task_id", ["", "../../me/balance", "a b", "ü", "x" * 4000, "%2e%2e%2fme", "1?x=2#y"])
async def test_what_cannot_be_an_id_is_never_sent(tmp_path: Path, task_id: str) -> None:
    here = quick_world(tmp_path)
    async with here.client() as client:
        result = await client.call_tool("task_status", {"task_id": task_id})

    assert result.is_error
    assert len(text_of(result)) < 600
    assert not here.simulator.requests
