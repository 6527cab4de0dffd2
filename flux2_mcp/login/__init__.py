"""Log in with the browser: RunAPI asks the person, the browser brings a code, the code becomes a key that is saved."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from flux2_mcp import __version__, credentials
from flux2_mcp.errors import KeyRejected, LoginFailed, NoApiKey, RunApiError, Unreachable, UnusableApiKey
from flux2_mcp.settings import Settings

if TYPE_CHECKING:
    import httpx

    from flux2_mcp.login.callback_server import Callback
    from flux2_mcp.runapi.client import Connection

PATIENCE = 300.0
"""Seconds that a person has to decide."""
REACH_PATIENCE = 5.0
"""Seconds that RunAPI has to answer at all, before a person is asked."""
BROWSER_PATIENCE = 10.0
"""Seconds that a browser has to start."""
HOSTNAME_LENGTH = 100

OpenBrowser = Callable[[str], bool]


@dataclass(frozen=True)
class LoggedIn:
    """A key that RunAPI knows, and that is saved."""

    masked_key: str
    """The key as people may see it."""
    file: Path
    balance_cents: int
    address: str
    """Of the RunAPI that it is for."""
    replaced: str = ""
    """The key that was there before, as people may see it; empty when there was no other."""

    def __str__(self) -> str:
        saved = (
            f"Logged in at {self.address}: {self.masked_key} is saved in {self.file}. "
            f"The balance is ${self.balance_cents / 100:.2f}."
        )
        return f"{saved} It replaces the key {self.replaced}." if self.replaced else saved


@dataclass(frozen=True)
class Keyring:
    """Where the key is saved, and the connection to the RunAPI that it is for."""

    settings: Settings
    home: Path
    transport: httpx.AsyncBaseTransport | None = None

    async def check(self) -> None:
        """Check that a login can change something, before a person is asked.

        Raises:
            LoginFailed: RUNAPI_API_KEY is set, which no saved key would replace.
            BadSetting: The config file is not one that can be added to.
        """
        if self.settings.api_key is not None:
            wins = "it wins over a saved key, so a login would change nothing."
            try:
                credentials.checked_key(self.settings.api_key.get_secret_value(), credentials.VARIABLE)
            except (NoApiKey, UnusableApiKey) as error:
                msg = f"{error.message} As long as it is set, {wins}"
                raise LoginFailed(msg, charge="Nothing was changed.", remedy=error.remedy) from error
            msg = f"RUNAPI_API_KEY is set, and {wins}"
            raise LoginFailed(
                msg, charge="Nothing was changed.", remedy="Remove it where it is set, then log in, or keep using it."
            )
        await anyio.to_thread.run_sync(partial(credentials.file_to_change, self.settings, home=self.home))

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[Connection, None]:
        """A connection to RunAPI, without a key.

        Raises:
            InsecureBaseUrl: The key would travel without TLS.
        """
        from flux2_mcp.runapi.client import Connection

        connection = Connection(self.base_url, user_agent=f"flux2-mcp/{__version__}", transport=self.transport)
        try:
            yield connection
        finally:
            await connection.aclose()

    async def check_reachable(self, connection: Connection) -> None:
        """Check that RunAPI answers, before a person is asked.

        Raises:
            LoginFailed: Nothing answers at its address.
        """
        from flux2_mcp.runapi.client import RunAPI
        from flux2_mcp.runapi.retries import no_retries

        try:
            with anyio.fail_after(REACH_PATIENCE):
                await RunAPI(connection, "").price_schedules(waits=no_retries)
        except (Unreachable, TimeoutError) as error:
            msg = f"Nothing answers at {self.base_url}, so a key could not be checked."
            raise LoginFailed(msg, remedy="Check the network and RUNAPI_BASE_URL, then log in again.") from error
        except RunApiError:
            pass  # it answered, which is all that is asked here

    @property
    def base_url(self) -> str:
        """Where a key is got. Not the saved address: that one is for the saved key."""
        return self.settings.base_url or credentials.DEFAULT_BASE_URL

    async def key_to_replace(self) -> str:
        """The saved key as people may see it, when it still works or is for another address; else nothing."""
        saved = await anyio.to_thread.run_sync(self._saved)
        if saved is None:
            return ""
        if saved.base_url.rstrip("/") != self.base_url.rstrip("/"):
            return f"{credentials.masked(saved.key)}, for {saved.base_url}"
        return credentials.masked(saved.key) if await self._works(saved.key) else ""

    async def _works(self, key: str) -> bool:
        from flux2_mcp.runapi.client import RunAPI

        async with self.connected() as connection:
            try:
                with anyio.fail_after(REACH_PATIENCE):
                    await RunAPI(connection, credentials.checked_key(key, "The saved RunAPI key")).balance()
            except (RunApiError, NoApiKey, UnusableApiKey, TimeoutError):
                return False
        return True

    def _saved(self) -> credentials.Credentials | None:
        return credentials.saved_credentials(self.settings, home=self.home)

    async def save(self, key: str, connection: Connection) -> LoggedIn:
        """Save a key that RunAPI knows.

        Raises:
            LoginFailed: RunAPI does not, or cannot be asked.
            BadSetting: The config file is not one that can be added to.
        """
        from flux2_mcp.runapi.client import RunAPI

        try:
            credentials.checked_key(key, "That key")
            balance = await RunAPI(connection, key).balance()
        except KeyRejected as error:
            msg = "RunAPI does not accept that key."
            raise LoginFailed(
                msg, remedy="Copy it again from https://runapi.ai/api_keys, or make a new one."
            ) from error
        except (NoApiKey, UnusableApiKey) as error:
            raise LoginFailed(error.message, remedy="Copy it again from https://runapi.ai/api_keys.") from error
        except RunApiError as error:
            msg = f"The key could not be checked. {error.message}"
            raise LoginFailed(msg) from error
        write = partial(
            credentials.save_key,
            key,
            self.settings,
            home=self.home,
            base_url=_base_url(connection),
            now=datetime.now(UTC),
        )
        before = await anyio.to_thread.run_sync(self._saved)
        replaced = credentials.masked(before.key) if before and before.key != key else ""
        file = await anyio.to_thread.run_sync(write)
        return LoggedIn(credentials.masked(key), file, balance.balance_cents, _base_url(connection), replaced)


@dataclass
class Login:
    """A login that waits for a person."""

    url: str = field(repr=False)
    """The page where they decide."""
    code: str
    """The page shows it too, so that they see that it is theirs."""
    callback: Callback[LoggedIn]

    async def finished(self, patience: float = PATIENCE) -> LoggedIn:
        """Wait for the decision.

        Raises:
            LoginFailed: They said no, or nothing; or RunAPI gave no key that works.
        """
        with anyio.move_on_after(patience):
            await self.callback.ended.wait()
        outcome = self.callback.outcome
        if outcome is None:
            msg = f"Nobody allowed the login within {patience / 60:.0f} minutes."
            raise LoginFailed(msg)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@asynccontextmanager
async def login(keyring: Keyring, *, port: int = 0, in_terminal: bool = False) -> AsyncGenerator[Login, None]:
    """Begin a login; its URL works on this machine, and while this is open.

    `in_terminal`: the person can stop it there with Ctrl-C.

    Raises:
        LoginFailed: It would change nothing, nothing answers at RunAPI's address, or the port is taken.
        InsecureBaseUrl: The key would travel without TLS.
        BadSetting: The config file is not one that can be added to.
    """
    from flux2_mcp.login.callback_server import Callback, listen
    from flux2_mcp.runapi.authorization import authorize_url, exchange, new_proof

    await keyring.check()
    async with keyring.connected() as connection:
        await keyring.check_reachable(connection)
        listener = listen(port)
        open_port: int = listener.getsockname()[1]
        proof, hostname = new_proof(), _hostname()

        async def redeem(code: str) -> LoggedIn:
            key = await exchange(connection, code, proof, port=open_port, hostname=hostname)
            return await keyring.save(key, connection)

        callback = Callback(proof.state, redeem, origin=connection.origin, in_terminal=in_terminal)
        url = authorize_url(_base_url(connection), proof, port=open_port, hostname=hostname)
        async with callback.listening(listener):
            yield Login(url, proof.display_code, callback)


async def login_with(key: str, keyring: Keyring) -> LoggedIn:
    """Save a key that the person has already.

    Raises:
        LoginFailed: It would change nothing, nothing answers at RunAPI's address, or RunAPI does not know the key.
    """
    await keyring.check()
    async with keyring.connected() as connection:
        await keyring.check_reachable(connection)
        return await keyring.save(key, connection)


async def opened(url: str, open_browser: OpenBrowser) -> bool:
    """Open the person's browser; whether one opened in time."""
    with anyio.move_on_after(BROWSER_PATIENCE):
        return await anyio.to_thread.run_sync(open_browser, url, abandon_on_cancel=True)
    return False


def open_browser(url: str) -> bool:
    """Open the person's browser, if there is a screen: one that runs in the terminal would take that over."""
    import webbrowser

    has_screen = sys.platform in {"darwin", "win32"} or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    try:
        return has_screen and webbrowser.open(url)
    except webbrowser.Error:
        return False


def _base_url(connection: Connection) -> str:
    return str(connection.url)


def _hostname() -> str:
    """This machine's name as a header can carry it: the person finds the key by it at RunAPI."""
    name = socket.gethostname().encode("ascii", "ignore").decode("ascii")
    return name[:HOSTNAME_LENGTH] or "unknown"
