"""The order of one ADS stream, make before break; the same for both transports.

Types go in the order of `snapshot.TYPES`; a change waits while an earlier type has an open response. Envoy
holds its ACK of clusters back until they are warm, so routes never name a cluster that is not ready.
What a client waits for by name, and all endpoints, go at once: warming, and so that ACK, may need them.
Clusters and endpoints are taken away last, and those not at all that Envoy still uses through what it kept of a
refused resource. A refusal holds back nothing else, but routes that need a refused cluster and would leave ones
that work.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import chain
from typing import Any, Generic, TypeVar

from igw_xds.snapshot import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    NO_RESOURCES,
    NOTHING,
    ROUTES,
    TYPES,
    Resource,
    Snapshot,
)
from igw_xds.stream.overlay import Base, Differences, Wanted
from igw_xds.stream.subscription import ROOTS
from igw_xds.stream.track import Answer, Lacks, Offer, Refusal, Standing, Track

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

REMOVED_LAST = (CLUSTER, ENDPOINTS)
"""Types whose resources others name. Listeners and scopes are replaced in one response instead, because two
with the same address or key may not exist side by side; routes come after all that name them."""

NAMING_CLUSTERS = (CLUSTER, LISTENER, ROUTES)
"""Types whose resources name clusters; what another holds, known or not, keeps none."""


class Phase(Enum):
    """How far a type may go now."""

    URGENT = auto()
    """Only what the client waits for; something earlier is not answered."""
    CHANGE = auto()
    """All that is new or changed."""
    REMOVE = auto()
    """What `REMOVED_LAST` has to take away; all else is answered."""


@dataclass(frozen=True, slots=True)
class Node:
    """Who the client says it is, from the first request of a stream."""

    id: str = ""
    zone: str = ""
    version: str = ""
    agent: str = ""
    """What kind of client it is: Envoy says `envoy`, gRPC's own client something that begins with `gRPC`."""


