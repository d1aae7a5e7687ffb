"""One type of resources on one delta stream: what Envoy asked for, what it waits for, what it has not answered. Pure.

Rules: xDS protocol, "Incremental xDS". No message is made or changed here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

WILDCARD = "*"

Key = tuple[str, str]
"""A type URL and a name."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A resource as it was sent to Envoy; `body` is the encoded google.protobuf.Any."""

    type_url: str
    name: str
    version: str
    body: bytes = field(repr=False)

    @property
    def key(self) -> Key:
        """Give what tells it from others."""
        return self.type_url, self.name


@dataclass(frozen=True, slots=True)
class Offer:
    """What one response would change."""

    type_url: str
    resources: Mapping[str, Kept]
    removed: frozenset[str]


def offer(response: DeltaDiscoveryResponse) -> Offer:
    """Read a response; a resource without content (the heartbeat of a time to live) changes nothing."""
    url = response.type_url
    found = {
        r.name: Kept(url, r.name, r.version, r.resource.SerializeToString())
        for r in response.resources
        if r.HasField("resource")
    }
    return Offer(url, found, frozenset(response.removed_resources))


@dataclass(slots=True)
class Asked:
    """What Envoy asked for of one type, on one stream."""

    names: set[str] = field(default_factory=set)
    wildcard: bool = False
    owed: set[str] = field(default_factory=set)
    """Names that were asked for and that no response has spoken of yet; the wildcard, until the first response."""
    unanswered: dict[str, Offer] = field(default_factory=dict)
    """By nonce."""

    def covers(self, name: str) -> bool:
        """Say whether Envoy wants a resource of this name."""
        return self.wildcard or name in self.names

    def move(self, request: DeltaDiscoveryRequest, *, whole: bool = False) -> None:
        """Take what a request asks for and what it no longer wants; `whole`: it means all, though it names nothing."""
        subscribe, unsubscribe = (
            set(request.resource_names_subscribe),
            set(request.resource_names_unsubscribe),
        )
        if whole and not subscribe and not unsubscribe:
            subscribe = {WILDCARD}
        self.owed |= {name for name in subscribe if name != WILDCARD or not self.wildcard}
        self.owed -= unsubscribe
        self.wildcard = (self.wildcard or WILDCARD in subscribe) and WILDCARD not in unsubscribe
        self.names = (self.names | subscribe) - unsubscribe - {WILDCARD}

    def has(self, known: Mapping[str, str]) -> None:
        """Take what Envoy brought with it: nobody owes it an answer for that, nor one for all if it has some."""
        self.owed -= known.keys()
        if known:
            self.owed.discard(WILDCARD)

    def told(self, response: DeltaDiscoveryResponse) -> None:
        """Remember a response until Envoy answers it."""
        self.unanswered[response.nonce] = offer(response)
        self.owed -= {r.name for r in response.resources} | set(response.removed_resources) | {WILDCARD}

    @property
    def quiet(self) -> bool:
        """Say whether neither side waits for the other."""
        return not self.owed and not self.unanswered

    def open_resources(self) -> Iterator[Kept]:
        """Give what Envoy was sent and has not answered."""
        for each in self.unanswered.values():
            yield from each.resources.values()
