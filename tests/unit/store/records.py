"""Records for tests of the store: valid as they are, changed by keyword; spec fields in the API's names."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from igw_model.record import Action, Event, Kind, Record, Replica
from igw_model.status import Condition, Observed, Status, Truth
from igw_store.store import Change, Reading

from tests.builders import deployment_id, deployment_spec, gateway_id, gateway_spec

Objects = dict[tuple[Kind, str], Record]
Replicas = dict[str, tuple[Replica, ...]]


def at(seconds: float = 0) -> datetime:
    """Give a moment; microseconds count."""
    return datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC) + timedelta(seconds=seconds)


def gateway_record(number: int = 1, spec: Mapping[str, Any] | None = None, **fields: Any) -> Record:
    """Give a gateway of organisation acme; `spec` changes fields of the document."""
    document = gateway_spec(number, **(spec or {}))
    return _record(Kind.GATEWAY, document, fields)


def deployment_record(number: int = 1, spec: Mapping[str, Any] | None = None, **fields: Any) -> Record:
    """Give a deployment on gateway 1."""
    return _record(Kind.DEPLOYMENT, deployment_spec(number, **(spec or {})), fields)


def claim_record(number: int = 1, **fields: Any) -> Record:
    """Give a capacity claim."""
    document = {
        "id": f"c1a10000-0000-4000-8000-{number:012d}",
        "name": f"claim-{number}",
        "organizationId": "acme",
    }
    return _record(Kind.CAPACITY_CLAIM, document, fields)


def _record(kind: Kind, spec: dict[str, Any], fields: dict[str, Any]) -> Record:
    known: dict[str, Any] = {"generation": 1, "created_at": at(), "updated_at": at(), **fields}
    return Record(kind, spec["id"], spec["organizationId"], spec["name"], spec, **known)


def hosts(*names: str) -> dict[str, Any]:
    """Give the field of a gateway's spec for additional host names."""
    return {"endpointConfiguration": {"additionalDns": list(names)}}


def on(*numbers: int) -> dict[str, Any]:
    """Give the field of a deployment's spec for its gateways."""
    return {"gatewayIds": [gateway_id(number) for number in numbers]}


def replica(name: str = "r1", deployment: int = 1, **fields: Any) -> Replica:
    """Give a replica that expires at `at(60)`."""
    known = {"address": "10.0.0.1", "port": 8000, "expires_at": at(60), **fields}
    return Replica(deployment_id(deployment), name, **known)


def event(number: int = 1, **fields: Any) -> Event:
    """Give the event that organisation acme's gateway `number` was made."""
    known: dict[str, Any] = {
        "organization_id": "acme",
        "principal": "ann",
        "action": Action.CREATE,
        "at": at(),
    }
    known |= {"kind": "gateway", "id": gateway_id(number), "name": f"gateway-{number}"}
    return Event(**(known | {"before": None, "after": gateway_spec(number)} | fields))


READY = Observed(
    1, Status.READY, (Condition("Ready", Truth.TRUE, "Ready", "Ready replicas: 4/4 ✓", "US-EAST-04A", at(2)),)
)


def everything(view: Reading) -> tuple[Objects, Replicas]:
    """Give all of a store by its queries alone, as a watcher should have it."""
    records = [record for kind in Kind for record in view.list(kind, None)]
    sets = {r.id: tuple(view.replicas(r.id)) for r in records if r.kind is Kind.DEPLOYMENT}
    return {(r.kind, r.id): r for r in records}, {key: found for key, found in sets.items() if found}


def followed(state: tuple[Objects, Replicas], change: Change) -> tuple[Objects, Replicas]:
    """Give what a watcher knows after a change."""
    objects, replicas = ({}, {}) if change.whole else state
    merged = {**objects, **change.records}
    sets = {**replicas, **change.replicas}
    return (
        {key: record for key, record in merged.items() if record is not None},
        {key: found for key, found in sets.items() if found},
    )


async def soon(changes: AsyncIterator[Change]) -> Change:
    """Give a watch's next change; one that does not come is a failure."""
    return await asyncio.wait_for(anext(changes), 5)
