"""Access tokens of an authorization server: what RFC 9068 asks to be checked, and what a client is told."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.hosting.world import HostedWorld, Hosts, bearer
from tests.processes import on_a_port
from tests.world import KEY, NO_CERTIFICATES, text_of

RESOURCE = "https://flux2.example/mcp"
STRANGERS = generate_private_key(65537, 2048)
OURS = generate_private_key(65537, 2048)


@dataclass
class Issuer:
    """An authorization server that has a key, and says which."""

    url: str = ""
    fetched: int = 0
    is_down: bool = False
    claims: dict[str, Any] = field(default_factory=dict[str, Any])

    async def keys(self, _: Request) -> Response:
        self.fetched += 1
        public = json.loads(RSAAlgorithm.to_jwk(OURS.public_key()))
        return Response("", 503) if self.is_down else JSONResponse({"keys": [{**public, "kid": "1", "use": "sig"}]})

    def token(
        self, *, key: RSAPrivateKey | str = OURS, algorithm: str = "RS256", kid: str = "1", **claims: object
    ) -> str:
        everything = {
            "iss": self.url,
            "aud": RESOURCE,
            "sub": "ada",
            "exp": time.time() + 600,
            "scope": "pictures",
            **claims,
        }
        given = {name: value for name, value in everything.items() if value is not None}
        return jwt.encode(given, key, algorithm=algorithm, headers={"kid": kid})


@asynccontextmanager
async def issuing(hosts: Hosts) -> AsyncGenerator[tuple[Issuer, HostedWorld], None]:
    issuer = Issuer()
    async with (
        on_a_port(Starlette(routes=[Route("/.well-known/jwks.json", issuer.keys)])) as issuer.url,
        hosts.server(
            FLUX2_HTTP_AUTH="oauth",
            RUNAPI_API_KEY=KEY,
            FLUX2_OAUTH_ISSUER=issuer.url,
            FLUX2_OAUTH_RESOURCE=RESOURCE,
            FLUX2_OAUTH_SCOPES="pictures",
        ) as server,
    ):
        yield issuer, server


async def test_the_subject_of_a_token_is_the_owner(hosts_of_era: Hosts) -> None:
    async with issuing(hosts_of_era) as (issuer, server):
        await server.call(issuer.token(), "generate", prompt="a fox")
        hers = await server.call(issuer.token(exp=time.time() + 60), "recent_tasks")
        his = await server.call(issuer.token(sub="ben"), "recent_tasks")

    assert "a fox" in text_of(hers)
    assert "a fox" not in text_of(his)
    assert [seen.headers["authorization"] for seen in server.here.creates] == [f"Bearer {KEY}"]
    assert issuer.fetched == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"aud": "https://other.example/mcp"},
        {"aud": None},
        {"iss": "https://other.example"},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"nbf": 10**10},
        {"key": STRANGERS},
        {"kid": "2"},
        {"key": "0123456789abcdef0123456789abcdef", "algorithm": "HS256"},
        {"key": "", "algorithm": "none"},
    ],
    ids=[
        *("another audience", "no audience", "another issuer", "expired", "no end", "no subject", "not yet", "forged"),
        *("unknown key", "signed with a text", "unsigned"),
    ],
)
async def test_a_token_that_is_not_for_us_is_refused(hosts: Hosts, wrong: dict[str, Any]) -> None:
    async with issuing(hosts) as (issuer, server):
        answer = await server.post(bearer(issuer.token(**wrong)))

    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


async def test_a_token_without_the_scope_is_told_which(hosts: Hosts) -> None:
    async with issuing(hosts) as (issuer, server):
        answer = await server.post(bearer(issuer.token(scope="mail")))
        as_a_list = await server.call(issuer.token(scope=None, scp=["pictures"]), "recent_tasks")

    assert answer.status_code == 403
    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
    assert "pictures" in answer.json()["error_description"]
    assert not as_a_list.is_error


async def test_a_client_finds_out_where_to_get_a_token(hosts: Hosts) -> None:
    async with issuing(hosts) as (issuer, server):
        asked = await server.post({})
        path = "/.well-known/oauth-protected-resource/mcp"
        async with httpx.AsyncClient(verify=NO_CERTIFICATES) as http:
            metadata = (await http.get(server.url.removesuffix("/mcp") + path)).json()

    assert asked.status_code == 401
    assert f'resource_metadata="https://flux2.example{path}"' in asked.headers["WWW-Authenticate"]
    assert metadata["resource"] == RESOURCE
    assert [address.rstrip("/") for address in metadata["authorization_servers"]] == [issuer.url]
    assert metadata["scopes_supported"] == ["pictures"]


async def test_an_issuer_that_is_down_is_no_fault_of_the_caller(hosts: Hosts) -> None:
    async with issuing(hosts) as (issuer, server):
        issuer.is_down = True
        answers = [await server.post(bearer(issuer.token())) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503] * 3
    assert int(answers[0].headers["Retry-After"]) > 0


async def test_tokens_with_unknown_keys_do_not_make_us_ask_for_keys_all_the_time(hosts: Hosts) -> None:
    async with issuing(hosts) as (issuer, server):
        answers = [await server.post(bearer(issuer.token(kid=str(kid)))) for kid in range(2, 8)]
        right = await server.call(issuer.token(), "recent_tasks")

    assert [answer.status_code for answer in answers] == [401] * 6
    assert not right.is_error
    assert issuer.fetched == 1
