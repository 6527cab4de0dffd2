"""What lives with the process, and what is made per request."""

from __future__ import annotations

import gc
import logging
import re
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import anyio

from flux2_mcp import __version__, credentials, polling, telemetry
from flux2_mcp.background import BackgroundTasks, background_tasks
from flux2_mcp.budget import Budget, Limits
from flux2_mcp.catalogue import Catalogue, PriceList, catalogue
from flux2_mcp.desktop import OpenFile, open_file
from flux2_mcp.errors import Flux2Error, KeyRejected, NoApiKey, OutOfCredits, RunApiError
from flux2_mcp.history import FILE_NAME, History, utcnow
from flux2_mcp.login import OpenBrowser, open_browser
from flux2_mcp.remembered import Remembered
from flux2_mcp.runapi.origins import origin_of
from flux2_mcp.settings import Settings
from flux2_mcp.sources import Uploads, checked_roots
from flux2_mcp.studio import Deliveries, Studio
from flux2_mcp.webhooks import Webhooks

if TYPE_CHECKING:
    import httpx

    from flux2_mcp.callers import Caller
    from flux2_mcp.history.broadcast import Broadcast
    from flux2_mcp.images import Destinations, Fetcher
    from flux2_mcp.runapi.client import Connection


logger = logging.getLogger(__name__)

TIME_TO_ANSWER = 0.7
"""Seconds after which the host has its first answers, mostly."""
CLIENT = "flux2_mcp.runapi.client"
"""Imported in a thread before it is used: the event loop would stand still meanwhile."""
NEEDED_LATER = (
    CLIENT,
    "sqlalchemy",
    "flux2_mcp.history.database",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
)
"""What takes long to import, and is no part of the first answers."""
LOCAL = "local"
"""How owners begin who are the one person on this computer; the address follows. Others begin with their name."""
OWN_KEY: Mapping[type[RunApiError], str] = MappingProxyType(
    {
        KeyRejected: "Check the RunAPI key that is sent to this server; keys are listed at https://runapi.ai/api_keys.",
    }
)
SHARED_KEY: Mapping[type[RunApiError], str] = MappingProxyType(
    {
        KeyRejected: "The RunAPI key is the server's own: tell whoever runs this server.",
        OutOfCredits: "The RunAPI account is the server's own: tell whoever runs this server.",
    }
)
"""The next step of callers who cannot log in here."""
NO_FOLDER_NAME = re.compile(r"[^A-Za-z0-9._@-]+")
"""What stands in a caller's name, and in no folder's."""
FOLDERS_LAST = 5.0
"""Seconds for which folders are taken to lead where they led: a person may replace one by a link."""
MOST_CALLERS = 10_000
"""Whose orders from before need not be looked at again."""
TIME_TO_START = 2.0
"""Seconds that the host gets for its first questions, before anything is done in the background."""


CurrentCaller = Callable[[], "Caller"]
"""Says who makes the request in hand."""


@dataclass(frozen=True)
class Environment:
    """Everything outside that a server touches; tests pass their own."""

    settings: Settings
    home: Path
    transport: httpx.AsyncBaseTransport | None = None
    """The way to RunAPI and to its pictures; the network when None."""
    history: History | None = None
    """Where orders are kept; the user's data folder when None."""
    intervals: polling.Intervals = polling.intervals
    sleep: polling.Sleep = anyio.sleep
    open_browser: OpenBrowser = open_browser
    open_file: OpenFile = open_file
    catalogue: Catalogue = field(default_factory=catalogue)
    root: Path = Path("/")
    """Where the file system begins; tests have a container's."""
    webhooks: Webhooks | None = None
    """Where RunAPI tells that a task has ended, if it can reach this server."""
    current_caller: CurrentCaller | None = None
    """Who makes the request in hand, on a server that many use; None where everybody is the one person here."""


@dataclass
class Upstream:
    """One RunAPI, and what was learnt about it; shared by all keys."""

    connection: Connection
    fetcher: Fetcher
    prices: PriceList


