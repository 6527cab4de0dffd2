"""On a real socket: the vendor's own packages, unmodified, and what only a socket can show."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from runapi.core import PricingClient
from runapi.core.errors import InsufficientCreditsError, NotFoundError, TaskFailedError, ValidationError
from runapi.core.http_client import HttpClient
from runapi.core.options import ClientOptions, RequestOptions
from runapi.flux_2 import Flux2Client
from starlette.types import ASGIApp, Receive, Scope, Send

from flux2_mcp.simulator import Fault, Script, Simulator
from tests.simulator.api_client import FOX

# The answers of the official packages have no types: their fields are made at run time.
Answer = Any

MODEL, REMIX_MODEL = "flux-2-pro-text-to-image", "flux-2-flex-remix-image"


@contextlib.contextmanager
def served(app: ASGIApp) -> Generator[str]:
    """The origin of an app on a port of its own, served by uvicorn in a thread."""
    # It listens before uvicorn runs, so nobody has to wait until it does.
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="on", ws="none", log_level="error"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(Script(looks_until_done=1, plain_pictures=True))


@pytest.fixture(scope="module")
def origin(simulator: Simulator) -> Iterator[str]:
    with served(simulator) as origin:
        yield origin


@pytest.fixture
def client(origin: str) -> Iterator[Flux2Client]:
    with official_http(origin, api_key="sk-official") as http:
        yield Flux2Client(api_key="sk-official", http_client=http)


@contextlib.contextmanager
def official_http(origin: str, api_key: str | None = None) -> Generator[HttpClient]:
    """The SDK's own HTTP client, which it offers no other way to close."""
    http = HttpClient(ClientOptions(api_key=api_key, base_url=origin, max_retries=0))
    try:
        yield http
    finally:
        http.close()


def test_text_to_image_runs(client: Flux2Client) -> None:
    result: Answer = client.text_to_image.run(model=MODEL, prompt="a cedar canoe at dawn", aspect_ratio="16:9")

    assert result.status == "completed"
    assert result.usage.cost == 0.05
    assert httpx.get(result.images[0].url).content.startswith(b"\x89PNG")


def test_a_local_file_is_uploaded_and_remixed(client: Flux2Client, tmp_path: Path, red_png: bytes) -> None:
    path = tmp_path / "red.png"
    path.write_bytes(red_png)
    file: Answer = client.files.create(file=str(path))
    result: Answer = client.remix_image.run(model=REMIX_MODEL, prompt="as a stamp", source_image_urls=[file.url])

    assert (file.file_name, file.size_bytes, file.mime_type) == ("red.png", len(red_png), "image/png")
    assert result.usage.cost == 0.14


def test_a_file_is_registered_by_its_address(client: Flux2Client) -> None:
    file: Answer = client.files.create(source="https://img.example/a.png", file_name="a.png")

    assert file.file_name == "a.png"


def test_the_account_is_read(client: Flux2Client) -> None:
    balance: Answer = client.account.balance()
    info: Answer = client.account.info()

    assert balance.balance_cents + balance.spent_cents_total == 1000
    assert info.account.name


def test_prices_are_listed_and_quoted(origin: str, client: Flux2Client) -> None:
    listed: Answer = client.pricing.list_schedules(service="flux_2")
    params = {"output_resolution": "2k"}
    quoted: Answer = client.pricing.create_quote("flux_2", "remix_image", REMIX_MODEL, params)
    with official_http(origin) as keyless:
        public: Answer = PricingClient(http_client=keyless).list_schedules(model=MODEL)
    etag = public.response_headers.get("ETag")
    options = RequestOptions(headers={"If-None-Match": etag})

    assert len(listed.price_schedules) == 4
    assert quoted.price_quote.reservation_amount_cents == 24
    assert [schedule.unit_price_cents for schedule in public.price_schedules] == [5]
    assert client.pricing.list_schedules(model=MODEL, options=options) is None


def test_an_accepted_task_is_followed_by_its_location(client: Flux2Client, simulator: Simulator) -> None:
    """The SDK's own reader of `/api/v1/tasks/{id}` understands ours, for good ends and bad."""
    good: Answer = client.text_to_image.create(model=MODEL, prompt="a fox")
    bad: Answer = client.text_to_image.create(model=MODEL, prompt="a fox [simulate: failed]")
    result: Answer = client.text_to_image.subscribe(f"/api/v1/tasks/{good.id}")

    assert result.usage.cost == 0.05
    with pytest.raises(ValidationError, match="Content policy violation"):
        client.text_to_image.subscribe(f"/api/v1/tasks/{bad.id}")
    assert bad.id not in [task.id for task in simulator.ledger.paid_tasks()]


def test_refusals_become_the_sdks_own_errors(client: Flux2Client, simulator: Simulator) -> None:
    with pytest.raises(ValidationError) as invalid:
        client.text_to_image.create(model=MODEL, prompt="a", output_count=1)
    with pytest.raises(NotFoundError):
        client.remix_image.get("00000000-0000-4000-8000-000000000000")
    with pytest.raises(TaskFailedError, match="Content policy violation"):
        client.text_to_image.run(model=MODEL, prompt="a fox [simulate: failed]")
    simulator.faults.append(Fault(on="create", status=402))
    with pytest.raises(InsufficientCreditsError):
        client.text_to_image.create(model=MODEL, prompt="a fox")

    details: Answer = invalid.value.details
    assert set(details["errors"]) == {"prompt", "output_count"}


def test_the_guides_own_request_works(origin: str) -> None:
    """The body of the curl example at https://runapi.ai/openclaw-flux-2.md."""
    body = """{
        "model": "flux-2-pro-text-to-image",
        "prompt": "a ceramic vase with dried flowers on a linen tablecloth, natural window light, 35mm film grain",
        "aspect_ratio": "3:4",
        "output_resolution": "2k"
      }"""
    headers = {"Authorization": "Bearer sk-guide", "Content-Type": "application/json"}
    answer = httpx.post(f"{origin}/v1/text_to_image", content=body, headers=headers).json()
    ended = httpx.get(f"{origin}/v1/tasks/{answer['task_id']}", headers=headers).json()

    assert answer == {"task_id": answer["task_id"], "status": "pending", "model": "flux-2-pro-text-to-image"}
    assert ended["usage"]["cost"] == 0.07


@pytest.mark.parametrize("after", [False, True])
def test_a_lost_answer_closes_the_connection(origin: str, simulator: Simulator, *, after: bool) -> None:
    key = f"sk-loses-{after}"
    simulator.faults.append(Fault(on="create", lose=True, after=after))
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(f"{origin}/v1/text_to_image", json=FOX, headers={"Authorization": f"Bearer {key}"})

    assert len(simulator.ledger.tasks(key)) == after
    assert httpx.get(origin).status_code == 200


def test_a_server_delivers_webhooks_by_itself(origin: str) -> None:
    heard, bodies = threading.Event(), list[bytes]()

    async def receiver(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        bodies.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        heard.set()

    with served(receiver) as hook:
        body = {**FOX, "callback_url": f"{hook}/hook"}
        headers = {"Authorization": "Bearer sk-hooked"}
        task_id = httpx.post(f"{origin}/v1/text_to_image", json=body, headers=headers).json()["task_id"]
        httpx.get(f"{origin}/v1/tasks/{task_id}", headers=headers)

        assert heard.wait(5)

    (told,) = [json.loads(body) for body in bodies]
    assert (told["id"], told["status"]) == (task_id, "completed")
