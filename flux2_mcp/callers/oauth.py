"""Callers with access tokens of an OAuth 2 authorization server: JSON Web Tokens, and one RunAPI key for all.

Checked are the signature, the issuer, the audience, the expiry and the scopes: RFC 9068, but for the type in the
header, which many servers leave out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import anyio.to_thread
import jwt
from jwt.exceptions import InvalidTokenError, PyJWKClientConnectionError, PyJWKClientError, PyJWKSetError

from flux2_mcp.budget import Limits
from flux2_mcp.callers import Caller, CannotVerify, MissingScope
from flux2_mcp.callers.secret import Secret

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""With a public key only: who can verify must not be able to sign."""
CLOCK_SKEW = 60
"""Seconds by which two computers' clocks may differ."""


@dataclass(frozen=True)
class OAuth:
    """Whose tokens are taken, and for what."""

    issuer: str
    resource: str
    """This server's address, which has to be among a token's audience."""
    scopes: Sequence[str]
    jwks_url: str


class OAuthTokens:
    """Knows callers by the subject of their access token."""

    def __init__(self, oauth: OAuth, *, secret: Secret, key: str, limits: Limits) -> None:
        self._oauth = oauth
        self._secret = secret
        self._key = key
        self._limits = limits
        self._keys = _Keys(oauth.jwks_url, timeout=10)
        # Of its own: while the issuer does not answer, others need their threads.
        self._limiter = anyio.CapacityLimiter(4)

    async def caller(self, credential: str) -> Caller | None:
        """Whose token this is; see `Authenticator`."""
        try:
            claims = await anyio.to_thread.run_sync(self._claims, credential, limiter=self._limiter)
        except (PyJWKClientConnectionError, PyJWKSetError, OSError) as error:
            raise CannotVerify from error
        except (InvalidTokenError, PyJWKClientError):
            return None
        if missing := set(self._oauth.scopes) - _scopes(claims):
            raise MissingScope(" ".join(sorted(missing)))
        name = self._secret.name_of("subject", f"{self._oauth.issuer} {claims['sub']}")
        return Caller(name, self._key, self._limits, brings_key=False)

    def _claims(self, credential: str) -> dict[str, Any]:
        key = self._keys.get_signing_key_from_jwt(credential)
        return jwt.decode(
            credential,
            key,
            algorithms=ALGORITHMS,
            issuer=self._oauth.issuer,
            audience=[self._oauth.resource, f"{self._oauth.resource}/"],
            leeway=CLOCK_SKEW,
            options={"require": ["exp", "sub", "iss", "aud"]},
        )


class _Keys(jwt.PyJWKClient):
    """The issuer's keys. A token that names an unknown one has them fetched anew, but not for every such token."""

    PAUSE: ClassVar[float] = 10.0
    """Seconds."""

    def __init__(self, url: str, *, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(url, timeout=timeout)
        self._clock = clock
        self._fetched_at = -self.PAUSE
        self._is_reached = False

    def fetch_data(self) -> Any:  # noqa: ANN401 as in PyJWT
        now = self._clock()
        if now - self._fetched_at < self.PAUSE:
            msg = "The keys were asked for a moment ago."
            raise PyJWKClientError(msg) if self._is_reached else PyJWKClientConnectionError(msg)
        self._fetched_at, self._is_reached = now, False
        try:
            found = super().fetch_data()
        except ValueError as error:  # no JSON
            msg = "The issuer's keys cannot be read."
            raise PyJWKClientConnectionError(msg) from error
        self._is_reached = True
        return found


def _scopes(claims: dict[str, Any]) -> set[str]:
    """`scope` is a text (RFC 9068); some servers send a list, or call it `scp`."""
    stated = claims.get("scope", claims.get("scp", ""))
    return set(stated.split() if isinstance(stated, str) else map(str, stated or ()))