@dataclass(frozen=True)
class _Folders:
    """Where pictures are saved and sources may lie, as the disk had it."""

    destinations: Destinations
    good_until: float
    """By the event loop's clock."""


@dataclass
class AppState:
    """What lives with the process. Connections are opened when they are first needed."""

    environment: Environment
    background: BackgroundTasks
    closing: AsyncExitStack
    uploads: Uploads = field(default_factory=Uploads)
    upstreams: dict[str, Upstream] = field(default_factory=dict[str, Upstream])
    began: datetime = field(default_factory=utcnow)
    """By the history's clock."""
    _recovered: Remembered[str] = field(default_factory=lambda: Remembered[str](MOST_CALLERS))
    """Callers, whose orders from before were looked at."""
    _folders: _Folders | None = None

    @cached_property
    def history(self) -> History:
        """The history: in the data folder, or on a database server."""
        settings = self.environment.settings
        history = self.environment.history or History(
            self._data_folder,
            mode=settings.history,
            url=self._database_url,
            is_hosted=self.environment.current_caller is not None,
        )
        self.closing.push_async_callback(history.aclose)
        return history

    @cached_property
    def broadcast(self) -> Broadcast | None:
        """The way to other servers on the same database, for webhooks that reach one of them."""
        url, webhooks = self._database_url, self.environment.webhooks
        if url is None or webhooks is None:
            return None
        from flux2_mcp.history.broadcast import Broadcast

        return Broadcast(url, heard=webhooks.arrived, reconnected=webhooks.wake_all)

    @property
    def _database_url(self) -> str | None:
        url = self.environment.settings.database_url
        return url.get_secret_value() if url else None

    @cached_property
    def _data_folder(self) -> Path:
        return data_folder(self.environment.settings, home=self.environment.home)

    @cached_property
    def deliveries(self) -> Deliveries:
        return Deliveries(self.history, self.background, sleep=self.environment.sleep)

    async def studio(self, *, without_key: bool = False) -> Studio:
        """A studio with the key as it is configured at this moment; without one, only if that is enough.

        Raises:
            NoApiKey: There is no key.
            UnusableApiKey: What is configured cannot be one.
            InsecureBaseUrl: The key would travel without TLS.
        """
        environment = self.environment
        if environment.current_caller:
            if CLIENT not in sys.modules:
                await anyio.to_thread.run_sync(import_module, CLIENT)
            return self._studio_of(environment.current_caller())
        # As the call comes: reading the key takes time.
        came, uncounted = anyio.current_time(), self.deliveries.uncounted
        held, destinations = await self._configured(without_key=without_key)
        owner = owner_at(held.base_url)
        studio = self._studio(
            owner, held, Limits.of(environment.settings), destinations, uncounted.get(owner, frozenset())
        )
        return replace(studio, came=came)

    def _studio_of(self, caller: Caller) -> Studio:
        """The studio of one of many. They sit elsewhere, and see nothing of this computer."""
        held = credentials.Credentials(caller.key, self._hosted_url)
        owner = owner_at(held.base_url, caller.name)
        studio = replace(
            self._studio(
                owner,
                held,
                caller.limits,
                self._destinations_of(caller),
                self.deliveries.uncounted_of(owner),
                OWN_KEY if caller.brings_key else SHARED_KEY,
            ),
            is_here=False,
            has_own_key=caller.brings_key,
        )
        if caller.name not in self._recovered:
            self._recovered.add(caller.name)
            name = f"recovery of {telemetry.pseudonym(caller.name)}"
            self.background.start(name, partial(self._recover, studio), matters=False)
        return studio

    def _studio(
        self,
        owner: str,
        held: credentials.Credentials,
        limits: Limits,
        destinations: Destinations,
        uncounted: frozenset[str],
        remedies: Mapping[type[RunApiError], str] = MappingProxyType({}),
    ) -> Studio:
        from flux2_mcp.runapi.client import RunAPI

        environment, upstream = self.environment, self.upstream(held.base_url)
        runapi = RunAPI(upstream.connection, held.key, remedies=remedies)
        return Studio(
            owner=owner,
            runapi=runapi,
            catalogue=environment.catalogue,
            budget=Budget(owner, runapi, upstream.prices, self.history, limits),
            history=self.history,
            fetcher=upstream.fetcher,
            background=self.background,
            deliveries=self.deliveries,
            came=anyio.current_time(),
            uncounted=uncounted,
            uploads=self.uploads,
            destinations=destinations,
            shows=environment.settings.preview_edge is not None,
            intervals=environment.intervals,
            sleep=environment.sleep,
            # Where no words are kept, a body is made anew to be sent again: it must be the same with any settings.
            webhooks=None if environment.settings.history == "private" else environment.webhooks,
        )

    async def recover(self) -> None:
        """Fetch what was finished while nobody looked: after a crash, before RunAPI's links die."""
        if self.environment.current_caller:
            return  # whose key it takes is known when they call
        await self.environment.sleep(TIME_TO_START)
        try:
            if self.environment.history is None and not await self._has_history():
                return
            studio = await self.studio()
        except (Flux2Error, OSError):
            return  # the first call reports it
        await self._recover(studio)

    async def _has_history(self) -> bool:
        """Whether there may be orders from before; a file is not made only to look."""
        return self._database_url is not None or await anyio.Path(self._data_folder, FILE_NAME).exists()

    async def _recover(self, studio: Studio) -> None:
        with telemetry.apart():
            jobs = await studio.recover(before=self.began)
        for job in jobs:
            state = "made" if job.is_made else "not finished"
            logger.info("Order %s from before: %s", job.order.id, state, extra={"order": job.order.id})

    async def warm_up(self) -> None:
        """Import what the first picture needs, while nobody waits for it."""
        await self.environment.sleep(TIME_TO_ANSWER)
        for module in NEEDED_LATER:
            # One at a time: whoever hangs up meanwhile waits for one of them at most.
            await anyio.to_thread.run_sync(import_module, module)
        # These stay too; the collector would walk them all when the process ends.
        gc.freeze()

    async def owner(self) -> str:
        """Whose history this is: one person's, for each RunAPI that they use. Keys may come and go."""
        if self.environment.current_caller:
            return owner_at(self._hosted_url, self.environment.current_caller().name)
        return owner_at(await self._base_url())

    async def owners(self) -> dict[str, int]:
        """How many orders there are at each RunAPI that this person has used, by owner."""
        return {owner: count for owner, count in (await self.history.owners()).items() if owner.startswith(f"{LOCAL} ")}

    async def prices(self) -> PriceList:
        """The prices of the configured RunAPI; asking for them needs no key."""
        return self.upstream(await self._base_url()).prices

    @property
    def _hosted_url(self) -> str:
        """The RunAPI of a server that many use: what one person logged in to is no business of theirs."""
        return self.environment.settings.base_url or credentials.DEFAULT_BASE_URL

    async def _base_url(self) -> str:
        if self.environment.current_caller:
            return self._hosted_url  # as well when nobody calls
        return await anyio.to_thread.run_sync(self._configured_url)

    def _configured_url(self) -> str:
        import_module(CLIENT)
        return credentials.base_url(self.environment.settings, home=self.environment.home)

    def upstream(self, base_url: str) -> Upstream:
        """The connections to this RunAPI."""
        if base_url not in self.upstreams:
            self.upstreams[base_url] = self._connect(base_url)
        return self.upstreams[base_url]

    def _connect(self, base_url: str) -> Upstream:
        from flux2_mcp.images import Fetcher, preview_of
        from flux2_mcp.runapi.client import Connection, RunAPI

        environment = self.environment
        connection = Connection(
            base_url,
            dialect=environment.settings.dialect,
            user_agent=f"flux2-mcp/{__version__}",
            transport=environment.transport,
            sleep=environment.sleep,
        )
        edge = environment.settings.preview_edge
        fetcher = Fetcher(
            runapi_origin=connection.origin,
            transport=environment.transport,
            previewer=None if edge is None else partial(preview_of, edge=edge),
        )
        self.closing.push_async_callback(connection.aclose)
        self.closing.push_async_callback(fetcher.aclose)
        anybody = RunAPI(connection, key="")
        prices = PriceList(environment.catalogue, lambda etag: anybody.price_schedules(etag=etag))
        return Upstream(connection, fetcher, prices)

    async def _configured(self, *, without_key: bool) -> tuple[credentials.Credentials, Destinations]:
        """The key and the folders. A thread is used only for what has to be read from the disk."""
        now = anyio.current_time()
        if self._folders is None or now >= self._folders.good_until or self.environment.settings.api_key is None:
            return await anyio.to_thread.run_sync(partial(self._read_configuration, now, without_key=without_key))
        return self._credentials(without_key=without_key), self._folders.destinations

    def _read_configuration(self, now: float, *, without_key: bool) -> tuple[credentials.Credentials, Destinations]:
        import_module(CLIENT)
        held = self._credentials(without_key=without_key)
        folders = self._folders
        if folders is None or now >= folders.good_until:
            folders = self._folders = _Folders(self._destinations(), now + FOLDERS_LAST)
        return held, folders.destinations

    def _credentials(self, *, without_key: bool) -> credentials.Credentials:
        settings, home = self.environment.settings, self.environment.home
        try:
            return credentials.credentials(settings, home=home)
        except NoApiKey:
            if not without_key:
                raise
            return credentials.Credentials("", credentials.base_url(settings, home=home))

    def _destinations_of(self, caller: Caller) -> Destinations:
        """A folder for each caller, if there is one for all of them."""
        from flux2_mcp.images import Destinations, default_folder

        settings, home = self.environment.settings, self.environment.home
        if not settings.output_dir:
            return Destinations(home, home, (), saves=False, offered=False, is_here=False)
        folder = default_folder(settings.output_dir, home=home) / NO_FOLDER_NAME.sub("-", caller.name)
        return Destinations(folder, folder, (), saves=settings.save == "on", is_here=False)

    def _destinations(self) -> Destinations:
        from flux2_mcp.images import Destinations, container, default_folder

        settings, home = self.environment.settings, self.environment.home
        folder = default_folder(settings.output_dir, home=home)
        roots = checked_roots(home, folder, settings.input_roots)
        return Destinations(
            home, folder, roots, saves=settings.save == "on", container=container(self.environment.root)
        )


def data_folder(settings: Settings, *, home: Path) -> Path:
    """Where the history lies."""
    if given := settings.data_dir:
        # A relative folder is taken from the home directory: hosts start servers anywhere.
        return home / credentials.expanded(given, home)
    from platformdirs import user_data_path

    return user_data_path("flux2-mcp", appauthor=False)


def address_of(owner: str) -> str:
    """The RunAPI that an owner's orders are at, as people write it."""
    origin = owner.rpartition(" ")[2]
    return origin.removesuffix(":443" if origin.startswith("https:") else ":80")


def owner_at(base_url: str, name: str = LOCAL) -> str:
    """Whose orders those of this caller at this RunAPI are."""
    return f"{name} {origin_of(base_url)}"


@asynccontextmanager
async def app_state(environment: Environment) -> AsyncGenerator[AppState, None]:
    """The state for as long as the server runs."""
    async with AsyncExitStack() as closing, background_tasks() as background:
        now = environment.history.now if environment.history else utcnow
        state = AppState(environment, background, closing, began=now())
        background.start("warming up", state.warm_up, matters=False)
        background.start("recovery", state.recover, matters=False)
        if state.broadcast:
            background.start("broadcast", state.broadcast.run, matters=False)
        yield state
