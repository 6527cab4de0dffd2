"""The thinnest proxy that the SDK and httpx allow: what a call of ours may cost is measured beside it.

It keeps no history, reports no progress and resumes nothing. It looks as the vendor's own clients do: at once, and then
every two seconds. With `--download` it also fetches the picture.
"""

from __future__ import annotations

import os
import sys

import anyio
import httpx
from mcp.server.mcpserver import MCPServer

CREATE = "/api/v1/flux_2/text_to_image"
BETWEEN_LOOKS = 2.0
"""Seconds."""


def main() -> None:
    """Serve generate over stdio."""
    downloads = "--download" in sys.argv
    server = MCPServer("thin", log_level="WARNING")
    runapi = httpx.AsyncClient(
        base_url=os.environ["RUNAPI_BASE_URL"],
        headers={"Authorization": f"Bearer {os.environ['RUNAPI_API_KEY']}"},
        timeout=60,
    )

    @server.tool()
    async def generate(prompt: str, wait_seconds: float = 45) -> str:
        """Make a picture from words."""
        with anyio.fail_after(wait_seconds):
            made = await runapi.post(CREATE, json={"model": "flux-2-pro-text-to-image", "prompt": prompt})
            path = f"{CREATE}/{made.raise_for_status().json()['id']}"
            while (task := (await runapi.get(path)).raise_for_status().json())["status"] != "completed":  # noqa: ASYNC110
                await anyio.sleep(BETWEEN_LOOKS)
        url = task["images"][0]["url"]
        size = len((await runapi.get(url)).raise_for_status().content) if downloads else "unknown"
        return f"I made the picture: {url} ({size} bytes)."

    server.run("stdio")


if __name__ == "__main__":
    main()
