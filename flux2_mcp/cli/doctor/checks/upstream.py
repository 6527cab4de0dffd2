"""What only RunAPI can tell; no check costs anything."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from dataclasses import replace
from functools import partial
from http import HTTPStatus

import anyio
import httpx

from flux2_mcp import __version__, credentials
from flux2_mcp.catalogue import catalogue
from flux2_mcp.cli.doctor.checks.finding import Computer, Finding
from flux2_mcp.errors import (
    InsecureBaseUrl,
    KeyRejected,
    NoApiKey,
    RunApiError,
    Unavailable,
    Unreachable,
    UnreadableAnswer,
    UnusableApiKey,
)
from flux2_mcp.invocation import command
from flux2_mcp.runapi.client import Connection, RunAPI
from flux2_mcp.runapi.retries import no_retries
from flux2_mcp.runapi.routes import DialectSetting

TIMEOUT = 15.0
"""Seconds for each question."""
ADDRESS = "Check the network and the address."


async def upstream(computer: Computer) -> AsyncGenerator[Finding, None]:
    """Whether RunAPI answers, which routes it has, and whether it accepts the key."""
    base_url = await anyio.to_thread.run_sync(partial(credentials.base_url, computer.settings, home=computer.home))
    look = partial(credentials.source_of_address, computer.settings, home=computer.home)
    source = await anyio.to_thread.run_sync(look)
    try:
        connection = _connection(computer, base_url, computer.settings.dialect)
    except InsecureBaseUrl as error:
        finding = Finding.of("RunAPI", error)
        yield replace(finding, message=f"{finding.message} It comes from {source}.")
        return
    try:
        reached = await _reached(connection, f"{base_url} (from {source})" if source else base_url)
        yield replace(reached, fix=_fix(source)) if reached.fix == ADDRESS else reached
        if reached.is_ok:
            yield await _routes(connection)
            if balance := await _balance(computer, connection):
                yield balance
    finally:
        await connection.aclose()


def _fix(source: str) -> str:
    """What to do where nothing is at the address that comes from there: see `credentials.source_of_address`."""
    if not source:
        return "Check the network."
    own = f"If it is a simulator of yours, start it again: `{command('simulate')}`. Else "
    if source == "RUNAPI_BASE_URL":
        return f"{own}correct RUNAPI_BASE_URL, or leave it out."
    return f"{own}`{command('logout')}` removes the address and its key, and `{command('login')}` gets a new one."


async def unreachable(computer: Computer, base_url: str, dialect: DialectSetting) -> str:
    """Why there is no RunAPI at this address, as a sentence; empty when there is one."""
    try:
        connection = _connection(computer, base_url, dialect)
    except InsecureBaseUrl as error:
        return error.typed_message
    try:
        reached = await _reached(connection, base_url)
        if not reached.is_ok:
            return reached.message
        routes = await _routes(connection)
    finally:
        await connection.aclose()
    return "" if routes.is_ok else f"{base_url} answers, but of routes it has {routes.message}"


def _connection(computer: Computer, base_url: str, dialect: DialectSetting) -> Connection:
    return Connection(
        base_url,
        dialect=dialect,
        user_agent=f"flux2-mcp/{__version__}",
        transport=computer.transport,
        sleep=computer.sleep,
    )


async def _reached(connection: Connection, base_url: str) -> Finding:
    """Ask for the prices: that needs no key."""
    name = "RunAPI"
    try:
        with anyio.fail_after(TIMEOUT):
            await RunAPI(connection, key="").price_schedules()
    except TimeoutError:
        return Finding(name, f"{base_url} does not answer.", ADDRESS)
    except Unreachable as error:
        if untrusted := _untrusted(error):
            return Finding(name, f"{base_url} shows a certificate that is not trusted: {untrusted}.", UNTRUSTED)
        return Finding(name, f"{base_url}: {error.typed_message}", ADDRESS)
    except Unavailable as error:
        return Finding.of(name, error, fix="Wait a few minutes; it is not this computer.")
    except UnreadableAnswer as error:
        return Finding(name, f"{base_url} is something else. {error.typed_message}", ADDRESS)
    except RunApiError:
        pass  # it answered, which is all that is asked here
    safely = "with a trusted certificate" if connection.origin.startswith("https:") else "without TLS, on this computer"
    return Finding(name, f"{base_url} answers, {safely}")


UNTRUSTED = (
    "If a proxy or virus scanner reads your connections, let Python trust it: SSL_CERT_FILE names its certificate."
)


def _untrusted(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
        cause = cause.__cause__ or cause.__context__
    return ""


async def _routes(connection: Connection) -> Finding:
    """Send an empty order without a key: a route that exists refuses it."""
    name = "Routes"
    for dialect in connection.routes.dialects():
        path = dialect.create_path("text_to_image")
        try:
            answer = await connection.send(connection.request("POST", path, json={}, extensions={"waits": no_retries}))
        except httpx.RequestError:
            return Finding(name, f"no answer at {path}.", ADDRESS)
        if _is_refusal(answer):
            return Finding(name, f"{dialect.name} dialect, {path}")
    return Finding(name, "none that makes pictures.", "Check RUNAPI_BASE_URL, and leave out RUNAPI_DIALECT.")


def _is_refusal(answer: httpx.Response) -> bool:
    """Whether this is how RunAPI says no; another server may answer 200, send elsewhere or ask for a password."""
    if answer.is_server_error:
        return True
    if not answer.is_client_error or answer.status_code in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
        return False
    try:
        return isinstance(answer.json(), dict)
    except (ValueError, RecursionError):
        return False


async def _balance(computer: Computer, connection: Connection) -> Finding | None:
    """What the key can pay; None without a key, which has a line of its own."""
    name = "Balance"
    try:
        held = await anyio.to_thread.run_sync(partial(credentials.credentials, computer.settings, home=computer.home))
        with anyio.fail_after(TIMEOUT):
            balance = await RunAPI(connection, held.key).balance()
    except (NoApiKey, UnusableApiKey):
        return None
    except KeyRejected as error:
        fix = f"Make a new key: `{command('login')}`, or https://runapi.ai/api_keys for RUNAPI_API_KEY."
        return Finding(name, f"RunAPI does not accept the key. {error.typed_message}", fix)
    except TimeoutError:
        return Finding(name, "RunAPI does not answer in time.", ADDRESS)
    except RunApiError as error:
        return Finding.of(name, error)
    dollars = f"${balance.balance_cents / 100:.2f}"
    if balance.balance_cents < _cheapest():
        return Finding(name, f"{dollars} is too little for a picture.", "Add credits at https://runapi.ai.")
    return Finding(name, dollars)


def _cheapest() -> int:
    """Cents for a picture of the cheapest model."""
    return min((each for cents in catalogue().built_in_prices().cents.values() for each in cents.values()), default=1)
