"""A Docker engine in, the containers that are there to serve out, as they come and go.

Asked are `/version`, `/containers/json` and `/events`, nothing that changes anything. The `docker` package blocks, so
each call has a thread of its own, which nobody waits for in the end.
"""

import asyncio
import contextlib
import json
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import docker.errors
import requests
import structlog
import urllib3
from docker import APIClient
from docker.constants import MINIMUM_DOCKER_API_VERSION
from docker.types import CancellableStream

from igw_containers.container import (
    DEPLOYMENT_LABEL,
    EVENTS,
    Container,
    Happening,
    What,
    compose_project,
    container,
    happening,
)
from igw_containers.metrics import Metrics
from igw_containers.presence import Presence

log = structlog.get_logger(__name__)
T = TypeVar("T")

MOST = 10_000
"""Containers that are looked at."""
ANSWER_SECONDS = 5
SILENCE_SECONDS = 30.0
"""Without an event, after which they are asked for anew: a connection that is half open says nothing."""
LISTING_SECONDS = 5.0
"""Between listings where nothing happens, in case an event was lost."""
SETTLED_SECONDS = 0.3
"""From a listing after a happening to another: the engine tells of some before it lists them so."""
GATHER_SECONDS = 0.02
"""From a happening to its listing, which then tells of its neighbours too."""
BURST_SECONDS, BURSTS = 0.05, 20
"""Without one of the events that are told again: they come at once, and nothing says which is the last."""
GAP_SECONDS = 10.0
"""Without events, after which too many may be lost to go on from the last one."""
AGAIN_SECONDS = 60
"""Of earlier events that are asked for at the start: who was told to stop then must not come back."""
KEPT_EVENTS = 256
"""That many the engine tells again at most."""
OWN_ID = re.compile(r"[0-9a-f]{12}")
FIRST_DELAY, LAST_DELAY = 0.1, 2.0
STEADY_SECONDS = 5.0
"""A connection that held so long was a good one."""

ERRORS = (
    docker.errors.DockerException,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
    ValueError,
)


@dataclass(slots=True)
class Engine:
    """One engine; `publish` is called with its containers, first when it has answered, then at each change."""

    url: str
    publish: Callable[[tuple[Container, ...]], None]
    metrics: Metrics
    clock: Callable[[], float] = time.time
    _presence: Presence = field(default_factory=Presence)
    _published: tuple[Container, ...] | None = None
    _heard: deque[Happening] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))
    _happened: asyncio.Event = field(default_factory=asyncio.Event)
    _away: bool = False
    _connected_at: float | None = None
    """When, by the clock, events were last known to come in."""
    _too_many: bool = False

    async def follow(self) -> None:
        """Follow the engine until cancelled. While it is away, what was known stays."""
        delay = FIRST_DELAY
        while True:
            began = time.monotonic()
            try:
                await self._connection()  # ends when the events do, as after a while behind some proxies
            except ERRORS as error:
                self._lost(error)
            if time.monotonic() - began > STEADY_SECONDS:
                delay = FIRST_DELAY
            await asyncio.sleep(delay)
            delay = min(2 * delay, LAST_DELAY)

    async def _connection(self) -> None:
        """Follow the engine over one connection for events and one for listings, until one of them fails."""
        opened = await _aside(partial(_open, self.url, self._since()))
        with contextlib.closing(opened):
            ended = asyncio.Event()
            _read(opened.lines, self._hear, ended)
            await self._burst()
            while not ended.is_set():
                happened = self._happened.is_set()
                self._happened.clear()
                began = time.monotonic()
                await self._list(opened)
                spent = time.monotonic() - began
                await self._next(ended, SETTLED_SECONDS if happened else LISTING_SECONDS)
                # Its neighbours are gathered meanwhile, and a flood leaves the engine half of the time.
                await asyncio.sleep(max(GATHER_SECONDS, spent))

    async def _burst(self) -> None:
        """Wait for the events that are told again, before a listing is believed."""
        for _ in range(BURSTS):
            before = self._presence.moment
            await asyncio.sleep(BURST_SECONDS)
            if self._presence.moment == before:
                return

    def _since(self) -> int:
        """Give the moment (seconds since 1970) from which on events are wanted; those told twice are heard once."""
        now = self.clock()
        if self._connected_at is None or now - self._connected_at > GAP_SECONDS:
            self._presence.missed()
            self._heard.clear()
            return int(now - AGAIN_SECONDS)
        return int(min(self._connected_at, self._newest()) - 1)

    def _newest(self) -> float:
        """Give when the newest event was, by the engine's clock, which may not be ours."""
        return self._heard[-1].nanoseconds / 1e9 if self._heard else self.clock()

    def _hear(self, document: Any) -> None:
        """Take an event; who leaves is told of at once, all else by the listing that follows."""
        heard = happening(document)
        if heard is None or heard in self._heard:
            return
        self._heard.append(heard)
        self._presence.hear(heard)
        if heard.what is not What.OTHER:
            self._tell()
        self._happened.set()

    async def _list(self, opened: "_Opened") -> None:
        asked = self._presence.moment
        listing = await _aside(partial(_listing, opened.lister, opened.own_project))
        self.metrics.listings.inc()
        if listing.too_many and not self._too_many:
            log.error("too many labelled containers: the newest are left out", most=MOST)
        self._too_many = listing.too_many
        self._presence.listed(asked, listing.containers)
        self._back()
        self._tell()

    async def _next(self, ended: asyncio.Event, longest: float) -> None:
        """Wait until a listing is due, or the events are at their end."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._happened, ended)]
        try:
            await asyncio.wait(waits, timeout=longest, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _tell(self) -> None:
        present = self._presence.present()
        if present is not None and present != self._published:
            self._published = present
            self.publish(present)

    def _lost(self, error: Exception) -> None:
        if not self._away:
            log.warning(
                "the Docker engine does not answer; what was known of it stays", reason=_reason(error)
            )
        self._away = True
        self.metrics.connected.set(0)

    def _back(self) -> None:
        if self._away or self._connected_at is None:
            log.info("the Docker engine answers", containers=len(self._presence.present() or ()))
        self._away = False
        self._connected_at = self.clock()
        self.metrics.connected.set(1)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A connection for events and one for listings: the events are read in a thread, and a session is for one."""

    lister: APIClient
    listener: APIClient
    lines: "CancellableStream[bytes]"
    own_project: str | None
    """The Compose project that this process is in."""

    def close(self) -> None:
        """Close all; whoever reads the events finds them ended."""
        with contextlib.suppress(AttributeError, *ERRORS):  # it is already at its end, and its socket gone
            self.lines.close()
        self.listener.close()
        self.lister.close()


