"""Callers who bring their own RunAPI key: `Authorization: Bearer <RunAPI key>`."""

from __future__ import annotations

from flux2_mcp.budget import Limits
from flux2_mcp.callers import Caller
from flux2_mcp.callers.secret import Secret
from flux2_mcp.credentials import PREFIXES, checked_key
from flux2_mcp.errors import NoApiKey, UnusableApiKey

SHORTEST = 16
"""Characters of the shortest text that is taken for a key."""


class RunApiKeys:
    """Takes everything that has the shape of a RunAPI key; RunAPI is the one who knows whether it is one."""

    def __init__(self, secret: Secret, limits: Limits) -> None:
        self._secret = secret
        self._limits = limits

    async def caller(self, credential: str) -> Caller | None:
        """Whoever has this key."""
        try:
            key = checked_key(credential, "The key")
        except (NoApiKey, UnusableApiKey):
            return None
        if not key.startswith(PREFIXES) or len(key) < SHORTEST:
            return None
        return Caller(self._secret.name_of("key", key), key, self._limits, brings_key=True)
