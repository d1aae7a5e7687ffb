"""Records, replicas and events as rows, and back. Pure, but for the cipher's randomness."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from igw_model.record import Action, Event, Kind, Record, Replica
from igw_model.status import Observed
from sqlalchemy import Row

from igw_store.cipher import Cipher

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_OBSERVED = msgspec.json.Decoder(Observed)


def micros(at: datetime) -> int:
    """Give an aware time as whole microseconds since 1970."""
    return (at - _EPOCH) // _MICROSECOND


def moment(number: int) -> datetime:
    """Give the time of `micros`, in UTC."""
    return _EPOCH + timedelta(microseconds=number)


def object_row(record: Record, cipher: Cipher, revision: int) -> dict[str, Any]:
    """Give the row of `tables.OBJECTS`."""
    return {
        "kind": record.kind,
        "id": record.id,
        "organization_id": record.organization_id,
        "name": record.name,
        "spec": _json(record.spec),
        "generation": record.generation,
        "created_at": micros(record.created_at),
        "updated_at": micros(record.updated_at),
        "deleting": record.deleting,
        "origin": record.origin,
        "api_key": None if record.api_key is None else cipher.seal(record.id, record.api_key),
        "observed": None if record.observed is None else observed_bytes(record.observed),
        "revision": revision,
    }


def record(row: Sequence[Any], cipher: Cipher) -> Record:
    """Give the record of a row, its columns in the table's order. Raises CipherError."""
    (
        kind,
        object_id,
        organization,
        name,
        spec,
        generation,
        created,
        updated,
        deleting,
        origin,
        key,
        seen,
        _,
    ) = row
    return Record(
        kind=Kind(kind),
        id=object_id,
        organization_id=organization,
        name=name,
        spec=json.loads(spec),
        generation=generation,
        created_at=moment(created),
        updated_at=moment(updated),
        deleting=deleting,
        origin=origin,
        api_key=None if key is None else cipher.unseal(object_id, key),
        observed=None if seen is None else observed(seen),
    )


def observed_bytes(value: Observed) -> bytes:
    """Give what was observed as one column."""
    return msgspec.json.encode(value)


def observed(column: bytes) -> Observed:
    """Give what a column says was observed."""
    return _OBSERVED.decode(column)


def replica_row(replica: Replica) -> dict[str, Any]:
    """Give the row of `tables.REPLICAS`."""
    return {
        "deployment_id": replica.deployment_id,
        "name": replica.name,
        "address": replica.address,
        "port": replica.port,
        "expires_at": micros(replica.expires_at),
    }


def replica(row: Row[Any]) -> Replica:
    """Give the replica of a row."""
    return Replica(row.deployment_id, row.name, row.address, row.port, moment(row.expires_at))


def event_row(event: Event, number: int) -> dict[str, Any]:
    """Give the row of `tables.EVENTS`."""
    return {
        "organization_id": event.organization_id,
        "number": number,
        "at": micros(event.at),
        "principal": event.principal,
        "action": event.action,
        "kind": event.kind,
        "id": event.id,
        "name": event.name,
        "before": None if event.before is None else _json(event.before),
        "after": None if event.after is None else _json(event.after),
    }


def event(row: Row[Any]) -> Event:
    """Give the event of a row."""
    return Event(
        at=moment(row.at),
        organization_id=row.organization_id,
        principal=row.principal,
        action=Action(row.action),
        kind=row.kind,
        id=row.id,
        name=row.name,
        before=None if row.before is None else json.loads(row.before),
        after=None if row.after is None else json.loads(row.after),
        number=row.number,
    )


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(dict(document), separators=(",", ":"))
