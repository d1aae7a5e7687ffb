"""The store's changes in; what is defined, planned, and served in each zone out, kept in step. No time, no I/O.

A change costs what it touches: the gateways and deployments that it names, those attached to them, and their
resources. The whole at once, for comparison and for commands, is `plan.plan` and `resources.everything.snapshot_of`.
"""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Generic, TypeVar

from igw_model.deployment import Deployment
from igw_model.gateway import Gateway
from igw_model.record import Kind
from igw_store.store import Change

from igw_xds.access import KeyOwner, NotChecked
from igw_xds.plan import (
    NO_OWNERS,
    Plan,
    PlannedDeployment,
    PlannedGateway,
    planned_deployment,
    planned_gateway,
)
from igw_xds.resources.everything import (
    NO_CERTIFICATES,
    Certificates,
    Made,
    of_deployment,
    of_everyone,
    of_gateway,
    snapshot_of,
)
from igw_xds.settings import DataPlane
from igw_xds.snapshot import LISTENER, SECRET, Snapshot
from igw_xds.table import Table
from igw_xds.world import Defined, World, after
from igw_xds.zone import Edit, Zone

Place = Callable[[Gateway], str | None]
"""The zone (its key: see zone_key) that a gateway is served in, or None: not by this control plane."""

P = TypeVar("P", PlannedGateway, PlannedDeployment)
D = TypeVar("D", Gateway, Deployment)
Zones = tuple[str, ...]
"""Keys of zones, sorted."""
Edits = dict[str, dict[str, Edit]]
"""What changes in each zone, by type URL."""


@dataclass(frozen=True, slots=True)
class _Served:
    """Where one planned thing is served, and the names of what was made of it by type URL."""

    zones: Zones
    names: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Things(Generic[P]):
    """All that is planned of a kind, by id, and how it is served."""

    planned: Table[P] = field(default_factory=Table)
    served: Table[_Served] = field(default_factory=Table)

    def zones(self, key: str) -> Zones:
        """Give where one is served; nowhere if it is not planned."""
        found: _Served | None = self.served.get(key)
        return () if found is None else found.zones


@dataclass(frozen=True, slots=True)
class _State:
    """Everything after a change: a value, so that who reads meanwhile sees one moment."""

    world: World = field(default_factory=World)
    owners: Table[KeyOwner] = field(default_factory=Table)
    """Whose the own keys of gateways are, for those of which that is known."""
    attached: Table[frozenset[str]] = field(default_factory=Table)
    """The deployments that name a gateway and are to be served, also where there is no such gateway yet."""
    gateways: _Things[PlannedGateway] = field(default_factory=_Things)
    deployments: _Things[PlannedDeployment] = field(default_factory=_Things)
    zones: Mapping[str, Zone] = field(default_factory=dict)
    snapshots: Mapping[str, Snapshot] = field(default_factory=lambda: MappingProxyType({}))


