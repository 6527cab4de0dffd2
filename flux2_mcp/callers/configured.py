"""How the settings say that callers are told apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flux2_mcp.budget import Limits
from flux2_mcp.callers import Authenticator
from flux2_mcp.callers.secret import Secret
from flux2_mcp.credentials import VARIABLE, checked_key, expanded
from flux2_mcp.errors import BadSetting
from flux2_mcp.settings import Settings

if TYPE_CHECKING:
    from flux2_mcp.callers.oauth import OAuth


def authenticator(settings: Settings, secret: Secret, *, home: Path, folder: Path) -> Authenticator:
    """Who knows the callers of this server; `folder` is its data folder. Blocks.

    Raises:
        BadSetting: Something that this takes is not set, or cannot be used.
        NoApiKey: The key that pays is an unexpanded placeholder.
        UnusableApiKey: The key that pays cannot be one.
    """
    limits = Limits.of(settings)
    if settings.http_auth == "runapi-key":
        from flux2_mcp.callers.runapi_keys import RunApiKeys

        if settings.api_key is not None:
            msg = "RUNAPI_API_KEY is set, but with FLUX2_HTTP_AUTH=runapi-key every caller pays with a key of theirs."
            raise BadSetting(msg, remedy="Take it out, or use FLUX2_HTTP_AUTH=tokens to have this key pay for all.")
        return RunApiKeys(secret, limits)
    if settings.api_key is None:
        msg = f"FLUX2_HTTP_AUTH={settings.http_auth} needs the RunAPI key that pays for all callers."
        raise BadSetting(
            msg, remedy="Set RUNAPI_API_KEY; a key that `login` saved is one person's, and is not used here."
        )
    key = checked_key(settings.api_key.get_secret_value(), VARIABLE)
    if settings.http_auth == "tokens":
        from flux2_mcp.callers.tokens import Tokens

        tokens = Tokens(tokens_file(settings, home=home, folder=folder), key=key, limits=limits)
        tokens.read()
        return tokens
    from flux2_mcp.callers.oauth import OAuthTokens

    return OAuthTokens(oauth_of(settings), secret=secret, key=key, limits=limits)


def tokens_file(settings: Settings, *, home: Path, folder: Path) -> Path:
    """Where the tokens of callers are."""
    from flux2_mcp.callers.tokens import FILE_NAME

    return home / expanded(settings.tokens_file, home) if settings.tokens_file else folder / FILE_NAME


def oauth_of(settings: Settings) -> OAuth:
    """Whose access tokens are taken.

    Raises:
        BadSetting: The issuer or the resource is not set, or no https address.
    """
    from flux2_mcp.callers.oauth import OAuth

    issuer = _address(settings.oauth_issuer, "FLUX2_OAUTH_ISSUER")
    resource = _address(settings.oauth_resource, "FLUX2_OAUTH_RESOURCE")
    keys = settings.oauth_jwks_url or f"{issuer.rstrip('/')}/.well-known/jwks.json"
    return OAuth(issuer, resource, settings.oauth_scopes.split(), _address(keys, "FLUX2_OAUTH_JWKS_URL"))


def _address(text: str | None, variable: str) -> str:
    if text is None:
        msg = f"FLUX2_HTTP_AUTH=oauth needs {variable}."
        raise BadSetting(msg)
    if not text.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
        msg = f"{variable} has to be an https:// address."
        raise BadSetting(msg)
    return text
