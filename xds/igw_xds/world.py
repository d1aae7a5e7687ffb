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

    gateways: Mapping[str, Defined[Gateway]] = field(default_factory=dict)
    deployments: Mapping[str, Defined[Deployment]] = field(default_factory=dict)
    unreadable: Mapping[Key, Unreadable] = field(default_factory=dict)
    replicas: Mapping[str, tuple[Replica, ...]] = field(default_factory=dict)

    @property
    def served_gateways(self) -> Iterable[Gateway]:
        """Give the gateways that are to be served."""
        return [gateway.definition for gateway in self.gateways.values() if not gateway.deleting]

    @property
    def served_deployments(self) -> Iterable[Deployment]:
        """Give the deployments that are to be served."""
        return [deployment.definition for deployment in self.deployments.values() if not deployment.deleting]


def after(world: World, change: Change) -> World:
    """Give the world after a change of the store."""
    if change.whole:
        world = World()
    gateways, deployments, unreadable, replicas = (
        dict(world.gateways),
        dict(world.deployments),
        dict(world.unreadable),
        dict(world.replicas),
    )
    for (kind, object_id), record in change.records.items():
        match kind:
            case Kind.GATEWAY:
                _put((kind, object_id), record, gateways, unreadable, parse_gateway)
            case Kind.DEPLOYMENT:
                _put((kind, object_id), record, deployments, unreadable, _parse_deployment)
            case Kind.CAPACITY_CLAIM:
                pass  # nothing of it is served
    for deployment_id, found in change.replicas.items():
        replicas[deployment_id] = found
        if not found:
            del replicas[deployment_id]
    return World(gateways, deployments, unreadable, replicas)


def _put(
    key: Key,
    record: Record | None,
    defined: dict[str, Defined[D]],
    unreadable: dict[Key, Unreadable],
    parse: Callable[[Any], D | list[FieldError]],
) -> None:
    unreadable.pop(key, None)
    if record is None:
        defined.pop(key[1], None)
        return
    match parse(record.spec):
        case list() as errors:
            defined.pop(key[1], None)
            unreadable[key] = Unreadable(
                record.generation, record.deleting, record.observed, _zones(record), tuple(errors)
            )
        case definition:
            defined[key[1]] = Defined(definition, record.generation, record.deleting, record.observed)


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
