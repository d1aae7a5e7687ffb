"""A control plane without its sockets: a real store in memory, the real pipeline, and Envoys that answer when told.

`Plane.write` changes the store; what follows from it runs by itself while the context is open.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from igw_model.record import Kind, Record
from igw_model.status import Observed
from igw_store.cipher import Cipher
from igw_store.sqlite import open_store
from igw_store.store import Store, Writing
from igw_xds.derivation import Derivation
from igw_xds.news import News
from igw_xds.observation import Client
from igw_xds.plan import Zoning
from igw_xds.reporter import Reporter
from igw_xds.settings import DataPlane
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE, Snapshot
from igw_xds.stream import Accepted, Rejected
from igw_xds.subjects import Subjects
from igw_xds.world import World

from tests.builders import DOMAIN
from tests.unit.xds_stream.builders import NODE, DeltaStream, ack, delta, nack

Key = tuple[Kind, str]
ZONE = "US-EAST-04A"
"""Where the gateways of tests are."""


@dataclass
class Envoy:
    """A connected Envoy that subscribes to everything, once; what is in `bad` it refuses."""

    news: News
    bad: set[str] = field(default_factory=set)
    stream: DeltaStream = field(default_factory=DeltaStream)
    named: dict[str, set[str]] = field(default_factory=lambda: {ENDPOINTS: set(), ROUTES: set()})
    """What it subscribes to by name."""

    def take(self, snapshot: Snapshot) -> None:
        """Answer all that a snapshot brings."""
        first = self.stream.node is None
        responses = self.stream.publish(snapshot)
        if first:
            for type_url in (CLUSTER, LISTENER, SCOPE):
                responses += self.stream.receive(delta(type_url, node=NODE))
        for type_url, old in self.named.items():
            new = self.named[type_url] = set(snapshot.of(type_url))
            if new != old:
                moved = delta(type_url, subscribe=sorted(new - old), unsubscribe=sorted(old - new))
                responses += self.stream.receive(moved)
        while responses:
            response = responses.pop(0)
            refused = self.bad & {resource.name for resource in response.resources}
            responses += self.stream.receive(nack(response, error="no") if refused else ack(response))
            match self.stream.answer:
                case Accepted(type_url, names) | Rejected(type_url, names):
                    self.news.answered(type_url, names)
                case None:
                    pass
        self.news.answered(ROUTES, self.stream.held_back)


@dataclass
class Plane:
    """The parts, and the Envoys of one zone by number: each is given all that is defined, at once."""

    store: Store
    news: News
    zoning: Zoning
    envoys: dict[int, Envoy] = field(default_factory=dict)
    newest: Snapshot | None = None

    def __post_init__(self) -> None:
        self.made = Derivation(DOMAIN, DataPlane(), self.zoning.place)
        self.reporter = Reporter(self.store, self.news, Subjects(DOMAIN, self.zoning), self.clients)

    @property
    def world(self) -> World:
        """Give what is defined."""
        return self.made.world

    @property
    def place(self) -> str:
        """Give the key of the Envoys' zone."""
        return self.zoning.key(self.zoning.only or ZONE)

    def clients(self, place: str) -> Sequence[Client]:
        """Give the Envoys of a zone."""
        if place != self.place:
            return ()
        return [Client(f"envoy-{number}", envoy.stream.standing) for number, envoy in self.envoys.items()]

    def connect(self, number: int, *bad: str) -> None:
        """Connect an Envoy that has all there is, but for what it refuses."""
        envoy = self.envoys[number] = Envoy(self.news, set(bad))
        if self.newest is not None:
            envoy.take(self.newest)
        self.news.moved()

    def drop(self, number: int) -> None:
        """Let an Envoy go."""
        del self.envoys[number]
        self.news.moved()

    async def write(self, change: Callable[[Writing], Any]) -> None:
        """Change the store."""
        await self.store.write(change)

    async def put(self, kind: Kind, spec: dict[str, Any], **fields: Any) -> None:
        """Keep an object."""
        await self.write(lambda store: store.put(record(kind, spec, **fields)))

    async def delete(self, kind: Kind, key: str) -> None:
        """Begin to delete an object."""

        def change(store: Writing) -> None:
            found = store.get(kind, key)
            assert found is not None
            store.put(replace(found, deleting=True))

        await self.write(change)

    async def observed(self, kind: Kind, key: str) -> Observed | None:
        """Give what is said of an object."""
        found = await self.store.read(lambda store: store.get(kind, key))
        return found.observed if found else None

    async def until(self, kind: Kind, key: str, condition: Callable[[Observed | None], bool]) -> None:
        """Wait until what is said of an object is so."""
        async with asyncio.timeout(10):
            while not condition(await self.observed(kind, key)):  # noqa: ASYNC110 - nothing tells a test
                await asyncio.sleep(0.02)

    async def says(self, kind: Kind, key: str, status: str, *messages: str) -> None:
        """Wait until an object has a status and these messages."""
        try:
            await self.until(
                kind,
                key,
                lambda seen: (
                    seen is not None
                    and seen.status == f"STATUS_{status}"
                    and tuple(c.message for c in seen.conditions) == messages
                ),
            )
        except TimeoutError:
            raise AssertionError(await self.observed(kind, key)) from None

    async def follow(self) -> None:
        """Take the store's changes to the Envoys and the reporter."""
        async for change in self.store.watch():
            self.made.take(change)
            self.newest = self.made.snapshots.get(self.place, self.made.bare)
            self.reporter.publish(change, self.made.world, self.made.snapshots)
            for envoy in self.envoys.values():
                envoy.take(self.newest)


def record(kind: Kind, spec: dict[str, Any], **fields: Any) -> Record:
    """Give a record of a spec, of generation 1."""
    now = datetime.now(UTC)
    made = Record(kind, spec["id"], "acme", spec["name"], spec, 1, now, now)
    return replace(made, **fields)


@asynccontextmanager
async def running(zone: str | None = None, shared: Store | None = None) -> AsyncIterator[Plane]:
    """Run a control plane while the context is open, on a store of its own or on another's."""
    store = shared or await open_store(None, Cipher.ephemeral())
    plane = Plane(store, News(), Zoning(zone))
    reporter = plane.reporter
    async with asyncio.TaskGroup() as tasks:
        parts = [tasks.create_task(part) for part in (plane.follow(), reporter.run(), reporter.health.run())]
        yield plane
        for part in parts:
            part.cancel()
    if shared is None:
        await store.aclose()