class Derivation:
    """What is defined, and what is planned and made of it zone by zone, kept in step with the store.

    A change costs what it touches. `take` may run in a thread: what is read meanwhile is as it was before.
    """

    def __init__(self, domain: str, data_plane: DataPlane, place: Place) -> None:
        """Know nothing yet. `place` must say the same of equal gateways."""
        self.bare = snapshot_of(Plan(), data_plane)
        """What a zone without gateways is served: the listener and the services' clusters alone."""
        self._domain, self._data_plane, self._place = domain, data_plane, place
        self.certificates = NO_CERTIFICATES
        self._state = _State()

    @property
    def world(self) -> World:
        """All that is defined."""
        return self._state.world

    @property
    def gateways(self) -> Table[PlannedGateway]:
        """What is served in any zone, by id."""
        return self._state.gateways.planned

    @property
    def deployments(self) -> Table[PlannedDeployment]:
        """What is served in any zone, by id."""
        return self._state.deployments.planned

    @property
    def snapshots(self) -> Mapping[str, Snapshot]:
        """What each zone is served, by its key; a zone that had a gateway once stays, its Envoys are there.

        A zone that did not change has the same object as before.
        """
        return self._state.snapshots

    def owner(self, gateway_id: str) -> KeyOwner | None:
        """Say whose a gateway's own key is; None where it has none."""
        return _owner(self._state, gateway_id)

    def take(self, change: Change, owners: Mapping[str, KeyOwner] = NO_OWNERS) -> None:
        """Take a change of the store; a whole one replaces everything.

        `owners` says of some gateways whose their keys are. Of a gateway with a new key it must say that anew.
        """
        self._state = self._after(self._state, change, owners)

    def certify(self, certificates: Certificates) -> None:
        """Take what Envoys are to show to clients from now on, in every zone."""
        gone, come = (of_everyone(self._data_plane, those) for those in (self.certificates, certificates))
        edit = {kind: Edit(list(come[kind]), [r.name for r in gone[kind]]) for kind in (SECRET, LISTENER)}
        self.bare = Zone(self.bare).edited(edit).snapshot
        zones = {key: zone.edited(edit) for key, zone in self._state.zones.items()}
        snapshots = MappingProxyType({key: zone.snapshot for key, zone in zones.items()})
        self.certificates = certificates
        self._state = replace(self._state, zones=zones, snapshots=snapshots)

    def _after(self, state: _State, change: Change, owners: Mapping[str, KeyOwner]) -> _State:
        world = after(state.world, change)
        named = _named(change, state.world, world)
        attached, reattached = _attached(state, world, named[Kind.DEPLOYMENT])
        edits: Edits = {}
        known = _owners(state.owners, world, named[Kind.GATEWAY], owners)
        state = replace(state, world=world, owners=known, attached=attached)
        gateways, moved = self._gateways(state, {*named[Kind.GATEWAY], *reattached, *owners}, edits)
        state = replace(state, gateways=gateways)
        followers = {key for gateway_id in moved for key in attached.get(gateway_id, ())}
        deployments = self._deployments(state, {*named[Kind.DEPLOYMENT], *followers}, edits)
        zones = {**state.zones, **{key: self._zone(state, key).edited(edit) for key, edit in edits.items()}}
        snapshots = MappingProxyType({key: zone.snapshot for key, zone in zones.items()})
        return replace(state, deployments=deployments, zones=zones, snapshots=snapshots)

    def _zone(self, state: _State, key: str) -> Zone:
        return state.zones.get(key) or Zone(self.bare)

    def _gateways(
        self, state: _State, touched: Iterable[str], edits: Edits
    ) -> tuple[_Things[PlannedGateway], Iterable[str]]:
        """Give the gateways after those that were touched, and which of these are served elsewhere than before."""
        wanted = {key: self._gateway(state, key) for key in touched}
        things = _kept(state.gateways, wanted, lambda planned: of_gateway(planned, self._data_plane), edits)
        return things, [key for key in wanted if things.zones(key) != state.gateways.zones(key)]

    def _gateway(self, state: _State, key: str) -> tuple[PlannedGateway, Zones] | None:
        gateway = _to_serve(state.world.gateways, key)
        zone = None if gateway is None else self._place(gateway)
        if gateway is None or zone is None:
            return None
        known = state.world.deployments
        deployments = (known[deployment_id].definition for deployment_id in state.attached.get(key, ()))
        return planned_gateway(gateway, deployments, self._domain, _owner(state, key)), (zone,)

    def _deployments(self, state: _State, touched: Iterable[str], edits: Edits) -> _Things[PlannedDeployment]:
        wanted = {key: self._deployment(state, key) for key in touched}
        return _kept(state.deployments, wanted, of_deployment, edits)

    def _deployment(self, state: _State, key: str) -> tuple[PlannedDeployment, Zones] | None:
        deployment = _to_serve(state.world.deployments, key)
        if deployment is None:
            return None
        zones = {zone for gateway_id in deployment.gateway_ids for zone in state.gateways.zones(gateway_id)}
        planned = planned_deployment(deployment, state.world.replicas.get(key, ()))
        return (planned, tuple(sorted(zones))) if zones else None


