"""The objects that are reported on: which resources each consists of, and which object a resource belongs to. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from igw_model.definitions import gateway_host
from igw_model.deployment import Deployment, DockerBackend
from igw_model.gateway import Gateway
from igw_model.record import Kind
from igw_model.status import Observed
from igw_model.text import normal_host

from igw_xds import names
from igw_xds.access import KeyOwner
from igw_xds.observation import (
    Client,
    Coverage,
    Need,
    NotServed,
    Past,
    Programmed,
    Replicas,
    deployment_observed,
    gateway_observed,
    holds,
    kept,
    leads,
    programmed,
    unreadable_observed,
)
from igw_xds.plan import Zoning, registered, zone_key
from igw_xds.snapshot import CLUSTER, ENDPOINTS, NO_RESOURCES, ROUTES, SCOPE, Resource, Snapshot
from igw_xds.world import Defined, Key, Unreadable, World

Clients = Callable[[str], Sequence[Client]]
"""Gives the connected Envoys of a zone, by its key."""
Counting = Callable[[str], Replicas | None]
"""Gives how the replicas of a deployment's backend are; None when nobody asked yet."""


@dataclass(slots=True)
class Subjects:
    """All objects of a world, and the snapshots of zones that they became."""

    domain: str
    zoning: Zoning
    world: World = field(default_factory=World)
    snapshots: Mapping[str, Snapshot] = field(default_factory=dict)
    """By the zone's key."""
    owner: Callable[[str], KeyOwner | None] = lambda _: None
    """Whose the own key of a gateway is, by its id."""
    coverage: Callable[[Iterable[str]], Coverage] | None = None
    """How host names are certified; None where there is no HTTPS."""
    _scopes: dict[str, str] = field(default_factory=dict)
    """The gateway of a scope."""
    _attached: dict[str, set[str]] = field(default_factory=dict)
    """The deployments that name a gateway."""

    def follow(self, world: World, snapshots: Mapping[str, Snapshot], changed: Iterable[Key]) -> None:
        """Take a newer world and its snapshots; `changed` are the objects that came, went or changed."""
        for key in changed:
            self._index(key, self.world, present=False)
            self._index(key, world, present=True)
        self.world, self.snapshots = world, snapshots

    def keys(self) -> list[Key]:
        """Name all objects."""
        return [
            *((Kind.GATEWAY, key) for key in self.world.gateways),
            *((Kind.DEPLOYMENT, key) for key in self.world.deployments),
            *self.world.unreadable,
        ]

    def of(self, type_url: str, name: str) -> Iterator[Key]:
        """Name the objects that a resource may say something about."""
        kind, _, rest = name.partition("/")
        match kind:
            case "host" if name in self._scopes:
                yield Kind.GATEWAY, self._scopes[name]
            case "gateway":
                yield Kind.GATEWAY, rest
                yield from ((Kind.DEPLOYMENT, key) for key in self._attached.get(rest, ()))
            case "deployment" | "split":
                deployment_id = rest.partition("/")[0]
                yield Kind.DEPLOYMENT, deployment_id
                if type_url == CLUSTER and (found := self.world.deployments.get(deployment_id)):
                    yield from ((Kind.GATEWAY, key) for key in found.definition.gateway_ids)

    def generation(self, key: Key) -> int | None:
        """Give the generation of an object; None when it is gone."""
        found = self._found(key)
        return None if found is None else found.generation

    def deleting(self, key: Key) -> bool:
        """Say whether an object is being deleted."""
        found = self._found(key)
        return found is not None and found.deleting

    def before(self, key: Key) -> Observed | None:
        """Give what was observed of an object when it came."""
        found = self._found(key)
        return None if found is None else found.observed

    def foreign(self, key: Key) -> bool:
        """Say whether no gateway of an object is in a zone that is served here."""
        zones, only = list(self._zones(key)), self.zoning.only
        return bool(zones) and not any(only is None or zone_key(zone) == zone_key(only) for zone in zones)

    def is_seen(self, key: Key, clients: Clients) -> bool:
        """Say whether an Envoy is connected in a zone of an object's: all else is a guess."""
        return not self.foreign(key) and any(clients(self.zoning.key(zone)) for zone in self._zones(key))

    def observed(self, key: Key, past: Past, clients: Clients, counting: Counting) -> Observed | None:
        """Give what is to be said of an object; None for one that is gone."""
        match key:
            case (Kind.GATEWAY, key_id) if found := self.world.gateways.get(key_id):
                gateway = found.definition
                certified = self.coverage(self._hosts(gateway)) if self.coverage else None
                seen = self._gateway(gateway, clients)
                return gateway_observed(past, gateway, self.owner(key_id), seen, certified)
            case (Kind.DEPLOYMENT, key_id) if deployed := self.world.deployments.get(key_id):
                return self._deployment(deployed.definition, past, clients, counting)
            case _ if key in self.world.unreadable:
                return unreadable_observed(past, self._zones(key), self.world.unreadable[key].errors)
            case _:
                return None

    def still_held(self, key: Key, clients: Clients) -> bool:
        """Say whether an Envoy still leads requests to an object that is being deleted."""
        match key:
            case (Kind.GATEWAY, key_id) if found := self.world.gateways.get(key_id):
                return self._is_led_to(found.definition, clients)
            case (Kind.DEPLOYMENT, key_id) if deployed := self.world.deployments.get(key_id):
                gateways = filter(None, map(self.world.gateways.get, deployed.definition.gateway_ids))
                return any(
                    self._behind(gateway.definition, key_id, client)
                    for gateway in gateways
                    for client in self._clients_of(gateway.definition, clients)
                )
            case _:
                return False

    def _is_led_to(self, gateway: Gateway, clients: Clients) -> bool:
        """Say whether an Envoy still has a gateway's routes, or a name of its that nobody else took over."""
        found = self._clients_of(gateway, clients)
        scopes = (names.scope(host) for host in self._hosts(gateway))
        present = self._snapshot(gateway).of(SCOPE)
        return holds(ROUTES, names.routes(gateway.id), found) or any(
            scope not in present and holds(SCOPE, scope, found) for scope in scopes
        )

    def _behind(self, gateway: Gateway, deployment_id: str, client: Client) -> bool:
        """Say whether an Envoy has routes of a gateway that lead to a deployment; the newest do not."""
        name = names.routes(gateway.id)
        if kept(client, ROUTES, name) == self._snapshot(gateway).of(ROUTES).get(name):
            return False
        return leads(ROUTES, name, names.deployment_cluster(deployment_id), client)

    def _clients_of(self, gateway: Gateway, clients: Clients) -> Sequence[Client]:
        place = self.zoning.place(gateway)
        return () if place is None else clients(place)

    def _snapshot(self, gateway: Gateway) -> Snapshot:
        return self.snapshots.get(self.zoning.place(gateway) or "", NO_RESOURCES)

    def _found(self, key: Key) -> Defined[Gateway] | Defined[Deployment] | Unreadable | None:
        kind, object_id = key
        if kind is Kind.GATEWAY and object_id in self.world.gateways:
            return self.world.gateways[object_id]
        if kind is Kind.DEPLOYMENT and object_id in self.world.deployments:
            return self.world.deployments[object_id]
        return self.world.unreadable.get(key)

    def _zones(self, key: Key) -> Iterator[str]:
        match key:
            case (Kind.GATEWAY, key_id) if found := self.world.gateways.get(key_id):
                yield found.definition.zone
            case (Kind.DEPLOYMENT, key_id) if deployed := self.world.deployments.get(key_id):
                yield from (gateway.zone for gateway in self._gateways(deployed.definition))
            case _ if key in self.world.unreadable:
                yield from self.world.unreadable[key].zones
            case _:
                pass

    def _gateways(self, deployment: Deployment) -> Iterator[Gateway]:
        for gateway_id in deployment.gateway_ids:
            found = self.world.gateways.get(gateway_id)
            if found is not None and not found.deleting:
                yield found.definition

    def _hosts(self, gateway: Gateway) -> Iterator[str]:
        yield gateway_host(gateway.id, self.domain)
        yield from map(normal_host, gateway.endpoint_configuration.additional_dns)

    def _gateway(self, gateway: Gateway, clients: Clients) -> Programmed | NotServed:
        if self.zoning.place(gateway) is None:
            return NotServed(self.zoning.only or "")
        snapshot = self._snapshot(gateway)
        routes, scopes = snapshot.of(ROUTES).get(names.routes(gateway.id)), snapshot.of(SCOPE)
        needs = [(SCOPE, scopes.get(names.scope(host))) for host in self._hosts(gateway)]
        clusters = self._clusters(routes, snapshot.of(CLUSTER))
        needs = [(ROUTES, routes), *needs, *((CLUSTER, cluster) for cluster in clusters)]
        return _asked(needs, [], self._clients_of(gateway, clients))

    @staticmethod
    def _clusters(routes: Resource | None, clusters: Mapping[str, Resource]) -> Iterator[Resource | None]:
        """Give the clusters that routes need, those behind a split too."""
        for name in (routes.needs if routes else None) or ():
            yield (cluster := clusters.get(name))
            if name.startswith("split/"):
                yield from map(clusters.get, (cluster.needs if cluster else None) or ())

    def _deployment(
        self, deployment: Deployment, past: Past, clients: Clients, counting: Counting
    ) -> Observed:
        by_key: dict[str, list[Gateway]] = {}
        for gateway in self._gateways(deployment):
            by_key.setdefault(zone_key(gateway.zone), []).append(gateway)
        by_zone = {found[0].zone: found for found in by_key.values()}
        served = {zone: found for zone, found in by_zone.items() if self.zoning.place(found[0]) is not None}
        seen: Mapping[str, Programmed | NotServed] = {
            zone: self._deployed(deployment, found, clients) for zone, found in served.items()
        } or {zone: NotServed(self.zoning.only or "") for zone in by_zone}
        replicas = self._replicas(deployment, counting)
        return deployment_observed(past, seen, replicas, disabled=deployment.disabled)

    def _deployed(self, deployment: Deployment, gateways: Sequence[Gateway], clients: Clients) -> Programmed:
        """Say how far the Envoys of a zone have a deployment; the gateways are of that zone."""
        snapshot, name = self._snapshot(gateways[0]), names.deployment_cluster(deployment.id)
        own = [(CLUSTER, snapshot.of(CLUSTER).get(name))]
        if (endpoints := snapshot.of(ENDPOINTS).get(name)) is not None:  # a name's are Envoy's affair
            own.append((ENDPOINTS, endpoints))
        routes = snapshot.of(ROUTES)
        others = [(ROUTES, routes.get(names.routes(gateway.id))) for gateway in gateways]
        return _asked(own, others, self._clients_of(gateways[0], clients))

    def _replicas(self, deployment: Deployment, counting: Counting) -> Replicas:
        """Count replicas: those that registered themselves are ready as long as they are heard of."""
        if deployment.backend is not None:
            found = counting(deployment.id) or Replicas(0, 1, asked=False)
            if found.total == 0 and isinstance(deployment.backend, DockerBackend):
                return replace(
                    found, none=f"No running container has the label igw.deployment={deployment.name}"
                )
            return found
        count = sum(map(registered, self.world.replicas.get(deployment.id, ())))
        least = deployment.autoscaling.min if deployment.autoscaling else 1
        return Replicas(count, max(count, least))

    def _index(self, key: Key, world: World, *, present: bool) -> None:
        match key:
            case (Kind.GATEWAY, key_id) if found := world.gateways.get(key_id):
                if present and found.deleting:
                    return  # a name of its may already be another's
                for host in self._hosts(found.definition):
                    self._own_scope(names.scope(host), key_id, present=present)
            case (Kind.DEPLOYMENT, key_id) if deployed := world.deployments.get(key_id):
                for gateway_id in deployed.definition.gateway_ids:
                    attached = self._attached.setdefault(gateway_id, set())
                    attached.add(key_id) if present else attached.discard(key_id)
                    if not attached:
                        del self._attached[gateway_id]
            case _:
                pass

    def _own_scope(self, scope: str, gateway_id: str, *, present: bool) -> None:
        if present:
            self._scopes[scope] = gateway_id
        elif self._scopes.get(scope) == gateway_id:
            del self._scopes[scope]


def _asked(
    own: Sequence[tuple[str, Resource | None]],
    others: Sequence[tuple[str, Resource | None]],
    clients: Sequence[Client],
) -> Programmed:
    """Ask for all resources; while one is not published yet nobody has them all."""
    have, have_others = _present(own), _present(others)
    seen = programmed(have, have_others, clients)
    if len(have) == len(own) and len(have_others) == len(others):
        return seen
    return Programmed(0, seen.connected, seen.refused_by, seen.text, seen.own)


def _present(needs: Iterable[tuple[str, Resource | None]]) -> list[Need]:
    return [(type_url, resource) for type_url, resource in needs if resource is not None]