class Stream(ABC, Generic[RequestT, ResponseT]):
    """One client's ADS stream: `receive` and `publish` give the responses to send, in order."""

    one_at_a_time: bool
    """Whether a type may have only one open response."""

    def __init__(
        self,
        differences: Differences | None = None,
        reference: Callable[[], Snapshot] = lambda: NO_RESOURCES,
    ) -> None:
        """Begin; streams that share `differences` have what changed compared once.

        `reference` gives what a returning client probably has: what differs from it is remembered.
        """
        self._differences = differences or Differences()
        self._reference = reference
        self.node: Node | None = None
        self.answer: Answer | None = None
        """What the latest request said of a response, if it said anything."""
        self._snapshot: Snapshot | None = None
        self._tracks = {type_url: Track(type_url) for type_url in TYPES}
        self._nonces = 0
        self._in_use: frozenset[str] | None = frozenset()

    def receive(self, request: RequestT) -> list[ResponseT]:
        """Take a request; types that are not served are ignored."""
        message: Any = request
        self.answer = None
        if self.node is None:
            self.node = node_of(message.node)
        track = self._tracks.get(message.type_url)
        if track is None:
            return []
        self._read(track, request)
        return list(self._flush())

    def publish(self, snapshot: Snapshot) -> list[ResponseT]:
        """Take the newest snapshot; while answers are open it only replaces the one before."""
        before, self._snapshot = self._snapshot, snapshot
        if before is not None and before.withheld != snapshot.withheld:
            for track in self._tracks.values():
                track.done.clear()
        return list(self._flush())

    @property
    def version(self) -> str:
        """Version of the newest snapshot; empty before the first."""
        return "" if self._snapshot is None else self._snapshot.version

    @property
    def snapshot(self) -> Snapshot | None:
        """Give the snapshot that was published last."""
        return self._snapshot

    @property
    def idle(self) -> bool:
        """Whether all that could be sent was sent and answered."""
        return not any(track.outstanding or track.suspected for track in self._tracks.values())

    def asked(self, type_url: str) -> Iterable[str]:
        """Give the names that the client asks for by name."""
        return self._tracks[type_url].subscription.names

    @property
    def follows_all(self) -> bool:
        """Whether the client asks for all clusters, as an Envoy does."""
        return self._tracks[CLUSTER].subscription.wildcard

    def has_all(self, type_url: str) -> bool:
        """Whether the client has accepted every resource of a type, and no other; false when that takes a look."""
        track = self._tracks[type_url]
        differing = track.accepted.differing(self._source(track))
        return differing is not None and not differing

    @property
    def acked(self) -> Mapping[str, Mapping[str, str]]:
        """Versions that the client has accepted, by type URL and name."""
        return {
            type_url: {name: resource.version for name, resource in track.accepted.items()}
            for type_url, track in self._tracks.items()
            if track.subscription.active
        }

    def names(self, type_url: str) -> frozenset[str]:
        """Give the names of a type that the client asks for or has, those without a resource too."""
        track = self._tracks[type_url]
        return frozenset(chain(track.subscription.names, self._wanted(track), track.accepted))

    @property
    def awaited(self) -> Sequence[str]:
        """Give the types, by URL, of which the client has not answered a response."""
        return [type_url for type_url, track in self._tracks.items() if track.outstanding]

    @property
    def rejections(self) -> Mapping[str, str]:
        """Envoy's error text by type URL, until what it refused is replaced by something it accepts."""
        return {type_url: track.rejection for type_url, track in self._tracks.items() if track.rejection}

    @property
    def refusing(self) -> bool:
        """Whether anything stands refused, or is held back for that."""
        return any(track.refused or track.held_back for track in self._tracks.values())

    def standing(self, type_url: str, name: str) -> Standing:
        """Say what the client makes of a resource, in constant time."""
        track = self._tracks.get(type_url)
        return Lacks() if track is None else track.standing(name)

    @property
    def held_back(self) -> Mapping[str, Refusal]:
        """Routes that are not sent because they need a cluster that the client refused, and its refusal, by name."""
        return self._tracks[ROUTES].held_back

    @property
    def synced(self) -> bool:
        """Whether all that is subscribed to equals the newest snapshot and is acknowledged.

        Listeners must be subscribed to, and the other root types that the snapshot has resources of.
        """
        if self._snapshot is None:
            return False
        for track in self._tracks.values():
            if track.outstanding or track.rejection:
                return False
        for type_url in ROOTS:
            if not self._tracks[type_url].subscription.active and (
                type_url == LISTENER or self._snapshot.of(type_url)
            ):
                return False
        return all(self._has_all(track) for track in self._tracks.values())

    @abstractmethod
    def _read(self, track: Track, request: RequestT) -> None:
        """Take the answer and the subscription out of a request."""

    @abstractmethod
    def _offer(self, track: Track, wanted: Wanted, phase: Phase) -> Offer | None:
        """Say what to send of a type; None for nothing."""

    @abstractmethod
    def _response(self, track: Track, offer: Offer, nonce: str) -> ResponseT:
        """Build the response."""

    @abstractmethod
    def _matches(self, track: Track, wanted: Wanted) -> bool:
        """Say whether the client has accepted just what it should have."""

    def _take(self, track: Track, nonce: str, error: str | None) -> None:
        urgent = track.done.get(Phase.URGENT)
        self.answer = track.answered(nonce, error)
        if urgent is not None:
            track.done[Phase.URGENT] = urgent  # no answer makes anything urgent
        if self.answer is not None and track.type_url == CLUSTER:
            endpoints, routes = self._tracks[ENDPOINTS], self._tracks[ROUTES]
            endpoints.due = {name for name in endpoints.due if endpoints.subscription.covers(name)}
            if routes.held_back:
                routes.done.clear()

    def _source(self, track: Track) -> Base:
        return NOTHING if self._snapshot is None else self._snapshot.of(track.type_url)

    def _wanted(self, track: Track) -> Wanted:
        return track.subscription.select(self._source(track))

    def _withheld(self, track: Track) -> frozenset[str]:
        """Give the names that are not served now and that nobody is to lose."""
        withheld = {} if self._snapshot is None else self._snapshot.withheld
        return withheld.get(track.type_url, frozenset())

    def _spared(self, track: Track) -> frozenset[str]:
        """Give the names that the client may have though they are not served: withheld, or needed by what is."""
        in_use = self._in_use if track.type_url in REMOVED_LAST else None
        return self._withheld(track) | (in_use or frozenset())

    def _gone(self, track: Track, wanted: Wanted) -> set[str]:
        """Give the names that the client was told of and is to lose."""
        return track.gone(wanted) - self._withheld(track)

    def _has_all(self, track: Track) -> bool:
        source = self._source(track)
        if track.done.get("accepted") is not source:
            if not self._matches(track, track.subscription.select(source)):
                return False
            track.done["accepted"] = source
        return True

    def _flush(self) -> Iterator[ResponseT]:
        if self._snapshot is None:
            return
        held = False
        for track in self._tracks.values():
            if (source := self._source(track)) is not track.source:
                track.move(source, self._differences)
            waits = track.outstanding or (held and track.type_url != ENDPOINTS)
            phase = Phase.URGENT if waits else Phase.CHANGE
            if (
                track.done.get(phase) is not source
            ):  # asked here, too: a thousand clients in step have nothing to do
                yield from self._send(track, phase)
            held = held or bool(track.outstanding)
        if not held:
            self._in_use = self._still_used()
            yield from self._remove()
        for track in self._tracks.values():
            track.settle()

    def _remove(self) -> Iterator[ResponseT]:
        for type_url in REMOVED_LAST:
            track = self._tracks[type_url]
            if track.done.get(Phase.REMOVE) is not track.source:
                yield from self._send(track, Phase.REMOVE)
            if track.outstanding:
                return

    def _send(self, track: Track, phase: Phase) -> Iterator[ResponseT]:
        if not track.subscription.active or (self.one_at_a_time and track.outstanding):
            return
        source = self._source(track)
        if track.suspected:
            for part in track.retried(track.subscription.select(source)):
                yield self._sent(track, part, set(part.resources))
                if self.one_at_a_time:
                    return
        if phase is Phase.URGENT and track.claim:
            return  # a returning client has something to go on with
        if track.done.get(phase) is source:
            return
        offer = self._offer(track, track.subscription.select(source), phase)
        track.fresh = False
        track.due = {name for name in track.due if not track.subscription.covers(name)}
        if offer is not None:
            yield self._sent(track, offer, _rewarmed(track, offer))
        elif phase is not Phase.REMOVE or self._in_use == frozenset():
            track.done[phase] = source

    def _sent(self, track: Track, offer: Offer, rewarmed: set[str]) -> ResponseT:
        """Make a response and remember it; clusters that Envoy makes or replaces need their endpoints."""
        if track.type_url == CLUSTER:
            self._tracks[ENDPOINTS].due |= rewarmed
            self._tracks[ENDPOINTS].done.clear()
        self._nonces += 1
        message = self._response(track, offer, str(self._nonces))
        track.sent(str(self._nonces), offer)
        return message

    def _changed(self, track: Track, wanted: Wanted) -> dict[str, Resource]:
        """Give what of a type is to be sent because it changed.

        Routes that the client has stay as they are while the new ones need a cluster that it refused.
        """
        changed = track.changed(wanted)
        clusters = self._tracks[CLUSTER]
        refused = {name for name in clusters.refused if name not in clusters.accepted}
        if track.type_url != ROUTES or not refused:
            track.held_back = {}
            return changed
        known = self._source(clusters)
        track.held_back = {
            name: Refusal(resource, clusters.refused[min(bad)].text)
            for name, resource in changed.items()
            if name in track.accepted and (bad := refused & closure(resource.needs or (), known))
        }
        return {name: resource for name, resource in changed.items() if name not in track.held_back}

    def _still_used(self) -> frozenset[str] | None:
        """Give the clusters that the client uses through what it kept where it should have newer; None for any."""
        kept = [
            resource
            for track in map(self._tracks.__getitem__, NAMING_CLUSTERS)
            for name in (*track.refused, *track.held_back, *self._withheld(track))
            if (resource := track.accepted.get(name)) is not None
        ]
        if any(resource.needs is None for resource in kept):
            return None
        named = [name for resource in kept for name in resource.needs or ()]
        return closure(named, self._tracks[CLUSTER].accepted)

    def _removable(self, names: Iterable[str]) -> set[str]:
        """Give those of vanished clusters, or endpoints, that are not in use."""
        in_use = self._in_use
        return set() if in_use is None else {name for name in names if name not in in_use}


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


def _rewarmed(clusters: Track, offer: Offer) -> set[str]:
    """Give the clusters that Envoy makes or replaces: each waits for endpoints, the latter without asking.

    xDS protocol, "Resource warming": a new ClusterLoadAssignment is needed even when nothing changed in it.
    """
    return {name for name, resource in offer.resources.items() if clusters.told.get(name) != resource}


def node_of(node: Any) -> Node:
    """Give who a client says it is."""
    version = node.user_agent_build_version.version
    return Node(
        id=node.id,
        zone=node.locality.zone,
        version=f"{version.major_number}.{version.minor_number}.{version.patch}"
        if node.HasField("user_agent_build_version")
        else node.user_agent_version,
        agent=node.user_agent_name,
    )