def _open(url: str, since: int) -> _Opened:
    """Connect to an engine and ask for the events from a moment on. Blocks; raises one of ERRORS."""
    version = _version(url)
    with contextlib.ExitStack() as closing:
        lister, listener = (
            closing.enter_context(contextlib.closing(_client(url, version))) for _ in range(2)
        )
        wanted = {"type": ["container", "network"], "event": list(EVENTS)}
        # Not `APIClient.events`, which waits for ever: for the connection, too, and for what comes over a dead one.
        response = listener.get(
            f"{listener.base_url}/v{version}/events",
            params={"since": str(since), "filters": json.dumps(wanted)},
            stream=True,
            timeout=(ANSWER_SECONDS, SILENCE_SECONDS),
        )
        response.raise_for_status()
        own_project = _own_project(lister)
        closing.pop_all()
    lines = CancellableStream(response.iter_lines(chunk_size=65536), response)
    return _Opened(lister, listener, lines, own_project)


def _own_project(lister: APIClient) -> str | None:
    """Give the Compose project of the container that we are in: its host name is the beginning of its id."""
    own = socket.gethostname()
    return compose_project(lister.containers(filters={"id": own})) if OWN_ID.fullmatch(own) else None


@dataclass(frozen=True, slots=True)
class _Listing:
    """The containers that are up, and whether there are more than are looked at."""

    containers: Sequence[Container]
    too_many: bool


def _listing(lister: APIClient, own_project: str | None) -> _Listing:
    """List what is labelled. Blocks; raises one of ERRORS."""
    documents: Any = lister.containers(filters={"label": DEPLOYMENT_LABEL})
    if not isinstance(documents, list):
        raise ValueError("what answers lists no containers")  # noqa: TRY004 - one of ERRORS, as for `_version`
    # The engine lists the newest first, and those that serve already are to stay.
    known = filter(None, map(container, documents[-MOST:]))
    return _Listing(
        [replace(each, foreign=own_project not in {None, each.project}) for each in known],
        len(documents) > MOST,
    )


def _version(url: str) -> str:
    with contextlib.closing(_client(url, MINIMUM_DOCKER_API_VERSION)) as client:
        match client.version(api_version=False):
            case {"ApiVersion": str(version)}:
                return version
            case _:
                raise ValueError("what answers is no Docker engine")


def _client(url: str, version: str) -> APIClient:
    client = APIClient(url, version=version, timeout=ANSWER_SECONDS)
    client.trust_env = False  # an HTTP proxy of this process is none for its engine
    return client


def _read(lines: "CancellableStream[bytes]", hear: Callable[[Any], None], ended: asyncio.Event) -> None:
    """Read events in a thread until they end; `hear` and `ended` are of the running loop."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            try:
                # Silent for long, cut, or closed by us while read (AttributeError): the next attempt tells which.
                with contextlib.suppress(AttributeError, *ERRORS):
                    for line in filter(None, lines):
                        loop.call_soon_threadsafe(hear, json.loads(line))
            finally:  # whatever it was: without events, listings alone would go on for ever
                loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=read, name="docker-events", daemon=True).start()


async def _aside(function: Callable[[], T]) -> T:
    """Run what blocks in a thread that nobody waits for at the end: an engine may not answer for long."""
    future: Future[T] = Future()

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(function())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's
            future.set_exception(error)

    threading.Thread(target=run, name="docker-call", daemon=True).start()
    return await asyncio.wrap_future(future)


def _reason(error: Exception) -> str:
    """Give what an error says, short."""
    return f"{type(error).__name__}: {error}"[:300]
