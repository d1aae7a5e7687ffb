"""Clusters: one for each deployment, one for each order of falling back, and those of our services.

Weights are not here: changing a split touches routes alone. Which instances are asked is in `liveness`.
"""

import ipaddress
from collections.abc import Mapping
from functools import cache
from typing import assert_never

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from envoy.config.core.v3 import protocol_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.clusters.aggregate.v3 import cluster_pb2 as aggregate_pb2
from envoy.extensions.clusters.common.dns.v3 import dns_pb2
from envoy.extensions.clusters.dns.v3 import dns_cluster_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import any_pb2, wrappers_pb2
from igw_certs.identity import Role
from igw_model.deployment import DnsBackend, StaticBackend

from igw_xds import names
from igw_xds.plan import Containers, PlannedDeployment, PlannedModel, Registered
from igw_xds.resources.endpoints import load_assignment, of_deployment
from igw_xds.resources.liveness import (
    HEALTH_CHECK_HOST,
    another_instance,
    any_answer,
    container_health_check,
    health_check,
    last_resort,
    no_panic,
    outlier_detection,
    unreachable,
)
from igw_xds.resources.messages import ads, packed, seconds
from igw_xds.resources.mutual_tls import transport_socket
from igw_xds.settings import BodyRouting, DataPlane, HostPort

# Model servers close idle connections early (uvicorn, under vLLM: 5 s). Envoy must close first, or it sends a
# request into a closing connection and may not repeat it.
MODEL_SERVER_IDLE_SECONDS = 4
SERVICE_IDLE_SECONDS = 30
FROZEN_SECONDS = 1
"""How often a connection is asked for a sign of life, and how long that may take. What waits on one that froze is then
asked of another instance, long before its own time is over."""
SERVICE_CONNECT_SECONDS = 0.5
"""A request waits for this once when an instance's machine is gone; then the instance is left out."""
RESOLVE_SECONDS = 2
"""How often a name is resolved anew. Docker's DNS and headless services name every instance, with lives that are
too long (Docker: 600 s) to go by."""
BATCHES_KEPT = 2048
MOST_IN_ORDER = 8
"""Deployments that an order of falling back names, its own first: few models have more, and with all of them in every
order n deployments would be n * n names, and a change of one would replace every order."""
_ROLES = {
    names.EXTAUTH_CLUSTER: Role.EXTAUTH,
    names.EXTAUTH_LOG_CLUSTER: Role.EXTAUTH,
    names.EXTPROC_CLUSTER: Role.EXTPROC,
    names.USAGE_LOG_CLUSTER: Role.COLLECTOR,
}
"""Whose certificate a service must have."""
_RETRIES = {name: another_instance() for name in (names.EXTAUTH_CLUSTER, names.EXTPROC_CLUSTER)}
"""Of those that are asked once for a request; what is told is kept, and told again, by who tells it."""
UNLIMITED = wrappers_pb2.UInt32Value(value=1_000_000)


def deployment_cluster(deployment: PlannedDeployment) -> cluster_pb2.Cluster:
    """Give the cluster of one deployment's replicas: least request, health checks, outlier detection."""
    cluster = cluster_pb2.Cluster(
        name=names.deployment_cluster(deployment.id),
        connect_timeout=seconds(2),
        lb_policy=cluster_pb2.Cluster.LEAST_REQUEST,
        common_lb_config=no_panic(),
        circuit_breakers=_unlimited(),
        outlier_detection=outlier_detection(),
        # Without this an endpoint that we remove stays until its health check fails.
        ignore_health_on_host_removal=True,
        typed_extension_protocol_options=_http1(),
    )
    match deployment.backend:
        case StaticBackend(health_check=check):
            _over_eds(cluster)
            cluster.health_checks.append(health_check(check.path, HEALTH_CHECK_HOST))
        case DnsBackend(hostname=hostname, port=port, health_check=check):
            _over_dns(cluster, of_deployment(deployment.id, [at := HostPort(hostname, port)]), at)
            cluster.health_checks.append(health_check(check.path, hostname))
        case Registered():
            _over_eds(cluster)
        case Containers(health_check=check):
            _over_eds(cluster)
            cluster.health_checks.append(container_health_check(check.path))
        case other:
            assert_never(other)
    return cluster


def fallback_orders(model: PlannedModel) -> list[tuple[str, ...]]:
    """Give for each share the deployments to try: its own first, then the next ones in turn; none for a lone one."""
    ids = tuple(share.deployment_id for share in model.shares)
    length = min(len(ids), MOST_IN_ORDER)
    circle = ids + ids[: length - 1]
    return [circle[i : i + length] for i in range(len(ids))] if len(ids) > 1 else []


def service_clusters(data_plane: DataPlane) -> list[cluster_pb2.Cluster]:
    """Give the clusters of the services that Envoy asks and tells, whose instances may come, go, die and freeze."""
    asked = {
        names.EXTAUTH_CLUSTER: data_plane.extauth,
        names.EXTAUTH_LOG_CLUSTER: data_plane.extauth_log,
    }
    if data_plane.body_routing is not BodyRouting.NATIVE:
        asked[names.EXTPROC_CLUSTER] = data_plane.extproc
    if data_plane.usage_log is not None:
        asked[names.USAGE_LOG_CLUSTER] = data_plane.usage_log
    clusters = [
        service_cluster(name, at, http2(FROZEN_SECONDS), _RETRIES.get(name)) for name, at in asked.items()
    ]
    for cluster in clusters:
        cluster.health_checks.append(any_answer())
        cluster.common_lb_config.CopyFrom(last_resort())
        cluster.outlier_detection.CopyFrom(unreachable())
        cluster.connect_timeout.CopyFrom(seconds(SERVICE_CONNECT_SECONDS))
        if cluster.name == names.USAGE_LOG_CLUSTER:
            cluster.circuit_breakers.CopyFrom(_batches_kept())
        if data_plane.trust_domain is not None:
            cluster.transport_socket.CopyFrom(transport_socket(data_plane.trust_domain, _ROLES[cluster.name]))
    if data_plane.traces is not None:
        clusters.append(service_cluster(names.TRACES_CLUSTER, data_plane.traces, http2(SERVICE_IDLE_SECONDS)))
    return clusters


