"""Envoy's bootstrap: who it is, and where its configuration comes from; or all of it at once, without xDS."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, backoff_pb2, base_pb2, config_source_pb2, grpc_service_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2, scoped_route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from google.protobuf.json_format import MessageToJson
from igw_certs.identity import Role

from igw_xds import names, stats_listener
from igw_xds.overload import overload_manager
from igw_xds.resources import edge
from igw_xds.resources.clusters import http2, service_cluster
from igw_xds.resources.messages import ads, packed, seconds, socket_address
from igw_xds.resources.mutual_tls import transport_socket
from igw_xds.settings import HostPort
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE, Snapshot

_RECONNECT = backoff_pb2.BackoffStrategy(base_interval=seconds(0.5), max_interval=seconds(5))
"""When the control plane is gone. Envoy's own longest pause is 30 s, for which a new Envoy would stay without work."""
TLS_CONNECT_SECONDS = 5
"""For a handshake too, with a control plane that a whole fleet comes back to: it makes some 800 in a second."""
RUNTIME = {
    "re2.max_program_size.error_level": 8192,
    "re2.max_program_size.warn_level": 8192,
    **edge.RUNTIME,
}
"""A path gateway matches every percent-encoding of a model's name; Envoy's limit of 100 is too small for some."""


@dataclass(frozen=True, slots=True)
class Node:
    """An Envoy of ours: its id, its zone, its admin address and its control plane, by TCP or at a Unix socket.

    `stats` is where it shows its metrics and whether it is ready to others than this machine, if anywhere.
    """

    id: str
    zone: str
    admin: HostPort
    xds: HostPort | Path
    stats: HostPort | None = None
    heap_bytes: int | None = None
    """What its heap may grow to before it turns clients away; None: as far as the system lets it."""
    trust_domain: str | None = None
    """Of its own certificate and the control plane's; None: they speak in clear, as at a Unix socket always."""


def bootstrap(node: Node) -> dict[str, Any]:
    """Give the bootstrap of an Envoy that gets everything over delta ADS, as JSON."""
    message = bootstrap_pb2.Bootstrap(
        node=base_pb2.Node(id=node.id, cluster="igw", locality=base_pb2.Locality(zone=node.zone)),
        dynamic_resources=bootstrap_pb2.Bootstrap.DynamicResources(
            ads_config=_delta(), cds_config=_awaited(), lds_config=_awaited()
        ),
        static_resources=bootstrap_pb2.Bootstrap.StaticResources(clusters=[_xds_cluster(node)]),
        admin=bootstrap_pb2.Admin(address=socket_address(node.admin)),
    )
    _complete(message, node.heap_bytes)
    if node.stats is not None:
        _show(message, node.stats, node.admin)
    return _document(message)


def static_bootstrap(snapshot: Snapshot, admin: HostPort) -> dict[str, Any]:
    """Give one self-contained configuration of the same resources, to paste into an Envoy or to validate."""
    endpoints = {
        r.name: _unpacked(r.body, endpoint_pb2.ClusterLoadAssignment()) for r in _of(snapshot, ENDPOINTS)
    }
    clusters = [_static(_unpacked(r.body, cluster_pb2.Cluster()), endpoints) for r in _of(snapshot, CLUSTER)]
    # Envoy refuses a list of no scopes; with no gateway there is nothing to listen for.
    found = _of(snapshot, LISTENER) if snapshot.of(SCOPE) else ()
    listeners = [_unpacked(r.body, listener_pb2.Listener()) for r in found]
    for listener in listeners:
        _inline_routes(listener, snapshot)
    message = bootstrap_pb2.Bootstrap(
        static_resources=bootstrap_pb2.Bootstrap.StaticResources(clusters=clusters, listeners=listeners),
        admin=bootstrap_pb2.Admin(address=socket_address(admin)),
    )
    _complete(message)
    return _document(message)


def _delta() -> config_source_pb2.ApiConfigSource:
    service = grpc_service_pb2.GrpcService(
        envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(
            cluster_name=names.XDS_CLUSTER,
            retry_policy=base_pb2.RetryPolicy(retry_back_off=_RECONNECT),
        )
    )
    return config_source_pb2.ApiConfigSource(
        api_type=config_source_pb2.ApiConfigSource.DELTA_GRPC,
        transport_api_version=config_source_pb2.V3,
        set_node_on_first_message_only=True,
        grpc_services=[service],
    )


