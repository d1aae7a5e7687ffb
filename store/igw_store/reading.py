"""One consistent view of the database: what `store.Reading` promises, as queries."""

import builtins
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from igw_model.record import Event, Kind, Record, Replica
from igw_model.text import normal_host
from sqlalchemy import Connection, Executable, Select, and_, or_, select
from sqlalchemy import bindparam as given

from igw_store import rows
from igw_store.cipher import Cipher
from igw_store.store import TakenError
from igw_store.tables import ATTACHMENTS, EVENTS, HOSTS, OBJECTS, REPLICAS

# Statements that are run often are made once: making one takes as long as running it.
_NAMED = and_(
    OBJECTS.c.organization_id == given("organization_id"),
    OBJECTS.c.name == given("name"),
    ~OBJECTS.c.deleting,
)
_GET = select(OBJECTS).where(OBJECTS.c.kind == given("kind"), OBJECTS.c.id == given("id"))
_GET_NAMED = select(OBJECTS).where(OBJECTS.c.kind == given("kind"), _NAMED)
_ATTACHED = (
    select(OBJECTS.c.id)
    .join(ATTACHMENTS, ATTACHMENTS.c.deployment_id == OBJECTS.c.id)
    .where(
        ATTACHMENTS.c.gateway_id == given("gateway_id"),
        OBJECTS.c.kind == Kind.DEPLOYMENT,
        ~OBJECTS.c.deleting,
    )
    .limit(1)
)
_LIVE_GATEWAY = select(OBJECTS.c.id).where(
    OBJECTS.c.kind == Kind.GATEWAY, OBJECTS.c.id == given("id"), ~OBJECTS.c.deleting
)
_HOST_OWNER = select(HOSTS.c.gateway_id).where(HOSTS.c.host == given("host"))
_REPLICAS = (
    select(REPLICAS).where(REPLICAS.c.deployment_id == given("deployment_id")).order_by(REPLICAS.c.name)
)
_ID_OR_NAME_OWNERS = select(OBJECTS).where(
    OBJECTS.c.kind == given("kind"),
    or_(
        and_(OBJECTS.c.id == given("id"), OBJECTS.c.organization_id != given("organization_id")),
        and_(_NAMED, OBJECTS.c.id != given("id")),
    ),
)
_GENERATED_HOST_OWNER = (
    select(HOSTS.c.gateway_id)
    .where(HOSTS.c.host >= given("from"), HOSTS.c.host < given("to"), HOSTS.c.gateway_id != given("id"))
    .limit(1)
)

_EVENT_CHARACTERS = 4 * 1024 * 1024
"""Of the specs, as ASCII JSON, in one answer about events."""


