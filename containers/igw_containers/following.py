"""Follow a Docker engine and the store's deployments with a dockerBackend: containers become rows of replicas.

Only rows that never expire are touched: others belong to replicas that register themselves. What an earlier run wrote
serves until the engine has answered, so nobody waits for it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import structlog
from igw_model.deployment import parse_deployment
from igw_model.record import NEVER, Action, Event, Kind, Record, Replica
from igw_store.changes import changes
from igw_store.store import Store, UnavailableError, Writing
from prometheus_client import REGISTRY, CollectorRegistry

from igw_containers.container import Container
from igw_containers.engine import Engine
from igw_containers.metrics import Metrics
from igw_containers.replicas import UNDEFINED, Found, LeftOut, Target, found, target

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0
PRINCIPAL = "docker"
BACKEND = "dockerBackend"


@dataclass(frozen=True, slots=True)
class Moved:
    """A replica that came, went (after is None), or is elsewhere now."""

    before: Replica | None
    after: Replica | None

    @property
    def row(self) -> Replica:
        """Give the replica as it is, or was."""
        row = self.after or self.before
        assert row is not None  # noqa: S101 - made from one of them
        return row


Wanted = Mapping[str, tuple[Replica, ...]]


async def follow(
    url: str, store: Store, clock: Callable[[], datetime], registry: CollectorRegistry = REGISTRY
) -> None:
    """Keep the store's rows as the containers of the engine at `url` are, until cancelled."""
    following = Following(store, clock, Metrics(registry))
    engine = Engine(url, following.take, following.metrics)
    async with asyncio.TaskGroup() as tasks:
        for part in (engine.follow(), following.definitions(), following.settle()):
            tasks.create_task(part)


async def warn_without_engine(store: Store) -> None:
    """Say, once there is a deployment with a dockerBackend, that nobody looks for its containers."""
    async with contextlib.aclosing(changes(store)) as coming:
        async for change in coming:
            for record in change.records.values():
                if record is not None and not record.deleting and BACKEND in record.spec:
                    log.warning(
                        "a deployment has a dockerBackend, and nobody looks for its containers: set --docker-host",
                        deployment=record.id,
                    )
                    return


@dataclass(slots=True)
class Following:
    """What is known of both sides, and how it comes into the store."""

    store: Store
    clock: Callable[[], datetime]
    metrics: Metrics
    _containers: tuple[Container, ...] | None = None
    _defined: bool = False
    """Whether the store has said what is defined."""
    _targets: dict[str, Target] = field(default_factory=dict)
    _unreadable: set[str] = field(default_factory=set)
    _kept: dict[str, tuple[Replica, ...]] = field(default_factory=dict)
    """The rows of the store that never expire, by deployment."""
    _told: frozenset[LeftOut] = frozenset()
    _due: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, containers: tuple[Container, ...]) -> None:
        """Take the engine's containers."""
        self._containers = containers
        self._due.set()

    async def definitions(self) -> None:
        """Take what the store says of deployments, as it changes."""
        async for change in changes(self.store):
            if change.whole:
                self._targets, self._unreadable, self._kept = {}, set(), {}
            for (kind, object_id), record in change.records.items():
                if kind is Kind.DEPLOYMENT:
                    self._define(object_id, record)
            for deployment_id, replicas in change.replicas.items():
                self._kept.pop(deployment_id, None)
                if lasting := _lasting(replicas):
                    self._kept[deployment_id] = lasting
            self._defined = True
            self._due.set()

    async def settle(self) -> None:
        """Make the store say what the containers are, again and again."""
        while True:
            await self._due.wait()
            self._due.clear()
            found_now = self._found()
            try:
                await self._write(self._wanted(found_now))
            except UnavailableError as error:
                log.error("containers cannot be taken over now", error=str(error))  # noqa: TRY400 - it says it all
                await asyncio.sleep(RETRY_SECONDS)
                self._due.set()
            if found_now is not None:
                self._tell(found_now)

    def _found(self) -> Found | None:
        if self._containers is None or not self._defined:
            return None
        return found(self._containers, self._targets.values())

    def _define(self, deployment_id: str, record: Record | None) -> None:
        self._targets.pop(deployment_id, None)
        self._unreadable.discard(deployment_id)
        if record is None or record.deleting or BACKEND not in record.spec:
            return
        parsed = parse_deployment(record.spec)
        if isinstance(parsed, list):  # as a newer version may have written it: its rows are not ours to judge
            self._unreadable.add(deployment_id)
        elif meant := target(parsed):
            self._targets[deployment_id] = meant

    def _wanted(self, found_now: Found | None) -> Wanted:
        """Give the rows of each deployment whose rows are not as they should be."""
        elsewhere = self._kept.keys() - self._targets.keys() - self._unreadable
        wanted: dict[str, tuple[Replica, ...]] = dict.fromkeys(elsewhere, ())
        if found_now is not None:
            wanted |= found_now.replicas
        return {key: rows for key, rows in wanted.items() if rows != self._kept.get(key, ())}

    async def _write(self, wanted: Wanted) -> None:
        if not wanted:
            return
        for moved in await self.store.write(partial(write, wanted, self.clock())):
            _log(moved)

    def _tell(self, found_now: Found) -> None:
        """Say which containers are left out, each once while its reason is the same."""
        left_out = frozenset(found_now.left_out)
        for each in sorted(left_out - self._told, key=lambda one: one.container):
            say = log.info if each.reason == UNDEFINED else log.warning
            say(
                "container left out", container=each.container, deployment=each.deployment, reason=each.reason
            )
        self._told = left_out
        self.metrics.left_out.set(len(left_out))
        self.metrics.replicas.set(sum(map(len, found_now.replicas.values())))


