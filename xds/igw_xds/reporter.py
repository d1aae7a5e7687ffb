"""Changes, answers and health in, what is observed of each object out to the store: only what may have changed.

What nobody told of is looked at once a minute all the same. What is said is in `observation`.
"""

import asyncio
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import structlog
from igw_model.record import Kind
from igw_model.status import Observed
from igw_store.store import Change, Store, UnavailableError, Writing

from igw_xds.health import Health
from igw_xds.news import Heard, News
from igw_xds.observation import Client, Past
from igw_xds.plan import Location, location
from igw_xds.snapshot import Snapshot
from igw_xds.subjects import Clients, Subjects
from igw_xds.world import Key, World

T = TypeVar("T")

log = structlog.get_logger(__name__)

COALESCE_SECONDS = 0.05
TOGETHER = 50
"""At most so many objects in one transaction, and at once with one Envoy: others write, and work, too."""
LEAST_TOGETHER = 5
SWEEP_SECONDS = 60
DELETING_SECONDS = 1.0
"""How long a deleted object stays at least."""
FOREIGN_SECONDS = 60.0
"""... when only another control plane can know who still serves it."""
SETTLE_SECONDS = 10.0
"""How long after the start nothing new is said of objects for want of Envoys: they come back after a restart."""
GATHER_SECONDS = 1.0
"""How long after one Envoy came or went others are waited for: that says something new of every object."""
RETRY_SECONDS = 1.0
REST_SECONDS = 0.5
TURN_SECONDS = 0.005
MANY = 50
"""Clients that have to be asked one by one: with more, what may be out of date waits until the fleet is in step..."""
STALE_SECONDS = 0.1
"""... but for as long as this, each time."""


