"""What gRPC's own xDS client is served: for a deployment that it names a listener, a cluster and endpoints.

`xds:///ID` leads to the deployment of that id. gRPC takes other messages than Envoy does: a listener of its own kind,
no least request, and endpoints whose localities have names and weights. Source: gRPC proposal A27, "xDS-Based Global
Load Balancing". A name that is resolved is Envoy's affair: such a deployment has no endpoints to give.
"""

from collections.abc import Iterable
from functools import lru_cache

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import api_listener_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from google.protobuf import wrappers_pb2

from igw_xds import names
from igw_xds.resources.messages import ads, packed
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, Resource, Snapshot, resource, snapshot

KEPT = 1024
"""Resources of deployments that were asked for last."""


def view(served: Snapshot, asked: Iterable[str]) -> Snapshot:
    """Give what a client is served that asks for these listeners; of what is not served nothing."""
    there = served.of(ENDPOINTS)
    found = [
        (deployment_id, endpoints)
        for deployment_id in asked
        if (endpoints := there.get(names.deployment_cluster(deployment_id))) is not None
    ]
    return snapshot(
        {
            LISTENER: [_listener(deployment_id) for deployment_id, _ in found],
            CLUSTER: [_cluster(deployment_id) for deployment_id, _ in found],
            ENDPOINTS: [_endpoints(deployment_id, endpoints) for deployment_id, endpoints in found],
        }
    )


@lru_cache(KEPT)
def _listener(deployment_id: str) -> Resource:
    action = route_components_pb2.RouteAction(cluster=names.proxyless(deployment_id))
    route = route_components_pb2.Route(match=route_components_pb2.RouteMatch(prefix=""), route=action)
    host = route_components_pb2.VirtualHost(name=deployment_id, domains=["*"], routes=[route])
    manager = hcm_pb2.HttpConnectionManager(
        route_config=route_pb2.RouteConfiguration(name=deployment_id, virtual_hosts=[host]),
        http_filters=[
            hcm_pb2.HttpFilter(name="envoy.filters.http.router", typed_config=packed(router_pb2.Router()))
        ],
    )
    listener = api_listener_pb2.ApiListener(api_listener=packed(manager))
    return resource(deployment_id, listener_pb2.Listener(name=deployment_id, api_listener=listener))


@lru_cache(KEPT)
def _cluster(deployment_id: str) -> Resource:
    name = names.proxyless(deployment_id)
    cluster = cluster_pb2.Cluster(
        name=name,
        type=cluster_pb2.Cluster.EDS,
        eds_cluster_config=cluster_pb2.Cluster.EdsClusterConfig(eds_config=ads()),
        lb_policy=cluster_pb2.Cluster.ROUND_ROBIN,
    )
    return resource(name, cluster)


@lru_cache(KEPT)
def _endpoints(deployment_id: str, served: Resource) -> Resource:
    assignment = endpoint_pb2.ClusterLoadAssignment()
    served.body.Unpack(assignment)
    assignment.cluster_name = names.proxyless(deployment_id)
    for locality in assignment.endpoints:
        locality.locality.CopyFrom(base_pb2.Locality(zone="all"))
        locality.load_balancing_weight.CopyFrom(wrappers_pb2.UInt32Value(value=1))
    return resource(assignment.cluster_name, assignment)