def http2(ping_seconds: float) -> protocol_pb2.Http2ProtocolOptions:
    """Give HTTP/2 options with pings: a connection that answers none in as much time again, or 5 s, is closed."""
    keepalive = protocol_pb2.KeepaliveSettings(
        interval=seconds(ping_seconds), timeout=seconds(min(ping_seconds, 5))
    )
    return protocol_pb2.Http2ProtocolOptions(connection_keepalive=keepalive)


def service_cluster(
    name: str,
    at: HostPort,
    http2_options: protocol_pb2.Http2ProtocolOptions,
    retries: route_components_pb2.RetryPolicy | None = None,
) -> cluster_pb2.Cluster:
    """Give the cluster of a service: HTTP/2, in clear."""
    cluster = cluster_pb2.Cluster(
        name=name,
        connect_timeout=seconds(1),
        lb_policy=cluster_pb2.Cluster.LEAST_REQUEST,
        common_lb_config=no_panic(),
        circuit_breakers=_unlimited(),
        typed_extension_protocol_options=_http2(http2_options, retries),
    )
    _over_dns(cluster, load_assignment(name, [at]), at)
    return cluster


def _over_eds(cluster: cluster_pb2.Cluster) -> None:
    cluster.type = cluster_pb2.Cluster.EDS
    cluster.eds_cluster_config.eds_config.CopyFrom(ads())


def _over_dns(
    cluster: cluster_pb2.Cluster, endpoints: endpoint_pb2.ClusterLoadAssignment, at: HostPort
) -> None:
    if _is_address(at.host):
        cluster.type = cluster_pb2.Cluster.STATIC
    else:
        # Every address is an endpoint: what used to be the type STRICT_DNS.
        every = dns_cluster_pb2.DnsCluster(
            dns_refresh_rate=seconds(RESOLVE_SECONDS),
            dns_jitter=seconds(RESOLVE_SECONDS / 2),  # a thousand names are not asked for at once
            dns_lookup_family=dns_pb2.V4_PREFERRED,
        )
        cluster.cluster_type.name = "envoy.clusters.dns"
        cluster.cluster_type.typed_config.CopyFrom(packed(every))
    cluster.load_assignment.CopyFrom(endpoints)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def split_cluster(order: tuple[str, ...]) -> cluster_pb2.Cluster:
    """Give the cluster of the first deployment of an order that falls back on the others."""
    members = [names.deployment_cluster(deployment_id) for deployment_id in order]
    return cluster_pb2.Cluster(
        name=names.split_cluster(order),
        connect_timeout=seconds(2),
        lb_policy=cluster_pb2.Cluster.CLUSTER_PROVIDED,
        common_lb_config=no_panic(),
        circuit_breakers=_unlimited(),
        cluster_type=cluster_pb2.Cluster.CustomClusterType(
            name="envoy.clusters.aggregate",
            typed_config=packed(aggregate_pb2.ClusterConfig(clusters=members)),
        ),
    )


@cache
def _unlimited() -> circuit_breaker_pb2.CircuitBreakers:
    """Envoy's defaults (1,024 requests, 3 retries) are too few for long streams; limits are for later."""
    return circuit_breaker_pb2.CircuitBreakers(
        thresholds=[
            circuit_breaker_pb2.CircuitBreakers.Thresholds(
                max_connections=UNLIMITED,
                max_pending_requests=UNLIMITED,
                max_requests=UNLIMITED,
                max_retries=UNLIMITED,
            )
        ]
    )


@cache
def _batches_kept() -> circuit_breaker_pb2.CircuitBreakers:
    """Bound what Envoy keeps of its usage log while the collector is away: so many batches of 32 kB."""
    most = wrappers_pb2.UInt32Value(value=BATCHES_KEPT)
    threshold = circuit_breaker_pb2.CircuitBreakers.Thresholds(
        max_connections=UNLIMITED, max_pending_requests=most, max_requests=most, max_retries=most
    )
    return circuit_breaker_pb2.CircuitBreakers(thresholds=[threshold])


@cache
def _http1() -> Mapping[str, any_pb2.Any]:
    options = http_protocol_options_pb2.HttpProtocolOptions
    explicit = options.ExplicitHttpConfig(http_protocol_options=protocol_pb2.Http1ProtocolOptions())
    return _protocol(options(explicit_http_config=explicit), MODEL_SERVER_IDLE_SECONDS)


def _http2(
    http2_options: protocol_pb2.Http2ProtocolOptions, retries: route_components_pb2.RetryPolicy | None
) -> dict[str, any_pb2.Any]:
    options = http_protocol_options_pb2.HttpProtocolOptions
    explicit = options.ExplicitHttpConfig(http2_protocol_options=http2_options)
    return _protocol(options(explicit_http_config=explicit, retry_policy=retries), SERVICE_IDLE_SECONDS)


def _protocol(
    options: http_protocol_options_pb2.HttpProtocolOptions, idle_seconds: int
) -> dict[str, any_pb2.Any]:
    options.common_http_protocol_options.idle_timeout.CopyFrom(seconds(idle_seconds))
    return {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": packed(options)}
