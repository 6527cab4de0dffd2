"""Who is calling a server that many use: from the credential of a request to a caller.

A caller's name is no secret and stays the same; whose orders are whose follows from it. Where the credential itself is
one, or names a person, the name is a keyed hash of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from flux2_mcp.budget import Limits

LONGEST_CREDENTIAL = 8192
"""Characters of the longest bearer token that is looked at."""


class MissingScope(Exception):
    """The credential is right, but may not be used for this; names what it lacks."""


class CannotVerify(Exception):
    """Whether the credential is right cannot be found out now."""


@dataclass(frozen=True)
class Caller:
    """Whoever makes a request of a server that many use."""

    name: str
    key: str = field(repr=False)
    """The RunAPI key that pays."""
    limits: Limits
    brings_key: bool
    """Whether that key is the caller's own. Else others pay with it too: then its balance, and what is known of it
    only by RunAPI, is none of the caller's business."""


class Authenticator(Protocol):
    """Knows callers by their credentials."""

    async def caller(self, credential: str) -> Caller | None:
        """Whose credential this is; None when it is nobody's.

        Raises:
            MissingScope: It is somebody's, but not for this server.
            CannotVerify: Whose it is cannot be found out now.
        """
        ...