class View:
    """`store.Reading` over a connection that is in a transaction."""

    def __init__(self, connection: Connection, cipher: Cipher) -> None:
        self._connection = connection
        self._cipher = cipher

    def get(self, kind: Kind, object_id: str) -> Record | None:
        """See `store.Reading`; so for the others."""
        return self._object(_GET, {"kind": kind, "id": object_id})

    def named(self, kind: Kind, organization_id: str, name: str) -> Record | None:
        return self._object(_GET_NAMED, {"kind": kind, "organization_id": organization_id, "name": name})

    def list(
        self,
        kind: Kind,
        organization_id: str | None,
        *,
        updated_after: datetime | None = None,
        gateway_id: str | None = None,
    ) -> Sequence[Record]:
        query = select(OBJECTS).where(OBJECTS.c.kind == kind)
        if updated_after is not None:
            query = query.where(OBJECTS.c.updated_at > rows.micros(updated_after))
        if gateway_id is not None:
            return self._of_gateway(query, gateway_id, organization_id)
        if organization_id is not None:
            query = query.where(OBJECTS.c.organization_id == organization_id)
        return self._records(query.order_by(OBJECTS.c.created_at, OBJECTS.c.id))

    def _of_gateway(
        self, query: Select[Any], gateway_id: str, organization_id: str | None
    ) -> Sequence[Record]:
        """Narrow a query to a gateway's deployments, which are few.

        Asked for the organisation and the order, SQLite would go through all of an organisation's deployments.
        """
        attached = select(ATTACHMENTS.c.deployment_id).where(ATTACHMENTS.c.gateway_id == gateway_id)
        query = query.where(OBJECTS.c.id.in_(attached), OBJECTS.c.kind == Kind.DEPLOYMENT)
        found = [r for r in self._records(query) if organization_id in {None, r.organization_id}]
        return sorted(found, key=lambda record: (record.created_at, record.id))

    def attached(self, gateway_id: str) -> bool:
        return self._value(_ATTACHED, gateway_id=gateway_id) is not None

    def host_owner(self, host: str) -> str | None:
        match host.split(".", 2):
            case ["api", gateway_id, _] if self._value(_LIVE_GATEWAY, id=gateway_id) is not None:
                return gateway_id
        return self._value(_HOST_OWNER, host=host)

    def conflicts(self, record: Record) -> Sequence[TakenError]:
        return list(self._conflicts(record))

    def from_files(self) -> Sequence[Record]:
        return self._records(select(OBJECTS).where(OBJECTS.c.origin != ""))

    def expired(self, now: datetime) -> Sequence[Replica]:
        query = select(REPLICAS).where(REPLICAS.c.expires_at <= rows.micros(now))
        return [rows.replica(row) for row in self._connection.execute(query)]

    def replicas(self, deployment_id: str) -> Sequence[Replica]:
        found = self._connection.execute(_REPLICAS, {"deployment_id": deployment_id})
        return [rows.replica(row) for row in found]

    def events(
        self, organization_id: str, *, updated_after: datetime | None = None, limit: int
    ) -> Sequence[Event]:
        """Give the newest; with `updated_after` the oldest after it, so that a caller can go on from the last.

        Fewer than `limit` where their specs would be more than `_EVENT_CHARACTERS`, but one at least.
        """
        query = select(EVENTS).where(EVENTS.c.organization_id == organization_id).limit(limit)
        if updated_after is None:
            return self._events(query.order_by(EVENTS.c.number.desc()))[::-1]
        return self._events(query.where(EVENTS.c.at > rows.micros(updated_after)).order_by(EVENTS.c.number))

    def _events(self, query: Select[Any]) -> "builtins.list[Event]":
        events: builtins.list[Event] = []
        characters = 0
        with self._connection.execute(query) as found:
            for row in found:
                events.append(rows.event(row))
                characters += len(row.before or "") + len(row.after or "")
                if characters >= _EVENT_CHARACTERS:
                    break
        return events

    def _value(self, query: Executable, **parameters: str) -> str | None:
        value: str | None = self._connection.execute(query, parameters).scalar()
        return value

    def _object(self, query: Executable, parameters: Mapping[str, Any]) -> Record | None:
        row = self._connection.execute(query, parameters).first()
        return None if row is None else rows.record(row, self._cipher)

    def _records(self, query: Select[Any]) -> "builtins.list[Record]":
        return [rows.record(row, self._cipher) for row in self._connection.execute(query)]

    def _conflicts(self, record: Record) -> Iterator[TakenError]:
        key = {"kind": record.kind, "id": record.id, "name": record.name}
        key["organization_id"] = record.organization_id
        for row in self._connection.execute(_ID_OR_NAME_OWNERS, key).all():
            owner = rows.record(row, self._cipher)
            if owner.id == record.id:
                yield TakenError("id", record.id, owner)
            elif not record.deleting:
                yield TakenError("name", record.name, owner)
        if record.kind is Kind.GATEWAY and not record.deleting:
            for field, value, owner_id in self._host_owners(record):
                other = self.get(Kind.GATEWAY, owner_id)
                if other is not None:
                    yield TakenError(field, value, other)

    def _host_owners(self, gateway: Record) -> Iterator[tuple[str, str, str]]:
        """Give the field, its value and the owner of each host name of a gateway that is another's."""
        # Nobody may have had the name that is generated for this id, whatever the domain. '/' follows '.'.
        generated = {"from": f"api.{gateway.id}.", "to": f"api.{gateway.id}/", "id": gateway.id}
        owner = self._value(_GENERATED_HOST_OWNER, **generated)
        if owner is not None:
            yield "id", gateway.id, owner
        for index, name in enumerate(host_names(gateway)):
            owner = self.host_owner(normal_host(name))
            if owner is not None and owner != gateway.id:
                yield f"endpointConfiguration.additionalDns[{index}]", name, owner


def host_names(gateway: Record) -> Sequence[str]:
    """Give a gateway's additional host names as they were written."""
    return (gateway.spec.get("endpointConfiguration") or {}).get("additionalDns") or ()


def attachments(deployment: Record) -> Sequence[str]:
    """Give the ids of the gateways that a deployment names, each once, in their normal spelling."""
    return tuple(dict.fromkeys(_normal_id(gateway) for gateway in deployment.spec.get("gatewayIds") or ()))


def _normal_id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return text