def write(wanted: Wanted, now: datetime, store: Writing) -> Sequence[Moved]:
    """Make the rows of deployments as wanted, in a transaction, and say what moved."""
    return tuple(moved for key in sorted(wanted) for moved in _settled(store, key, wanted[key], now))


def _settled(store: Writing, deployment_id: str, wanted: Sequence[Replica], now: datetime) -> list[Moved]:
    record = store.get(Kind.DEPLOYMENT, deployment_id)
    if record is None or record.deleting or BACKEND not in record.spec:
        wanted = ()
    kept = {replica.name: replica for replica in store.replicas(deployment_id)}
    named = {replica.name for replica in wanted}
    gone = [Moved(row, None) for row in _lasting(kept.values()) if row.name not in named]
    # A name that a registered replica has is its own until it expires.
    free = [row for row in wanted if row.name not in kept or kept[row.name].expires_at == NEVER]
    come = [Moved(kept.get(row.name), row) for row in free if kept.get(row.name) != row]
    for moved in (*gone, *come):
        _put(store, moved)
        if record is not None:
            store.append(_event(record, moved, now))
    return [*gone, *come]


def _put(store: Writing, moved: Moved) -> None:
    if moved.after is not None:
        store.put_replica(moved.after)
    else:
        store.remove_replica(moved.row.deployment_id, moved.row.name)


def _event(record: Record, moved: Moved, now: datetime) -> Event:
    return Event(
        at=now,
        organization_id=record.organization_id,
        principal=PRINCIPAL,
        action=Action.REGISTER if moved.after else Action.LEAVE,
        kind="replica",
        id=record.id,
        name=moved.row.name,
        before=_where(moved.before),
        after=_where(moved.after),
    )


def _where(replica: Replica | None) -> dict[str, Any] | None:
    if replica is None:
        return None
    return {"name": replica.name, "address": replica.address, "port": replica.port}


def _lasting(replicas: Iterable[Replica]) -> tuple[Replica, ...]:
    return tuple(replica for replica in replicas if replica.expires_at == NEVER)


def _log(moved: Moved) -> None:
    row = moved.row
    fields = {"deployment": row.deployment_id, "container": row.name, "address": f"{row.address}:{row.port}"}
    log.info("container is a replica" if moved.after else "container is no replica any more", **fields)
