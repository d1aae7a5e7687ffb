"""The plan as a snapshot: every resource of every type, encoded once.

All of it at once, or what one gateway and one deployment become: `derivation` keeps those that did not change.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from igw_certs.pair import KeyPair

from igw_xds import names
from igw_xds.plan import Plan, PlannedDeployment, PlannedGateway
from igw_xds.resources.clusters import deployment_cluster, fallback_orders, service_clusters, split_cluster
from igw_xds.resources.endpoints import deployment_endpoints
from igw_xds.resources.listener import listeners
from igw_xds.resources.routes import route_configuration
from igw_xds.resources.scopes import scope
from igw_xds.resources.tls import secrets
from igw_xds.settings import DataPlane
from igw_xds.snapshot import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    ROUTES,
    SCOPE,
    SECRET,
    TYPES,
    Resource,
    Snapshot,
    assembled,
    group,
    resource,
)

Made = Mapping[str, tuple[Resource, ...]]
"""Resources made of one planned thing, by type URL."""
Certificates = Mapping[str, KeyPair]
"""Those that Envoys show to clients, by name."""
NO_CERTIFICATES: Certificates = MappingProxyType({})


def snapshot_of(plan: Plan, data_plane: DataPlane, certificates: Certificates = NO_CERTIFICATES) -> Snapshot:
    """Give the snapshot that serves a plan."""
    made = [
        of_everyone(data_plane, certificates),
        *map(of_deployment, plan.deployments),
        *(of_gateway(gateway, data_plane) for gateway in plan.gateways),
    ]
    return assembled({type_url: group(_of_type(made, type_url)) for type_url in TYPES})


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


def of_everyone(data_plane: DataPlane, certificates: Certificates) -> Made:
    """Give what every Envoy has, whatever is defined: the services' clusters, certificates and listeners."""
    services, found = service_clusters(data_plane), listeners(data_plane, sorted(certificates))
    return {
        CLUSTER: tuple(resource(cluster.name, cluster) for cluster in services),
        SECRET: tuple(secrets(certificates)),
        LISTENER: tuple(resource(listener.name, listener) for listener in found),
    }


def _of_type(made: Iterable[Made], type_url: str) -> Iterable[Resource]:
    return (r for one in made for r in one.get(type_url, ()))
