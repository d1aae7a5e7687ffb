"""Resources in, one immutable snapshot out: every resource encoded once, every version made from content.

Shape: type URL → group of that type → resource name → Resource. No Envoy knows of it and nothing is sent here.
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
    needs: frozenset[str] | None = field(default=frozenset(), repr=False, compare=False)
    """The clusters that it names; None when its content is not known."""


@dataclass(frozen=True, slots=True)
class Group:
    """All resources of one type, by name in order; `version` is made from every resource's name and version."""

    version: str
    resources: Mapping[str, Resource] = field(repr=False, compare=False)


EMPTY = Group("", MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All resources of one moment; `version` is made from the groups' versions."""

    version: str
    groups: Mapping[str, Group] = field(repr=False)

    def of(self, type_url: str) -> Mapping[str, Resource]:
        """Give the resources of one type by name; none for a type that is not served."""
        return self.groups.get(type_url, EMPTY).resources

    @property
    def resources(self) -> Mapping[str, Mapping[str, Resource]]:
        """Give all resources by type URL and name."""
        return {type_url: group.resources for type_url, group in self.groups.items()}

    def type_version(self, type_url: str) -> str:
        """Give the version of a whole type, for state-of-the-world responses."""
        return self.groups.get(type_url, EMPTY).version


def resource(name: str, message: Message, needs: Iterable[str] = ()) -> Resource:
    """Encode a message once; equal messages give equal versions."""
    body = AnyMessage()
    body.Pack(message, deterministic=True)
    return Resource(name, hashlib.sha256(body.value).hexdigest()[:16], body, frozenset(needs))


def group(resources: Iterable[Resource]) -> Group:
    """Gather the resources of one type."""
    by_name = {r.name: r for r in sorted(resources, key=lambda r: r.name)}
    return Group(_digest([f"{r.name}\0{r.version}" for r in by_name.values()]), MappingProxyType(by_name))


def assembled(groups: Mapping[str, Group]) -> Snapshot:
    """Put groups together, by type URL."""
    version = _digest([f"{type_url}\0{groups[type_url].version}" for type_url in sorted(groups)])
    return Snapshot(version, MappingProxyType(dict(groups)))


def snapshot(resources: Mapping[str, Iterable[Resource]]) -> Snapshot:
    """Gather resources by type URL into a snapshot."""
    return assembled({type_url: group(found) for type_url, found in resources.items()})


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
