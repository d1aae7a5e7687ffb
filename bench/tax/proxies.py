"""Bootstraps of the Envoys that are not ours: the upstream that always answers, the plain proxy. Pure."""

from typing import Any

from igw_xds.resources.edge import BUFFER_BYTES
from igw_xds.settings import MIB, HostPort

STAT_PREFIX = "ingress"
"""As on our own listener, so that one query reads the counters of either."""
_TYPES = "type.googleapis.com/envoy.extensions"


def upstream(listen: HostPort, admin: HostPort, answer: str, *, keeps_open: bool) -> dict[str, Any]:
    """Give an Envoy that answers everything with one JSON text, and `/health` with 200.

    To keep connections open it reads a request's body to the end first; by itself it answers earlier, and then
    closes the connection.
    """
    health = {"match": {"path": "/health"}, "direct_response": {"status": 200}}
    rest = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": answer}},
        "response_headers_to_add": [
            {
                "header": {"key": "content-type", "value": "application/json"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
    }
    whole_body = [_filter("buffer", {"max_request_bytes": MIB})] if keeps_open else []
    return _bootstrap(admin, _listener(listen, [health, rest], whole_body), [])


def plain_proxy(listen: HostPort, admin: HostPort, to: HostPort) -> dict[str, Any]:
    """Give an Envoy with one static route and no filter but the router.

    Limits, clean-up of the request and the upstream's options are those of our own listener and clusters.
    """
    route = {
        "match": {"prefix": "/"},
        "route": {"cluster": "upstream", "timeout": "0s", "idle_timeout": "600s"},
    }
    return _bootstrap(admin, _listener(listen, [route], []), [_cluster(to)])


def _listener(
    listen: HostPort, routes: list[dict[str, Any]], filters: list[dict[str, Any]]
) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": STAT_PREFIX,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [*filters, _filter("router", {})],
        "use_remote_address": True,
        "normalize_path": True,
        "strip_any_host_port": True,
        "strip_trailing_host_dot": True,
        "request_headers_timeout": "30s",
        "stream_idle_timeout": "600s",
        "common_http_protocol_options": {"idle_timeout": "3600s"},
    }
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {
        "name": "ingress",
        "address": _address(listen),
        "filter_chains": [{"filters": [network]}],
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
    }


def _filter(name: str, config: dict[str, Any]) -> dict[str, Any]:
    kind = f"{_TYPES}.filters.http.{name}.v3.{name.capitalize()}"
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": kind, **config}}


def _cluster(to: HostPort) -> dict[str, Any]:
    unlimited = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 1_000_000)
    endpoint = {"endpoint": {"address": _address(to)}}
    return {
        "name": "upstream",
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [unlimited]},
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _bootstrap(admin: HostPort, listener: dict[str, Any], clusters: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "admin": {"address": _address(admin)},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }


def _address(at: HostPort) -> dict[str, Any]:
    return {"socket_address": {"address": at.host, "port_value": at.port}}