def _named(change: Change, before: World, world: World) -> Mapping[Kind, AbstractSet[str]]:
    """Name what a change may have changed; a whole one all that there was and is."""
    if change.whole:
        return {
            Kind.GATEWAY: before.gateways.keys() | world.gateways.keys(),
            Kind.DEPLOYMENT: before.deployments.keys() | world.deployments.keys(),
        }
    deployments = {key for kind, key in change.records if kind is Kind.DEPLOYMENT}
    return {
        Kind.GATEWAY: {key for kind, key in change.records if kind is Kind.GATEWAY},
        Kind.DEPLOYMENT: deployments | change.replicas.keys(),
    }


def _owners(
    known: Table[KeyOwner], world: World, touched: Iterable[str], newer: Mapping[str, KeyOwner]
) -> Table[KeyOwner]:
    """Give whose keys are, those of gateways that lost theirs left out."""
    return known.changed(newer, [key for key in touched if not _keyed(world, key)])


def _owner(state: _State, gateway_id: str) -> KeyOwner | None:
    if not _keyed(state.world, gateway_id):
        return None
    return state.owners.get(gateway_id) or NotChecked()


def _keyed(world: World, gateway_id: str) -> bool:
    found: Defined[Gateway] | None = world.gateways.get(gateway_id)
    return found is not None and found.keyed


def _to_serve(defined: Table[Defined[D]], key: str) -> D | None:
    """Give a definition unless there is none or it is being deleted."""
    found: Defined[D] | None = defined.get(key)
    return None if found is None or found.deleting else found.definition


def _attached(
    state: _State, world: World, touched: Iterable[str]
) -> tuple[Table[frozenset[str]], AbstractSet[str]]:
    """Give the deployments of each gateway, and the gateways of which one came, went or changed."""
    found: dict[str, set[str]] = {}
    for key in touched:
        old, new = _to_serve(state.world.deployments, key), _to_serve(world.deployments, key)
        if old == new:
            continue
        before, now = (() if one is None else one.gateway_ids for one in (old, new))
        for gateway_id in (*before, *now):
            keys = found.setdefault(gateway_id, set(state.attached.get(gateway_id, ())))
            keys.add(key) if gateway_id in now else keys.discard(key)
    put = {gateway_id: frozenset(ids) for gateway_id, ids in found.items() if ids}
    return state.attached.changed(put, found.keys() - put.keys()), found.keys()


def _kept(
    things: _Things[P], wanted: Mapping[str, tuple[P, Zones] | None], make: Callable[[P], Made], edits: Edits
) -> _Things[P]:
    """Give the things after these are as wanted (None: not served), and add to the edits what that means."""
    planned: dict[str, P] = {}
    served: dict[str, _Served] = {}
    gone: list[str] = []
    for key, want in wanted.items():
        if want == (things.planned.get(key), things.zones(key)):
            continue
        _drop(edits, things.served.get(key))
        if want is None:
            gone.append(key)
        else:
            planned[key], served[key] = want[0], _put(edits, make(want[0]), want[1])
    return _Things(things.planned.changed(planned, gone), things.served.changed(served, gone))


def _drop(edits: Edits, served: _Served | None) -> None:
    if served is None:
        return
    for zone in served.zones:
        for type_url, found in served.names.items():
            _edit(edits, zone, type_url).drop.extend(found)


def _put(edits: Edits, made: Made, zones: Zones) -> _Served:
    for zone in zones:
        for type_url, found in made.items():
            _edit(edits, zone, type_url).put.extend(found)
    return _Served(zones, {type_url: tuple(r.name for r in found) for type_url, found in made.items()})


def _edit(edits: Edits, zone: str, type_url: str) -> Edit:
    return edits.setdefault(zone, {}).setdefault(type_url, Edit())
