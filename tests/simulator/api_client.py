"""What every test here uses: an HTTP client in front of a simulator whose clock the test moves."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import httpx

from flux2_mcp.simulator import Fault, Script, Simulator

TEXT, REMIX = "/api/v1/flux_2/text_to_image", "/api/v1/flux_2/remix_image"
FOX: Mapping[str, object] = {"model": "flux-2-pro-text-to-image", "prompt": "a fox in the snow"}
BLEND: Mapping[str, object] = {
    "model": "flux-2-pro-remix-image",
    "prompt": "as one poster",
    "source_image_urls": ["https://img.example/a.png"],
}
KEY = "sk-simulated-0001"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


class ApiClient:
    """A client with a key, the simulator behind it, and its clock."""

    def __init__(self, http: httpx.AsyncClient, simulator: Simulator, clock: Clock) -> None:
        self.http = http
        self.simulator = simulator
        self.clock = clock

    async def create(self, body: Mapping[str, object] = FOX, path: str = TEXT, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(path, json=body, headers=named)

    async def created(self, body: Mapping[str, object] = FOX, path: str = TEXT) -> str:
        """The id of a new task."""
        response = await self.create(body, path)
        assert response.status_code == 200, response.text
        return str(response.json().get("id") or response.json()["task_id"])

    async def look(self, task_id: str, path: str = TEXT) -> dict[str, object]:
        return (await self.http.get(f"{path}/{task_id}")).json()

    async def cost(self, task_id: str) -> float:
        """What a completed task says it has cost, in dollars."""
        return float((await self.http.get(f"{TEXT}/{task_id}")).json()["usage"]["cost"])

    async def balance(self) -> int:
        return int((await self.http.get("/api/v1/me/balance")).json()["balance_cents"])

    async def upload(self, data: bytes, name: str = "a.png") -> str:
        """The address of an uploaded file."""
        response = await self.http.post("/api/v1/files", files={"file": (name, data)})
        assert response.status_code == 200, response.text
        return str(response.json()["url"])


@asynccontextmanager
async def api_client(script: Script | None = None, *faults: Fault, key: str = KEY) -> AsyncGenerator[ApiClient]:
    clock = Clock()
    simulator = Simulator(script or Script(plain_pictures=True), clock=clock)
    simulator.faults.extend(faults)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    transport = httpx.ASGITransport(app=simulator)
    async with httpx.AsyncClient(transport=transport, base_url="http://runapi.test", headers=headers) as http:
        yield ApiClient(http, simulator, clock)
