"""Resources in, one immutable snapshot out: every resource encoded once, every version made from content.

Shape: type URL → resource name → Resource. No Envoy knows of it and nothing is sent here.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
SCOPE = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

TYPES = (CLUSTER, ENDPOINTS, LISTENER, SCOPE, ROUTES)
"""The order in which types are sent: what is named comes before what names it (xDS protocol, "Eventual
consistency considerations"). A scope comes before its routes because Envoy asks for routes by name."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One encoded resource: its name, a version made from its content, and the packed message."""

    name: str
    version: str
    body: AnyMessage = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All resources of one moment; `version` is made from every resource's name and version."""

    version: str
    resources: Mapping[str, Mapping[str, Resource]] = field(repr=False)

    def of(self, type_url: str) -> Mapping[str, Resource]:
        """Give the resources of one type by name; none for a type that is not served."""
        return self.resources.get(type_url, MappingProxyType({}))

    def type_version(self, type_url: str) -> str:
        """Give the version of a whole type, for state-of-the-world responses."""
        return _digest(f"{r.name}\0{r.version}" for r in self.of(type_url).values())


def resource(name: str, message: Message) -> Resource:
    """Encode a message once; equal messages give equal versions."""
    body = AnyMessage()
    body.Pack(message, deterministic=True)
    return Resource(name, hashlib.sha256(body.value).hexdigest()[:16], body)


def snapshot(resources: Mapping[str, Iterable[Resource]]) -> Snapshot:
    """Gather resources by type URL into a snapshot."""
    by_type = {
        type_url: MappingProxyType({r.name: r for r in sorted(group, key=lambda r: r.name)})
        for type_url, group in resources.items()
    }
    version = _digest(
        f"{type_url}\0{r.name}\0{r.version}"
        for type_url in sorted(by_type)
        for r in by_type[type_url].values()
    )
    return Snapshot(version, MappingProxyType(by_type))


def _digest(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode())
        digest.update(b"\n")
    return digest.hexdigest()[:16]
