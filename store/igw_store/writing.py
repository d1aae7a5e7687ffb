"""One transaction: what `store.Writing` promises, as statements. It commits nothing itself."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from igw_model.record import Event, Kind, Record, Replica
from igw_model.status import Observed
from igw_model.text import normal_host
from sqlalchemy import Connection, Table, delete, exists, func, insert, select, update
from sqlalchemy import bindparam as given
from sqlalchemy.dialects.sqlite import Insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from igw_store import rows
from igw_store.cipher import Cipher
from igw_store.reading import View, attachments, host_names
from igw_store.tables import (
    ATTACHMENTS,
    EVENTS,
    HOSTS,
    OBJECTS,
    REMOVALS,
    REPLICA_SETS,
    REPLICAS,
    REVISIONS,
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept: events of each organisation, and removals for watchers that are behind. At least one."""

    events: int = 10_000
    removals: int = 10_000


def _upsert(table: Table) -> Insert:
    """Insert a row, or overwrite the one with the same key."""
    statement = sqlite_insert(table)
    rest = {c.name: statement.excluded[c.name] for c in table.columns if not c.primary_key}
    return statement.on_conflict_do_update(set_=rest)


_PUT_OBJECT = _upsert(OBJECTS)
_PUT_REPLICA = _upsert(REPLICAS)
_PUT_REPLICA_SET = _upsert(REPLICA_SETS)
_PUT_REMOVAL = _upsert(REMOVALS)
_DROP_HOSTS = delete(HOSTS).where(HOSTS.c.gateway_id == given("id"))
_DROP_ATTACHMENTS = delete(ATTACHMENTS).where(ATTACHMENTS.c.deployment_id == given("id"))
_NEXT_REVISION = update(REVISIONS).values(revision=REVISIONS.c.revision + 1).returning(REVISIONS.c.revision)
_LAST_EVENT = select(func.max(EVENTS.c.number)).where(EVENTS.c.organization_id == given("organization"))
_PUT_EVENT = insert(EVENTS)
_DROP_EVENTS = delete(EVENTS).where(
    EVENTS.c.organization_id == given("organization"), EVENTS.c.number <= given("last")
)
_OBSERVE = (
    update(OBJECTS)
    .where(
        OBJECTS.c.kind == given("of"),
        OBJECTS.c.id == given("object"),
        OBJECTS.c.observed.is_distinct_from(given("seen")),
    )
    .values(observed=given("seen"), updated_at=func.max(OBJECTS.c.updated_at, given("at")))
)


class Transaction(View):
    """`store.Writing` over a connection in a transaction that holds SQLite's lock for writing."""

    def __init__(self, connection: Connection, cipher: Cipher, bounds: Bounds) -> None:
        super().__init__(connection, cipher)
        self._bounds = bounds

    @cached_property
    def _revision(self) -> int:
        """Count this transaction, once: watchers hear of it."""
        revision: int = self._connection.execute(_NEXT_REVISION).scalar_one()
        return revision

    @property
    def heard(self) -> bool:
        """Whether watchers are to hear of this transaction."""
        return "_revision" in self.__dict__

    def put(self, record: Record) -> None:
        """See `store.Writing`; so for the others."""
        taken = next(self._conflicts(record), None)
        if taken is not None:
            raise taken
        self._connection.execute(_PUT_OBJECT, rows.object_row(record, self._cipher, self._revision))
        self._forget_lookups(record.kind, record.id)
        self._look_up(record)

    def remove(self, kind: Kind, object_id: str) -> None:
        found = self._connection.execute(
            delete(OBJECTS).where(OBJECTS.c.kind == kind, OBJECTS.c.id == object_id)
        )
        if not found.rowcount:
            return
        self._forget_lookups(kind, object_id)
        if kind is Kind.DEPLOYMENT and self.replicas(object_id):
            self._connection.execute(delete(REPLICAS).where(REPLICAS.c.deployment_id == object_id))
            self._replicas_changed(object_id)
        self._connection.execute(_PUT_REMOVAL, {"kind": kind, "id": object_id, "revision": self._revision})
        self._forget_old_removals()

    def observe(self, kind: Kind, object_id: str, observed: Observed, at: datetime) -> None:
        # The same again is no news: clients that ask for what was updated must not be given everything.
        seen = {"seen": rows.observed_bytes(observed), "at": rows.micros(at)}
        self._connection.execute(_OBSERVE, {"of": kind, "object": object_id, **seen})

    def put_replica(self, replica: Replica) -> None:
        where = (REPLICAS.c.deployment_id == replica.deployment_id, REPLICAS.c.name == replica.name)
        before = self._connection.execute(select(REPLICAS.c.address, REPLICAS.c.port).where(*where)).first()
        self._connection.execute(_PUT_REPLICA, rows.replica_row(replica))
        if before is None or tuple(before) != (replica.address, replica.port):
            self._replicas_changed(replica.deployment_id)

    def remove_replica(self, deployment_id: str, name: str) -> None:
        found = self._connection.execute(
            delete(REPLICAS).where(REPLICAS.c.deployment_id == deployment_id, REPLICAS.c.name == name)
        )
        if found.rowcount:
            self._replicas_changed(deployment_id)

    def append(self, event: Event) -> None:
        organization = event.organization_id
        last = self._connection.execute(_LAST_EVENT, {"organization": organization}).scalar() or 0
        self._connection.execute(_PUT_EVENT, rows.event_row(event, last + 1))
        beyond = last + 1 - self._bounds.events
        self._connection.execute(_DROP_EVENTS, {"organization": organization, "last": beyond})

    def _look_up(self, record: Record) -> None:
        """Keep beside an object what it is looked up by."""
        match record.kind:
            case Kind.GATEWAY if not record.deleting:
                hosts = dict.fromkeys(normal_host(name) for name in host_names(record))
                self._insert(HOSTS, ({"host": host, "gateway_id": record.id} for host in hosts))
            case Kind.DEPLOYMENT:
                gateways = attachments(record)
                self._insert(ATTACHMENTS, ({"gateway_id": g, "deployment_id": record.id} for g in gateways))
            case _:
                pass

    def _forget_lookups(self, kind: Kind, object_id: str) -> None:
        match kind:
            case Kind.GATEWAY:
                self._connection.execute(_DROP_HOSTS, {"id": object_id})
            case Kind.DEPLOYMENT:
                self._connection.execute(_DROP_ATTACHMENTS, {"id": object_id})
            case Kind.CAPACITY_CLAIM:
                pass

    def _insert(self, table: Table, values: Iterable[Mapping[str, Any]]) -> None:
        if some := list(values):
            self._connection.execute(insert(table), some)

    def _replicas_changed(self, deployment_id: str) -> None:
        row = {"deployment_id": deployment_id, "revision": self._revision}
        self._connection.execute(_PUT_REPLICA_SET, row)

    def _forget_old_removals(self) -> None:
        """Move the horizon when there are too many; who has not seen that far is given the whole state."""
        oldest = (
            select(REMOVALS.c.revision)
            .order_by(REMOVALS.c.revision.desc())
            .offset(self._bounds.removals)
            .limit(1)
        )
        horizon = self._connection.execute(oldest).scalar()
        if horizon is None:
            return
        self._connection.execute(delete(REMOVALS).where(REMOVALS.c.revision <= horizon))
        self._connection.execute(
            delete(REPLICA_SETS).where(
                REPLICA_SETS.c.revision <= horizon,
                ~exists().where(REPLICAS.c.deployment_id == REPLICA_SETS.c.deployment_id),
            )
        )
        self._connection.execute(update(REVISIONS).values(horizon=horizon))