def _awaited() -> config_source_pb2.ConfigSource:
    """Get a resource over the aggregated stream, and wait for it: not ready until there is something to serve.

    Envoy's own default is to call itself ready after 15 s, with nothing.
    """
    source = config_source_pb2.ConfigSource()
    source.CopyFrom(ads())
    source.initial_fetch_timeout.SetInParent()
    return source


def _show(message: bootstrap_pb2.Bootstrap, at: HostPort, admin: HostPort) -> None:
    """Add the listener for metrics and probes."""
    message.static_resources.clusters.append(stats_listener.admin_cluster(admin))
    message.static_resources.listeners.append(stats_listener.stats_listener(at))
    message.layered_runtime.layers[0].static_layer.update(stats_listener.RUNTIME)


def _xds_cluster(node: Node) -> cluster_pb2.Cluster:
    """Notice a dead control plane: HTTP/2 pings, because an idle stream says nothing."""
    if isinstance(node.xds, HostPort):
        cluster = service_cluster(names.XDS_CLUSTER, node.xds, http2(15))
        if node.trust_domain is not None:
            cluster.transport_socket.CopyFrom(transport_socket(node.trust_domain, Role.XDS))
            cluster.connect_timeout.CopyFrom(seconds(TLS_CONNECT_SECONDS))
        return cluster
    cluster = service_cluster(names.XDS_CLUSTER, HostPort("127.0.0.1", 0), http2(15))
    [endpoint] = cluster.load_assignment.endpoints[0].lb_endpoints
    endpoint.endpoint.address.CopyFrom(address_pb2.Address(pipe=address_pb2.Pipe(path=str(node.xds))))
    return cluster


def _complete(message: bootstrap_pb2.Bootstrap, heap_bytes: int | None = None) -> None:
    """Add what holds for every Envoy of ours: bounds on connections and memory, and the runtime that our routes need.

    With thousands of clusters Envoy's main thread, which takes our updates, would stand still for half a second of
    every five to put its statistics together. So they are made where there is traffic, and put together when asked.
    """
    message.deferred_stat_options.enable_deferred_creation_stats = True
    message.stats_flush_on_admin = True
    layer = message.layered_runtime.layers.add(name="igw")
    layer.static_layer.update(RUNTIME)
    message.overload_manager.CopyFrom(overload_manager(heap_bytes))


def _of(snapshot: Snapshot, type_url: str) -> Iterable[Any]:
    """Give the resources of a type in order: two renders are there to be compared."""
    return sorted(snapshot.of(type_url).values(), key=lambda r: r.name)


def _unpacked(body: Any, message: Any) -> Any:
    body.Unpack(message)
    return message


def _static(cluster: cluster_pb2.Cluster, endpoints: dict[str, Any]) -> cluster_pb2.Cluster:
    if cluster.WhichOneof("cluster_discovery_type") == "type" and cluster.type == cluster_pb2.Cluster.EDS:
        cluster.type = cluster_pb2.Cluster.STATIC
        cluster.ClearField("eds_cluster_config")
        cluster.load_assignment.CopyFrom(endpoints[cluster.name])
    return cluster


def _inline_routes(listener: listener_pb2.Listener, snapshot: Snapshot) -> None:
    routes = {r.name: _unpacked(r.body, route_pb2.RouteConfiguration()) for r in _of(snapshot, ROUTES)}
    [manager_filter] = listener.filter_chains[0].filters
    manager = _unpacked(manager_filter.typed_config, hcm_pb2.HttpConnectionManager())
    scoped = manager.scoped_routes
    scoped.ClearField("scoped_rds")
    scoped.ClearField("rds_config_source")
    scoped.scoped_route_configurations_list.SetInParent()
    for found in _of(snapshot, SCOPE):
        scope = _unpacked(found.body, scoped_route_pb2.ScopedRouteConfiguration())
        scope.route_configuration.CopyFrom(routes[scope.route_configuration_name])
        scope.ClearField("route_configuration_name")
        scoped.scoped_route_configurations_list.scoped_route_configurations.append(scope)
    manager_filter.typed_config.CopyFrom(packed(manager))


def _document(message: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(MessageToJson(message, preserving_proto_field_name=True))
    return document
