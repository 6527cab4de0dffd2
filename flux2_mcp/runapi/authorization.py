"""RunAPI's browser login: the values of its proof (PKCE, S256), the page to open, and the code that becomes a key."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import httpx
from pydantic import ValidationError

from flux2_mcp.errors import LoginFailed
from flux2_mcp.runapi.http_errors import error_from
from flux2_mcp.runapi.models import Wire

if TYPE_CHECKING:
    from flux2_mcp.runapi.client import Connection

LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Of display codes: 5 bits each, none that is taken for another."""


@dataclass(frozen=True)
class Proof:
    """What shows RunAPI that whoever comes with a code is whoever opened the page. None of it is used twice."""

    state: str = field(repr=False)
    verifier: str = field(repr=False)
    display_code: str
    """What the person compares: the page shows it too."""

    @property
    def challenge(self) -> str:
        return challenge_of(self.verifier)


def new_proof() -> Proof:
    """Values that nobody can guess."""
    return Proof(
        state=_base64url(secrets.token_bytes(32)),
        verifier=verifier_of(secrets.token_bytes(32)),
        display_code=display_code_of(secrets.token_bytes(5)),
    )


def verifier_of(random: bytes) -> str:
    """32 random bytes as 43 characters."""
    return _base64url(random)


def challenge_of(verifier: str) -> str:
    """What the page is given in place of the verifier."""
    return _base64url(hashlib.sha256(verifier.encode("ascii")).digest())


def display_code_of(random: bytes) -> str:
    """5 random bytes as `XXXX-XXXX`."""
    number = int.from_bytes(random, "big")
    letters = "".join(LETTERS[number >> shift & 31] for shift in range(35, -1, -5))
    return f"{letters[:4]}-{letters[4:]}"


def authorize_url(base_url: str, proof: Proof, *, port: int, hostname: str) -> str:
    """The page where the person decides; it sends their browser back to this port of 127.0.0.1."""
    asked = {
        "state": proof.state,
        "code_challenge": proof.challenge,
        "code_challenge_method": "S256",
        "redirect_port": port,
        "display_code": proof.display_code,
        "hostname": hostname,
    }
    return f"{base_url.rstrip('/')}/cli/authorize?{urlencode(asked)}"


async def exchange(connection: Connection, code: str, proof: Proof, *, port: int, hostname: str) -> str:
    """The key for which the browser brought this code. One try: a code is good for one.

    Raises:
        LoginFailed: RunAPI did not give one.
    """
    body = {"code": code, "code_verifier": proof.verifier, "redirect_port": port}
    headers = {"X-CLI-Hostname": hostname}
    request = connection.request("POST", "/api/v1/cli/exchange", json=body, headers=headers)
    try:
        response = await connection.send(request)
    except httpx.RequestError as error:
        msg = "RunAPI did not answer when the key was fetched."
        raise LoginFailed(msg) from error
    if not response.is_success:
        refusal = error_from(
            response, mask=lambda text: text.replace(code, "[code]").replace(proof.verifier, "[proof]")
        )
        raise LoginFailed(refusal.message) from refusal
    try:
        return Issued.model_validate_json(response.content).key
    except ValidationError:
        msg = f"RunAPI's answer holds no key (HTTP {response.status_code})."
        raise LoginFailed(msg) from None


class Issued(Wire):
    """What the exchange gives."""

    key: str = field(repr=False)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
