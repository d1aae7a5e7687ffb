"""The plan as a snapshot: every resource of every type, encoded once.

With a memo, what did not change since the last plan is not made again: the same objects are served.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from igw_xds import names
from igw_xds.plan import Plan, PlannedDeployment, PlannedGateway, keep_only
from igw_xds.resources.clusters import deployment_cluster, fallback_orders, service_clusters, split_cluster
from igw_xds.resources.endpoints import deployment_endpoints
from igw_xds.resources.listener import listener
from igw_xds.resources.routes import route_configuration
from igw_xds.resources.scopes import scope
from igw_xds.settings import DataPlane
from igw_xds.snapshot import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    ROUTES,
    SCOPE,
    Group,
    Resource,
    Snapshot,
    assembled,
    group,
    resource,
)

Made = Mapping[str, tuple[Resource, ...]]
"""Resources made of one planned thing, by type URL."""


@dataclass(slots=True)
class Memo:
    """What the parts of the last plan became; for one data plane. `snapshot_of` keeps it."""

    gateways: dict[str, tuple[PlannedGateway, Made]] = field(default_factory=dict)
    deployments: dict[str, tuple[PlannedDeployment, Made]] = field(default_factory=dict)
    shared: Made | None = None
    groups: dict[str, tuple[list[Resource], Group]] = field(default_factory=dict)


def snapshot_of(plan: Plan, data_plane: DataPlane, memo: Memo | None = None) -> Snapshot:
    """Give the snapshot that serves a plan."""
    memo = memo or Memo()
    shared = memo.shared = memo.shared or _shared(data_plane)
    deployments = [_made(d.id, d, memo.deployments, of_deployment) for d in plan.deployments]
    gateways = [
        _made(g.id, g, memo.gateways, lambda gateway: of_gateway(gateway, data_plane)) for g in plan.gateways
    ]
    keep_only({deployment.id for deployment in plan.deployments}, memo.deployments)
    keep_only({gateway.id for gateway in plan.gateways}, memo.gateways)
    makers: Mapping[str, list[Made]] = {
        CLUSTER: [shared, *deployments, *gateways],
        ENDPOINTS: deployments,
        LISTENER: [shared],
        SCOPE: gateways,
        ROUTES: gateways,
    }
    return assembled(
        {
            type_url: _group(type_url, [r for made in found for r in made[type_url]], memo)
            for type_url, found in makers.items()
        }
    )


def of_deployment(deployment: PlannedDeployment) -> Made:
    """Give a deployment's cluster and, unless Envoy resolves a name for it, its endpoints."""
    name = names.deployment_cluster(deployment.id)
    endpoints = deployment_endpoints(deployment)
    return {
        CLUSTER: (resource(name, deployment_cluster(deployment)),),
        ENDPOINTS: () if endpoints is None else (resource(name, endpoints),),
    }


def of_gateway(gateway: PlannedGateway, data_plane: DataPlane) -> Made:
    """Give a gateway's scopes, its routes, and the clusters of its splits (another gateway may have the same)."""
    orders = {order for model in gateway.models for order in fallback_orders(model)}
    splits = [resource(names.split_cluster(order), split_cluster(order), _members(order)) for order in orders]
    routes = route_configuration(gateway, data_plane)
    return {
        CLUSTER: tuple(splits),
        SCOPE: tuple(resource(names.scope(host), scope(host, gateway.id)) for host in gateway.hosts),
        ROUTES: (resource(routes.name, routes, gateway_clusters(gateway)),),
    }


def gateway_clusters(gateway: PlannedGateway) -> Iterable[str]:
    """Give the clusters that a gateway's routes name."""
    for model in gateway.models:
        orders = fallback_orders(model)
        yield from (names.split_cluster(order) for order in orders)
        if not orders:
            yield from _members(share.deployment_id for share in model.shares)


def _members(deployment_ids: Iterable[str]) -> Iterable[str]:
    return (names.deployment_cluster(deployment_id) for deployment_id in deployment_ids)


def _shared(data_plane: DataPlane) -> Made:
    services = service_clusters(data_plane)
    return {
        CLUSTER: tuple(resource(cluster.name, cluster) for cluster in services),
        LISTENER: (resource(names.LISTENER, listener(data_plane)),),
    }


P = TypeVar("P", PlannedGateway, PlannedDeployment)


def _made(key: str, planned: P, memo: dict[str, tuple[P, Made]], make: Callable[[P], Made]) -> Made:
    last = memo.get(key)
    if last is not None and (last[0] is planned or last[0] == planned):
        return last[1]
    made = make(planned)
    if last is not None:
        made = {type_url: _same(last[1].get(type_url, ()), new) for type_url, new in made.items()}
    memo[key] = (planned, made)
    return made


def _same(old: tuple[Resource, ...], new: tuple[Resource, ...]) -> tuple[Resource, ...]:
    """Keep the objects of resources that came out as they were: streams compare by identity first."""
    by_name = {r.name: r for r in old}
    return tuple(before if (before := by_name.get(r.name)) == r else r for r in new)


def _group(type_url: str, resources: list[Resource], memo: Memo) -> Group:
    last = memo.groups.get(type_url)
    if last is not None and last[0] == resources:
        return last[1]
    made = group(resources)
    memo.groups[type_url] = (resources, made)
    return made
