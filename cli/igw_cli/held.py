"""What an Envoy runs, read off its own `/config_dump`: the document in, names, versions and contents out. Pure.

Envoy keeps no version of a scope, nor of endpoints: theirs are made anew from the content, as the control plane makes
them. What Envoy adds to endpoints as it goes, such as their health, is left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from envoy.config.core.v3.base_pb2 import Metadata
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from google.protobuf.json_format import MessageToDict, ParseDict
from igw_xds.resources.endpoints import load_assignment
from igw_xds.settings import HostPort
from igw_xds.snapshot import ENDPOINTS, resource

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Held:
    """One resource that an Envoy has; `version` is empty, and there is no content, of what it only refused."""

    version: str
    content: Document | None = field(default=None, repr=False)
    note: str = ""
    """Why it is not another: Envoy warms a newer one, or refused it."""


Resources = Mapping[tuple[str, str], Held]
"""By type (`cds`, …) and name."""


def held(dump: Document) -> Resources:
    """Read a dump that was made with `include_eds`; what is of the bootstrap alone is left out."""
    configs = {config.get("@type", "").rpartition(".")[2]: config for config in dump.get("configs", [])}
    clusters = dict(_clusters(configs.get("ClustersConfigDump", {})))
    from_eds = {name for name, cluster in clusters.items() if (cluster.content or {}).get("type") == "EDS"}
    found = {("cds", name): cluster for name, cluster in clusters.items()}
    for kind, pairs in (
        ("eds", _endpoints(configs.get("EndpointsConfigDump", {}), from_eds)),
        ("sds", _secrets(configs.get("SecretsConfigDump", {}))),
        ("lds", _listeners(configs.get("ListenersConfigDump", {}))),
        ("srds", _scopes(configs.get("ScopedRoutesConfigDump", {}))),
        ("rds", _routes(configs.get("RoutesConfigDump", {}))),
    ):
        found |= {(kind, name): one for name, one in pairs}
    return found


def _clusters(dump: Document) -> Iterator[tuple[str, Held]]:
    for one in dump.get("dynamic_warming_clusters", []):
        if "cluster" in one:
            yield one["cluster"]["name"], Held("", None, "Envoy warms it")
    warming = {one["cluster"]["name"] for one in dump.get("dynamic_warming_clusters", []) if "cluster" in one}
    for one in dump.get("dynamic_active_clusters", []):
        name = one["cluster"]["name"]
        note = "Envoy warms a newer one" if name in warming else _refusal(one)
        yield name, Held(one.get("version_info", ""), one["cluster"], note)


def _endpoints(dump: Document, from_eds: set[str]) -> Iterator[tuple[str, Held]]:
    for one in dump.get("dynamic_endpoint_configs", []):
        name = one["endpoint_config"].get("cluster_name", "")
        if name in from_eds:
            assignment = one["endpoint_config"]
            message = load_assignment(name, _addresses(assignment), _said(assignment))
            ParseDict(assignment.get("policy", {}), message.policy)
            yield name, Held(resource(name, message).version, _written(message))


def _addresses(assignment: Document) -> Iterator[HostPort]:
    for locality in assignment.get("endpoints", []):
        for one in locality.get("lb_endpoints", []):
            address = one["endpoint"]["address"].get("socket_address", {})
            yield HostPort(address.get("address", ""), address.get("port_value", 0))


def _said(assignment: Document) -> Metadata | None:
    """Give the metadata of the endpoints, which all have the same."""
    for locality in assignment.get("endpoints", []):
        for one in locality.get("lb_endpoints", []):
            return ParseDict(one["metadata"], Metadata()) if "metadata" in one else None
    return None


def _written(message: ClusterLoadAssignment) -> Document:
    """Give endpoints as the API gives them."""
    return {"@type": ENDPOINTS, **MessageToDict(message, preserving_proto_field_name=True)}


def _secrets(dump: Document) -> Iterator[tuple[str, Held]]:
    """Give secrets by their versions alone."""
    for one in dump.get("dynamic_warming_secrets", []):
        yield one["name"], Held("", None, "Envoy waits for it")
    for one in dump.get("dynamic_active_secrets", []):
        yield one["name"], Held(one.get("version_info", ""), None, _refusal(one))


def _listeners(dump: Document) -> Iterator[tuple[str, Held]]:
    for one in dump.get("dynamic_listeners", []):
        note = _refusal(one)
        if "warming_state" in one:
            note = "Envoy warms a newer one"
        active = one.get("active_state")
        if active is not None:
            yield one["name"], Held(active.get("version_info", ""), active["listener"], note)
        elif note:
            yield one["name"], Held("", None, note)


def _scopes(dump: Document) -> Iterator[tuple[str, Held]]:
    for group in dump.get("dynamic_scoped_route_configs", []):
        for scope in group.get("scoped_route_configs", []):
            content = {key: value for key, value in scope.items() if key != "@type"}
            message = ParseDict(content, ScopedRouteConfiguration(), ignore_unknown_fields=True)
            yield message.name, Held(resource(message.name, message).version, scope)


def _routes(dump: Document) -> Iterator[tuple[str, Held]]:
    for one in dump.get("dynamic_route_configs", []):
        if "route_config" in one:
            name = one["route_config"]["name"]
            yield name, Held(one.get("version_info", ""), one["route_config"], _refusal(one))


def _refusal(one: Document) -> str:
    details = one.get("error_state", {}).get("details", "")
    return f"Envoy refused it: {details}" if details else ""
