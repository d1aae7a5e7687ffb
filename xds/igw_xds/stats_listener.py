"""What an Envoy shows of itself to others: its metrics, and whether it is ready; a static listener and its cluster.

The admin interface may end the Envoy and show everything, so it listens on loopback alone. This listener passes
two requests on to it, each known by its whole request line: ``GET /metrics`` and ``GET /ready``. Anything else, a
query too, is 404.
"""

from collections.abc import Mapping

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import protocol_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf import wrappers_pb2

from igw_xds.resources.endpoints import load_assignment
from igw_xds.resources.messages import packed, seconds, socket_address
from igw_xds.settings import HostPort

LISTENER = "igw-stats"
ADMIN_CLUSTER = "igw-admin"
STAT_PREFIX = "igw_stats"
"""Not the one of clients: what scrapes and probes do must not count as their requests."""

SHOWN: Mapping[str, str] = {
    # Without `usedonly` the thousands of counters that nothing has touched are sent at each scrape.
    "/metrics": "/stats/prometheus?usedonly",
    "/ready": "/ready",
}
"""Path to the admin interface's path and query."""

MAX_CONNECTIONS = 100
RUNTIME = {f"envoy.resource_limits.listener.{LISTENER}.connection_limit": MAX_CONNECTIONS}
"""The bound on connections, which Envoy takes from the runtime."""

REQUEST_SECONDS = 5
IDLE_SECONDS = 120
ANSWER_SECONDS = 30
BUFFER_BYTES = 64 * 1024


def stats_listener(at: HostPort) -> listener_pb2.Listener:
    """Give the listener. Clients at their limit, or a lack of memory, do not shut it; draining leaves it."""
    manager = listener_components_pb2.Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=packed(_connection_manager())
    )
    return listener_pb2.Listener(
        name=LISTENER,
        address=socket_address(at),
        filter_chains=[listener_components_pb2.FilterChain(filters=[manager])],
        per_connection_buffer_limit_bytes=wrappers_pb2.UInt32Value(value=BUFFER_BYTES),
        ignore_global_conn_limit=True,
        bypass_overload_manager=True,
        drain_type=listener_pb2.Listener.MODIFY_ONLY,
    )


def admin_cluster(admin: HostPort) -> cluster_pb2.Cluster:
    """Give the cluster of the admin interface."""
    return cluster_pb2.Cluster(
        name=ADMIN_CLUSTER,
        connect_timeout=seconds(1),
        type=cluster_pb2.Cluster.STATIC,
        load_assignment=load_assignment(ADMIN_CLUSTER, [admin]),
    )


def _connection_manager() -> hcm_pb2.HttpConnectionManager:
    """Give the HTTP connection manager: HTTP/1.1 only, no normalised paths, no access log."""
    host = route_components_pb2.VirtualHost(
        name=LISTENER, domains=["*"], routes=[_route(path, to) for path, to in SHOWN.items()]
    )
    router = router_pb2.Router(suppress_envoy_headers=True)
    return hcm_pb2.HttpConnectionManager(
        stat_prefix=STAT_PREFIX,
        codec_type=hcm_pb2.HttpConnectionManager.HTTP1,
        route_config=route_pb2.RouteConfiguration(name=LISTENER, virtual_hosts=[host]),
        http_filters=[hcm_pb2.HttpFilter(name="envoy.filters.http.router", typed_config=packed(router))],
        use_remote_address=wrappers_pb2.BoolValue(value=True),
        server_name="inference-gateway",
        request_headers_timeout=seconds(REQUEST_SECONDS),
        request_timeout=seconds(REQUEST_SECONDS),
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(idle_timeout=seconds(IDLE_SECONDS)),
    )


def _route(path: str, to: str) -> route_components_pb2.Route:
    """Lead one request line to the admin interface; `:path` holds the query too, so there is none to pass on."""
    match = route_components_pb2.RouteMatch(
        path=path, headers=[_header(":method", "GET"), _header(":path", path)]
    )
    action = route_components_pb2.RouteAction(
        cluster=ADMIN_CLUSTER, prefix_rewrite=to, timeout=seconds(ANSWER_SECONDS)
    )
    return route_components_pb2.Route(match=match, route=action)


def _header(name: str, value: str) -> route_components_pb2.HeaderMatcher:
    return route_components_pb2.HeaderMatcher(name=name, string_match=string_pb2.StringMatcher(exact=value))