class Reporter:
    """Says of each object what was observed of it; `publish` tells it of changes, `run` does the rest."""

    def __init__(
        self,
        store: Store,
        news: News,
        subjects: Subjects,
        clients: Clients,
        behind: Callable[[], int] = lambda: 0,
    ) -> None:
        """Begin; `behind` counts the proxies that are not in step, in all zones."""
        self.failure = ""
        """Why what was observed could not be written, while it cannot."""
        self.health = Health(lambda deployment_id: news.changed([(Kind.DEPLOYMENT, deployment_id)]))
        self._store, self._news, self._subjects, self._clients = store, news, subjects, clients
        self._behind = behind
        self._asked = 1
        """How many clients the last look asked, in all zones."""
        self._loop = asyncio.get_running_loop()
        self._said: dict[Key, Observed | None] = {}
        self._dirty: dict[Key, None] = {}
        self._stale: dict[Key, None] = {}
        self._stale_from = self._loop.time() + SETTLE_SECONDS
        self._gathering = True
        self._deleting: dict[Key, float] = {}
        self._round: Iterator[Key] = iter(())
        self._swept_at = self._loop.time()

    def publish(
        self,
        change: Change,
        world: World,
        snapshots: Mapping[str, Snapshot],
        owners: Iterable[str] = (),
    ) -> None:
        """Take a change of the store, the world after it, and the snapshots that are served for it, by zone.

        `owners` are the gateways of which it is said anew whose their own keys are.
        """
        changed = {*change.records, *((Kind.DEPLOYMENT, key) for key in change.replicas)}
        changed.update((Kind.GATEWAY, key) for key in owners)
        if change.whole:
            changed.update(self._subjects.keys())
        self._subjects.follow(world, snapshots, changed)
        for key in changed:
            self._meet(key)
        if not change.whole:
            self._news.changed(changed)

    def said(self, key: Key) -> Observed | None:
        """Give what was last observed of an object."""
        return self._said.get(key)

    def _meet(self, key: Key) -> None:
        """Take note of an object that came, changed or went."""
        kind, object_id = key
        generation, deleting = self._subjects.generation(key), self._subjects.deleting(key)
        if kind is Kind.DEPLOYMENT:
            self.health.follow(object_id, None if deleting else self._located(object_id))
        if generation is None:
            self._said.pop(key, None)
        else:
            before = self._said.setdefault(key, self._subjects.before(key))
            known = before is not None and before.generation == generation
            (self._stale if known else self._dirty)[key] = None
        if deleting:
            self._deleting.setdefault(key, self._loop.time())
        else:
            self._deleting.pop(key, None)

    def _located(self, deployment_id: str) -> Location | None:
        world = self._subjects.world
        found = world.deployments.get(deployment_id)
        return location(found.definition, world.replicas.get(deployment_id, ())) if found else None

    async def run(self) -> None:
        """Look at what may have changed, and write down what did."""
        while True:
            await self._news.wait(0.25 if self._deleting or self._dirty else 1.0)
            await self._coalesce()
            began = self._loop.time()
            self._stale.update(dict.fromkeys(itertools.islice(self._next_in_round(), self._share(began))))
            try:
                await self._work()
                self.failure = ""
            except UnavailableError as error:
                self.failure = str(error)
                log.error("what was observed cannot be written now", error=str(error))  # noqa: TRY400 - it says it all
                await asyncio.sleep(RETRY_SECONDS)
            await asyncio.sleep(min(REST_SECONDS, self._loop.time() - began))

    async def _coalesce(self) -> None:
        """Wait for more of the same; a fleet on its way somewhere is not asked all the time how far it is."""
        until = self._loop.time() + REST_SECONDS
        await asyncio.sleep(COALESCE_SECONDS)
        while self._behind() > MANY and self._loop.time() < until:  # noqa: ASYNC110 - each ACK would be an event
            await asyncio.sleep(COALESCE_SECONDS)

    async def _work(self) -> None:
        await self._hear(self._news.take())
        until = self._loop.time() + STALE_SECONDS
        while batch := self._batch(stale=self._asked <= MANY or self._loop.time() < until):
            clients = self._now()
            try:
                await self._write(await self._seen(batch, clients), clients)
            except UnavailableError:
                self._dirty.update(dict.fromkeys(batch))
                raise
            await asyncio.sleep(0)
            await self._hear(self._news.take())
        await self._remove()

    async def _seen(self, batch: Iterable[Key], clients: Clients) -> Mapping[Key, Observed]:
        """Look at objects, and let others have their turn meanwhile: each may be asked of every Envoy."""
        found, began = dict[Key, Observed](), self._loop.time()
        for key in batch:
            if (said := self._look(key, clients)) is not None:
                found[key] = said
            if self._loop.time() - began > TURN_SECONDS:
                await asyncio.sleep(0)
                began = self._loop.time()
        return found

    async def _hear(self, heard: Heard) -> None:
        self._dirty.update(dict.fromkeys(heard.objects))
        if heard.fleet:
            self._stale.update(dict.fromkeys(self._subjects.keys()))
            if not self._gathering:  # who comes and goes all the time must not put it off for ever
                self._gathering, self._stale_from = True, self._loop.time() + GATHER_SECONDS
        for type_url, answered in heard.answers.items():
            for part in _parts(list(answered), TOGETHER):
                for name in part:
                    self._dirty.update(dict.fromkeys(self._subjects.of(type_url, name)))
                await asyncio.sleep(0)

    def _batch(self, *, stale: bool) -> list[Key]:
        """Take objects to look at: what changed first, then, if there is time, what may be out of date."""
        together = self._together
        batch = list(itertools.islice(self._dirty, together))
        for key in batch:
            del self._dirty[key]
            self._stale.pop(key, None)
        if stale and len(batch) < together and self._loop.time() >= self._stale_from:
            self._gathering = False
            more = list(itertools.islice(self._stale, together - len(batch)))
            for key in more:
                del self._stale[key]
            batch += more
        return batch

    def _now(self) -> Clients:
        """Give the clients of a zone as they are now, each zone's looked up once."""
        self._asked = 0

        @functools.cache
        def clients(zone: str) -> Sequence[Client]:
            found = self._clients(zone)
            self._asked += len(found)
            return found

        return clients

    def _look(self, key: Key, clients: Clients) -> Observed | None:
        """Give what is to be said anew of an object; None for nothing."""
        generation, before = self._subjects.generation(key), self._said.get(key)
        if generation is None or self._subjects.deleting(key):
            return None
        if before is not None and before.generation == generation and self._subjects.foreign(key):
            return None  # it is for another control plane to say
        past = Past(generation, before, datetime.now(UTC))
        observed = self._subjects.observed(key, past, clients, self.health.of)
        return None if observed == before else observed

    async def _write(self, found: Mapping[Key, Observed], clients: Clients) -> None:
        if not found:
            return
        guesses = {key: self._said.get(key) for key in found if not self._subjects.is_seen(key, clients)}
        await self._store.write(_observe(found, guesses, datetime.now(UTC)))
        for key, observed in found.items():
            if key in self._said:
                self._said[key] = observed

    async def _remove(self) -> None:
        """Forget for good what was deleted and no Envoy leads to any more."""
        now = self._loop.time()
        for part in _parts(list(self._deleting.items()), self._together):
            clients = self._now()
            gone = [
                key
                for key, since in part
                if now - since >= (FOREIGN_SECONDS if self._subjects.foreign(key) else DELETING_SECONDS)
                and not self._subjects.still_held(key, clients)
            ]
            if gone:
                await self._store.write(_forget(gone))
            await asyncio.sleep(0)

    @property
    def _together(self) -> int:
        """Say how many objects are looked at before others have their turn: each is asked of every Envoy."""
        return max(LEAST_TOGETHER, TOGETHER // max(1, self._asked))

    def _share(self, now: float) -> int:
        """Say how many objects are looked at now though nobody told of them: all of them in a minute."""
        due = math.ceil(len(self._said) * (now - self._swept_at) / SWEEP_SECONDS)
        self._swept_at = now
        return due

    def _next_in_round(self) -> Iterator[Key]:
        yield from self._round
        self._round = iter(list(self._said))


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _observe(
    found: Mapping[Key, Observed], guesses: Mapping[Key, Observed | None], now: datetime
) -> Callable[[Writing], None]:
    """Give the transaction that keeps what was observed.

    Who has no Envoy for an object only guesses: that counts where nobody said anything since what is in `guesses`.
    Another control plane on the same store may have the Envoys.
    """

    def change(store: Writing) -> None:
        for (kind, object_id), observed in found.items():
            if (kind, object_id) in guesses:
                record = store.get(kind, object_id)
                if record is not None and record.observed not in {None, guesses[kind, object_id]}:
                    continue
            store.observe(kind, object_id, observed, now)

    return change


def _forget(keys: Sequence[Key]) -> Callable[[Writing], None]:
    """Give the transaction that removes what is still being deleted."""

    def change(store: Writing) -> None:
        for kind, object_id in keys:
            record = store.get(kind, object_id)
            if record is not None and record.deleting:
                store.remove(kind, object_id)

    return change
