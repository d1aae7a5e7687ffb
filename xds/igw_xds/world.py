"""The store's changes in, the present definitions out: gateways, deployments and their replicas. Pure.

Only what changed is parsed again; all else stays the same object. Keys never get here: a record's spec has none.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from igw_model.deployment import Deployment, parse_deployment
from igw_model.document import FieldError
from igw_model.gateway import Gateway, parse_gateway
from igw_model.record import Kind, Record, Replica
from igw_model.status import Observed
from igw_store.store import Change

from igw_xds.table import Table

D = TypeVar("D", Gateway, Deployment)
Key = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class Defined(Generic[D]):
    """A record as the control plane sees it."""

    definition: D
    generation: int
    deleting: bool = False
    observed: Observed | None = None
    """What was last observed before this control plane saw it."""
    keyed: bool = False
    """Whether it has a key of its own."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that breaks our own rules, as one that a newer version wrote might; it is not served."""

    generation: int
    deleting: bool
    observed: Observed | None
    zones: tuple[str, ...]
    errors: tuple[FieldError, ...]


@dataclass(frozen=True, slots=True)
class World:
    """All that is defined now, by id; what is being deleted is in it, marked so."""

    gateways: Table[Defined[Gateway]] = field(default_factory=Table)
    deployments: Table[Defined[Deployment]] = field(default_factory=Table)
    unreadable: Mapping[Key, Unreadable] = field(default_factory=dict)
    replicas: Table[tuple[Replica, ...]] = field(default_factory=Table)

    @property
    def served_gateways(self) -> Iterable[Gateway]:
        """Give the gateways that are to be served."""
        return [gateway.definition for gateway in self.gateways.values() if not gateway.deleting]

    @property
    def served_deployments(self) -> Iterable[Deployment]:
        """Give the deployments that are to be served."""
        return [deployment.definition for deployment in self.deployments.values() if not deployment.deleting]


def after(world: World, change: Change) -> World:
    """Give the world after a change of the store; it costs what the change holds."""
    if change.whole:
        world = World()
    gateways = _read(change, Kind.GATEWAY, parse_gateway)
    deployments = _read(change, Kind.DEPLOYMENT, _parse_deployment)
    return World(
        _changed(world.gateways, gateways),
        _changed(world.deployments, deployments),
        _left_out(world.unreadable, {**gateways, **deployments}),
        world.replicas.changed(
            {key: found for key, found in change.replicas.items() if found},
            [key for key, found in change.replicas.items() if not found],
        ),
    )


def _read(
    change: Change, kind: Kind, parse: Callable[[Any], D | list[FieldError]]
) -> dict[Key, Defined[D] | Unreadable | None]:
    """Parse the records of a kind; None is one that is gone."""
    return {
        key: None if record is None else _parsed(record, parse)
        for key, record in change.records.items()
        if key[0] is kind
    }


def _parsed(record: Record, parse: Callable[[Any], D | list[FieldError]]) -> Defined[D] | Unreadable:
    match parse(record.spec):
        case list() as errors:
            return Unreadable(
                record.generation, record.deleting, record.observed, _zones(record), tuple(errors)
            )
        case definition:
            return _defined(definition, record)


def _defined(definition: D, record: Record) -> Defined[D]:
    keyed = record.api_key is not None
    return Defined(definition, record.generation, record.deleting, record.observed, keyed)


def _changed(
    defined: Table[Defined[D]], read: Mapping[Key, Defined[D] | Unreadable | None]
) -> Table[Defined[D]]:
    put = {object_id: found for (_, object_id), found in read.items() if isinstance(found, Defined)}
    return defined.changed(put, [object_id for _, object_id in read if object_id not in put])


def _left_out(
    unreadable: Mapping[Key, Unreadable], read: Mapping[Key, object | None]
) -> Mapping[Key, Unreadable]:
    """Give what cannot be read: so little that a copy costs nothing."""
    kept = {key: found for key, found in unreadable.items() if key not in read}
    return kept | {key: found for key, found in read.items() if isinstance(found, Unreadable)}


def _parse_deployment(spec: Any) -> Deployment | list[FieldError]:
    """Parse a deployment, its gateways' ids in their normal spelling."""
    parsed = parse_deployment(spec)
    if isinstance(parsed, list):
        return parsed
    ids = tuple(dict.fromkeys(_normal_id(gateway_id) for gateway_id in parsed.gateway_ids))
    return parsed if ids == parsed.gateway_ids else parsed.model_copy(update={"gateway_ids": ids})


def _normal_id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return text


def _zones(record: Record) -> tuple[str, ...]:
    zones = record.spec.get("zones")
    return tuple(zone for zone in zones if isinstance(zone, str)) if isinstance(zones, list) else ()
