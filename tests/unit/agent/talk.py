"""An Envoy and a control plane that talk as a test says, overheard by a cache."""

from collections.abc import Iterable, Mapping

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from igw_agent.cache import NOTHING, Cache, Contents
from igw_agent.conversation import Kept

CLUSTER, LISTENER, ENDPOINTS = "type/Cluster", "type/Listener", "type/Endpoints"
ROOTS = (CLUSTER, LISTENER)


def body(name: str, version: str) -> bytes:
    """Give the encoded Any of a resource that a control plane here sends."""
    response = DeltaDiscoveryResponse()
    response.resources.add().resource.value = f"{name} {version}".encode()
    return response.resources[0].resource.SerializeToString()


def kept(type_url: str, **versions: str) -> dict[tuple[str, str], Kept]:
    """Give contents of one type: versions by name."""
    return {(type_url, name): Kept(type_url, name, v, body(name, v)) for name, v in versions.items()}


def request(
    type_url: str = CLUSTER, *names: str, known: Mapping[str, str] | None = None
) -> DeltaDiscoveryRequest:
    """Give a request that asks for names."""
    return DeltaDiscoveryRequest(
        type_url=type_url, resource_names_subscribe=names, initial_resource_versions=known or {}
    )


def response(
    type_url: str, nonce: str, versions: Mapping[str, str], removed: Iterable[str] = ()
) -> DeltaDiscoveryResponse:
    """Give a response with a resource of each name."""
    message = DeltaDiscoveryResponse(type_url=type_url, nonce=nonce, removed_resources=list(removed))
    for name, version in versions.items():
        message.resources.add(name=name, version=version).resource.ParseFromString(body(name, version))
    return message


class Talk:
    """One Envoy over its streams; types are answered as they are asked for."""

    def __init__(self, saved: Contents = NOTHING) -> None:
        self.cache = Cache(ROOTS, saved)
        self.reconnects()

    def reconnects(self) -> None:
        """Begin a new stream."""
        self.stream = self.cache.begin()
        self._nonces = 0

    def asks(self, type_url: str, *names: str, known: Mapping[str, str] | None = None) -> None:
        self.stream.hear(request(type_url, *names, known=known))

    def leaves(self, type_url: str, *names: str) -> None:
        self.stream.hear(DeltaDiscoveryRequest(type_url=type_url, resource_names_unsubscribe=names))

    def told(self, type_url: str, *removed: str, **versions: str) -> str:
        """Send a response; give its nonce."""
        self._nonces += 1
        self.stream.tell(response(type_url, str(self._nonces), versions, removed))
        return str(self._nonces)

    def acks(self, type_url: str, nonce: str, *leaves: str) -> None:
        self.stream.hear(
            DeltaDiscoveryRequest(type_url=type_url, response_nonce=nonce, resource_names_unsubscribe=leaves)
        )

    def nacks(self, type_url: str, nonce: str) -> None:
        refusal = DeltaDiscoveryRequest(type_url=type_url, response_nonce=nonce)
        refusal.error_detail.message = "it is bad"
        self.stream.hear(refusal)

    def gets(self, type_url: str, *removed: str, **versions: str) -> None:
        """Send a response that is accepted."""
        self.acks(type_url, self.told(type_url, *removed, **versions))

    def starts(self, **clusters: str) -> None:
        """Ask for all that an Envoy starts with, and get these clusters and a listener."""
        self.asks(CLUSTER)
        self.gets(CLUSTER, **clusters)
        self.asks(LISTENER)
        self.gets(LISTENER, ingress="1")

    def clusters(self) -> dict[str, str]:
        """Give the versions of the clusters that it is held to have."""
        return {name: k.version for (url, name), k in self.cache.held.items() if url == CLUSTER}

    def saved(self) -> dict[str, str]:
        """Give the versions of the clusters that a new Envoy would start with, after what happened so far."""
        self.cache.settle()
        return {name: k.version for (url, name), k in self.cache.saved.items() if url == CLUSTER}
