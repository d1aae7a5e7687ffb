"""Which instances of a cluster are asked: health checks, what traffic tells, retries, and what is done without any."""

from functools import cache, lru_cache

from envoy.config.cluster.v3 import cluster_pb2, outlier_detection_pb2
from envoy.config.core.v3 import health_check_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.type.v3 import http_pb2, percent_pb2
from google.protobuf import wrappers_pb2

from igw_xds.resources.messages import packed, seconds

HEALTH_CHECK_HOST = "health-check.inference-gateway"


@cache
def no_panic() -> cluster_pb2.Cluster.CommonLbConfig:
    """Never send to unhealthy replicas: with none ready the answer is 503, or the other deployments.

    What a health check found counts at once. Envoy's default is to let its workers know up to a second later, for
    which replicas that replace others would not be used.
    """
    return cluster_pb2.Cluster.CommonLbConfig(
        healthy_panic_threshold=percent_pb2.Percent(value=0), update_merge_window=seconds(0)
    )


@cache
def last_resort() -> cluster_pb2.Cluster.CommonLbConfig:
    """Ask unhealthy instances where none is healthy: late is better than not at all, and no answer is still a 503.

    A lone instance that was slow or froze for seconds answers then what waits for it, and is asked again at once.
    """
    return cluster_pb2.Cluster.CommonLbConfig(healthy_panic_threshold=percent_pb2.Percent(value=1))


@cache
def outlier_detection() -> outlier_detection_pb2.OutlierDetection:
    """Take a replica out after five errors in a row, but never more than half of them."""
    return outlier_detection_pb2.OutlierDetection(
        consecutive_5xx=wrappers_pb2.UInt32Value(value=5),
        interval=seconds(5),
        base_ejection_time=seconds(10),
        max_ejection_percent=wrappers_pb2.UInt32Value(value=50),
    )


@cache
def unreachable() -> outlier_detection_pb2.OutlierDetection:
    """Leave out an instance that cannot be reached, at once and for a second; what it answers says nothing of it.

    A lone one stays: trying is better than not trying.
    """
    never = wrappers_pb2.UInt32Value(value=0)
    return outlier_detection_pb2.OutlierDetection(
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=wrappers_pb2.UInt32Value(value=1),
        enforcing_consecutive_local_origin_failure=wrappers_pb2.UInt32Value(value=100),
        enforcing_local_origin_success_rate=never,
        enforcing_consecutive_5xx=never,
        enforcing_consecutive_gateway_failure=never,
        enforcing_success_rate=never,
        interval=seconds(1),
        base_ejection_time=seconds(1),
        max_ejection_time=seconds(5),
        max_ejection_percent=wrappers_pb2.UInt32Value(value=50),
    )


@cache
def another_instance() -> route_components_pb2.RetryPolicy:
    """Ask another instance where one is gone, or goes while it is asked: asking twice changes nothing.

    It is the cluster's, because Envoy parses what a filter's own service says of retries anew for each request: a fifth
    of all that it did for one which extproc was asked of.
    """
    policy = route_components_pb2.RetryPolicy(
        retry_on="connect-failure,refused-stream,reset",
        num_retries=wrappers_pb2.UInt32Value(value=3),
        host_selection_retry_max_attempts=20,
    )
    policy.retry_host_predicate.append(not_tried_before())
    return policy


@cache
def not_tried_before() -> route_components_pb2.RetryPolicy.RetryHostPredicate:
    """Choose no instance again that this request was sent to."""
    return route_components_pb2.RetryPolicy.RetryHostPredicate(
        name="envoy.retry_host_predicates.previous_hosts",
        typed_config=packed(previous_hosts_pb2.PreviousHostsPredicate()),
    )


@cache
def any_answer() -> health_check_pb2.HealthCheck:
    """Hold an instance to answering at all; nothing else finds one that is frozen.

    extauth refuses a request that has no gateway, extproc ends a call that has no message: both are answers.
    """
    check = health_check_pb2.HealthCheck()
    check.CopyFrom(any_connection())
    check.http_health_check.path = "/healthz"
    check.http_health_check.host = HEALTH_CHECK_HOST
    check.http_health_check.codec_client_type = http_pb2.HTTP2
    check.http_health_check.expected_statuses.add(start=100, end=600)
    return check


@cache
def any_connection() -> health_check_pb2.HealthCheck:
    """Hold an instance to taking connections."""
    return health_check_pb2.HealthCheck(
        timeout=seconds(1),
        interval=seconds(1),
        no_traffic_interval=seconds(1),
        unhealthy_interval=seconds(0.5),
        unhealthy_threshold=wrappers_pb2.UInt32Value(value=2),
        healthy_threshold=wrappers_pb2.UInt32Value(value=1),
        tcp_health_check=health_check_pb2.HealthCheck.TcpHealthCheck(),
    )


@lru_cache(maxsize=1024)
def health_check(path: str, host: str) -> health_check_pb2.HealthCheck:
    """Ask often: what is not ready must be known before many requests meet it.

    The host is named because Envoy sends the cluster's name otherwise, which is no legal host name here.
    """
    return health_check_pb2.HealthCheck(
        timeout=seconds(2),
        interval=seconds(2),
        no_traffic_interval=seconds(2),
        interval_jitter=seconds(0.2),
        unhealthy_threshold=wrappers_pb2.UInt32Value(value=2),
        healthy_threshold=wrappers_pb2.UInt32Value(value=1),
        http_health_check=health_check_pb2.HealthCheck.HttpHealthCheck(path=path, host=host),
    )


@lru_cache(maxsize=1024)
def container_health_check(path: str) -> health_check_pb2.HealthCheck:
    """Ask a container that does not answer yet, as none does at first, four times as often as others.

    Containers come and go as a matter of course, and are found within a second: at the usual interval it would be
    the health check that new ones wait for. Those that answer, in a cluster without traffic too, are asked as usual.
    """
    check = health_check_pb2.HealthCheck()
    check.CopyFrom(health_check(path, HEALTH_CHECK_HOST))
    check.unhealthy_interval.CopyFrom(seconds(0.5))
    check.no_traffic_interval.CopyFrom(seconds(0.5))
    check.no_traffic_healthy_interval.CopyFrom(seconds(2))
    return check
