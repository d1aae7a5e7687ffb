"""Resources in, one immutable snapshot out: every resource encoded once, every version made from content.

Shape: type URL → group of that type → resource name → Resource. No Envoy knows of it and nothing is sent here.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from igw_xds.table import Table

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
SCOPE = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type

TYPES = (CLUSTER, ENDPOINTS, SECRET, LISTENER, SCOPE, ROUTES)
"""The order in which types are sent: what is named comes before what names it (xDS protocol, "Eventual
consistency considerations"). A scope comes before its routes because Envoy asks for routes by name."""

SHORT_NAMES: Mapping[str, str] = {
    CLUSTER: "cds",
    ENDPOINTS: "eds",
    SECRET: "sds",
    LISTENER: "lds",
    SCOPE: "srds",
    ROUTES: "rds",
}
"""How operators call the types; metric labels and status use these."""

_DIGEST_BYTES = 32
_MODULUS = 1 << (8 * _DIGEST_BYTES)


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource: its name, a version made from its content, and the packed message, encoded once for everybody."""

    name: str
    version: str
    encoded: bytes = field(default=b"", repr=False, compare=False)
    """A `google.protobuf.Any`; empty when its content is not known."""
    needs: frozenset[str] | None = field(default=frozenset(), repr=False, compare=False)
    """The clusters that it names; None when its content is not known."""

    @property
    def body(self) -> AnyMessage:
        """Give the packed message."""
        return AnyMessage.FromString(self.encoded)


@dataclass(frozen=True, slots=True)
class Group:
    """All resources of one type by name; `version` is made from every resource's name and version."""

    resources: Table[Resource] = field(default_factory=Table, repr=False, compare=False)
    digest: int = 0
    """The sum of a digest of each resource: a change adds and takes away what it changed."""
    version: str = field(init=False)

    def __post_init__(self) -> None:
        """Make the version of all of them together."""
        object.__setattr__(self, "version", _hex(self.digest.to_bytes(_DIGEST_BYTES, "big")))

    def changed(self, put: Iterable[Resource], drop: Iterable[str] = ()) -> "Group":
        """Give these with some dropped and then some put; the same object when that is no change."""
        has, digest = self.resources, self.digest
        given = {r.name: r for r in put}
        new = {name: r for name, r in given.items() if has.get(name) != r}
        gone = {name for name in drop if name in has and name not in given}
        if not new and not gone:
            return self
        for name, r in new.items():
            digest += _digest(r) - (_digest(has[name]) if name in has else 0)
        for name in gone:
            digest -= _digest(has[name])
        return Group(has.changed(new, gone), digest % _MODULUS)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All resources of one moment, and what stays with who has it; `version` is made from the groups' versions."""

    groups: Mapping[str, Group]
    withheld: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Names by type URL that are not in the groups and that nobody is to lose: of what was refused when we do not know
    what came before it."""
    version: str = field(init=False)

    def __post_init__(self) -> None:
        """Make the version of all of it."""
        parts = [f"{type_url}\0{self.groups[type_url].version}" for type_url in sorted(self.groups)]
        object.__setattr__(self, "version", _hex("\n".join(parts).encode()))

    def of(self, type_url: str) -> Table[Resource]:
        """Give the resources of one type by name; none for a type that is not served."""
        return self.groups.get(type_url, EMPTY).resources

    def changed(
        self,
        put: Mapping[str, Iterable[Resource]],
        drop: Mapping[str, Iterable[str]],
        withheld: Mapping[str, frozenset[str]] = MappingProxyType({}),
    ) -> "Snapshot":
        """Give this one with some resources put and some dropped, by type URL; the same object without a change."""
        groups = {
            type_url: self.groups.get(type_url, EMPTY).changed(put.get(type_url, ()), drop.get(type_url, ()))
            for type_url in put.keys() | drop.keys()
        }
        if all(self.groups.get(type_url, EMPTY) is group for type_url, group in groups.items()):
            return self if withheld == self.withheld else Snapshot(self.groups, withheld)
        return Snapshot(MappingProxyType({**self.groups, **groups}), withheld)

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
    return Resource(name, _hex(body.value), body.SerializeToString(deterministic=True), frozenset(needs))


def group(resources: Iterable[Resource]) -> Group:
    """Gather the resources of one type."""
    return EMPTY.changed(resources)


def assembled(groups: Mapping[str, Group]) -> Snapshot:
    """Put groups together, by type URL."""
    return Snapshot(MappingProxyType(dict(groups)))


def snapshot(resources: Mapping[str, Iterable[Resource]]) -> Snapshot:
    """Gather resources by type URL into a snapshot."""
    return assembled({type_url: group(found) for type_url, found in resources.items()})


def closure(names: Iterable[str], clusters: Mapping[str, Resource]) -> frozenset[str]:
    """Give clusters by name, and all that they name in turn."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            resource = clusters.get(name)
            left += (resource.needs or ()) if resource else ()
    return frozenset(found)


def _digest(r: Resource) -> int:
    return int.from_bytes(hashlib.sha256(f"{r.name}\0{r.version}".encode()).digest(), "big")


def _hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


EMPTY = Group()
NOTHING: Table[Resource] = EMPTY.resources
NO_RESOURCES = Snapshot(MappingProxyType({}))
