"""Small resources, snapshots and requests for tests of the stream; content is a number, names are short."""

from collections.abc import Iterable, Mapping
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.rpc.status_pb2 import Status
from igw_xds.snapshot import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    ROUTES,
    SCOPE,
    TYPES,
    Resource,
    Snapshot,
    resource,
    snapshot,
)
from igw_xds.stream import DeltaResponse, Response, encoded
from igw_xds.stream import DeltaStream as PureDelta
from igw_xds.stream import SotwStream as PureSotw

NODE = Node(id="envoy-1")


Numbered = Mapping[str, int] | Iterable[str]


class DeltaStream(PureDelta):
    """A stream whose responses are read as a client reads them."""

    def receive(self, request: Any) -> list[Any]:
        return [decoded(response) for response in super().receive(request)]

    def publish(self, snapshot: Snapshot) -> list[Any]:
        return [decoded(response) for response in super().publish(snapshot)]


class SotwStream(PureSotw):
    """The same for the state of the world."""

    def receive(self, request: Any) -> list[Any]:
        return [decoded(response) for response in super().receive(request)]

    def publish(self, snapshot: Snapshot) -> list[Any]:
        return [decoded(response) for response in super().publish(snapshot)]


def decoded(response: Response) -> Any:
    """Give the protocol's message of a response, from its bytes."""
    kind: Any = DeltaDiscoveryResponse if isinstance(response, DeltaResponse) else DiscoveryResponse
    return kind.FromString(encoded(response))


def content(name: str, number: int = 1, needs: Iterable[str] = ()) -> Resource:
    """Give a resource whose content differs by name and number; the stream never looks inside."""
    return resource(name, Cluster(name=name, alt_stat_name=str(number)), needs)


def world(  # noqa: PLR0913 - one for each type
    *,
    clusters: Numbered = (),
    endpoints: Numbered = (),
    secrets: Numbered = (),
    listeners: Numbered = (),
    scopes: Numbered = (),
    routes: Numbered = (),
    needs: Any = None,
) -> Snapshot:
    """Give a snapshot of names, each with a number for its content (1 when only named).

    `needs` maps routes and clusters to the clusters that they need, between spaces.
    """
    named = {name: clusters.split() for name, clusters in (needs or {}).items()}
    by_type = zip(TYPES, (clusters, endpoints, secrets, listeners, scopes, routes), strict=True)
    return snapshot({t: _resources(group, named if t in {CLUSTER, ROUTES} else {}) for t, group in by_type})


def _resources(group: Numbered, needs: Mapping[str, list[str]]) -> list[Resource]:
    numbered = group if isinstance(group, Mapping) else dict.fromkeys(group, 1)
    return [content(name, number, needs.get(name, ())) for name, number in numbered.items()]


def delta(  # noqa: PLR0913 - the fields of the message
    type_url: str,
    *,
    subscribe: Iterable[str] = (),
    unsubscribe: Iterable[str] = (),
    nonce: str = "",
    error: str | None = None,
    known: Mapping[str, str] | None = None,
    node: Node | None = None,
) -> DeltaDiscoveryRequest:
    """Give an incremental request."""
    return DeltaDiscoveryRequest(
        node=node,
        type_url=type_url,
        resource_names_subscribe=list(subscribe),
        resource_names_unsubscribe=list(unsubscribe),
        initial_resource_versions=known or {},
        response_nonce=nonce,
        error_detail=None if error is None else Status(code=13, message=error),
    )


def sotw(
    type_url: str,
    *names: str,
    version: str = "",
    nonce: str = "",
    error: str | None = None,
    node: Node | None = None,
) -> DiscoveryRequest:
    """Give a state-of-the-world request."""
    return DiscoveryRequest(
        node=node,
        type_url=type_url,
        resource_names=names,
        version_info=version,
        response_nonce=nonce,
        error_detail=None if error is None else Status(code=13, message=error),
    )


def ack(response: Any, *names: str) -> Any:
    """Give the request that accepts a response; names are a state-of-the-world client's subscription."""
    if hasattr(response, "system_version_info"):
        return delta(response.type_url, nonce=response.nonce)
    return sotw(response.type_url, *names, version=response.version_info, nonce=response.nonce)


def nack(response: Any, *names: str, error: str = "bad", version: str = "") -> Any:
    """Give the request that refuses a response, from a client still at `version`."""
    if hasattr(response, "system_version_info"):
        return delta(response.type_url, nonce=response.nonce, error=error)
    return sotw(response.type_url, *names, version=version, nonce=response.nonce, error=error)


def sent(responses: Iterable[Any]) -> list[tuple[str, list[str], list[str]]]:
    """Give type, names (with content number) and removed names of each response."""
    return [
        (SHORT[r.type_url], [_named(item) for item in r.resources], list(getattr(r, "removed_resources", ())))
        for r in responses
    ]


SHORT = {
    CLUSTER: "clusters",
    ENDPOINTS: "endpoints",
    LISTENER: "listeners",
    SCOPE: "scopes",
    ROUTES: "routes",
}


def _named(item: Any) -> str:
    message = Cluster()
    (item.resource if hasattr(item, "resource") else item).Unpack(message)
    return f"{message.name}:{message.alt_stat_name}"
