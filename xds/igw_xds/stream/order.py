"""The order of one ADS stream, make before break; the same for both transports.

Types go in the order of `snapshot.TYPES`; a change waits while an earlier type has an open response. Envoy
holds its ACK of clusters back until they are warm, so routes never name a cluster that is not ready.
What a client waits for by name, and all endpoints, go at once: warming, and so that ACK, may need them.
Clusters and endpoints are taken away last, and those not at all that Envoy still uses through what it kept of a
refused resource. A refusal holds back nothing else, but routes that need a refused cluster and would leave ones
that work.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Generic, TypeVar

from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, TYPES, Resource, Snapshot
from igw_xds.stream.overlay import NOTHING, Differences
from igw_xds.stream.subscription import ROOTS
from igw_xds.stream.track import Answer, Lacks, Offer, Refusal, Standing, Track

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

REMOVED_LAST = (CLUSTER, ENDPOINTS)
"""Types whose resources others name. Listeners and scopes are replaced in one response instead, because two
with the same address or key may not exist side by side; routes come after all that name them."""


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


class Stream(ABC, Generic[RequestT, ResponseT]):
    """One client's ADS stream: `receive` and `publish` give the responses to send, in order."""

    one_at_a_time: bool
    """Whether a type may have only one open response."""

    def __init__(self, differences: Differences | None = None) -> None:
        """Begin; streams that share `differences` have what changed compared once."""
        self._differences = differences or Differences()
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
            self.node = _node(message.node)
        track = self._tracks.get(message.type_url)
        if track is None:
            return []
        self._read(track, request)
        return list(self._flush())

    def publish(self, snapshot: Snapshot) -> list[ResponseT]:
        """Take the newest snapshot; while answers are open it only replaces the one before."""
        self._snapshot = snapshot
        return list(self._flush())

    @property
    def version(self) -> str:
        """Version of the newest snapshot; empty before the first."""
        return "" if self._snapshot is None else self._snapshot.version

    @property
    def acked(self) -> Mapping[str, Mapping[str, str]]:
        """Versions that the client has accepted, by type URL and name."""
        return {
            type_url: {name: resource.version for name, resource in track.accepted.items()}
            for type_url, track in self._tracks.items()
            if track.subscription.active
        }

    @property
    def rejections(self) -> Mapping[str, str]:
        """Envoy's error text by type URL, until what it refused is replaced by something it accepts."""
        return {type_url: track.rejection for type_url, track in self._tracks.items() if track.rejection}

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
        needed = {LISTENER, *(type_url for type_url in ROOTS if self._snapshot.of(type_url))}
        if not all(self._tracks[type_url].subscription.active for type_url in needed):
            return False
        if any(track.outstanding or track.rejection for track in self._tracks.values()):
            return False
        return all(self._has_all(track) for track in self._tracks.values())

    @abstractmethod
    def _read(self, track: Track, request: RequestT) -> None:
        """Take the answer and the subscription out of a request."""

    @abstractmethod
    def _offer(self, track: Track, wanted: Mapping[str, Resource], phase: Phase) -> Offer | None:
        """Say what to send of a type; None for nothing."""

    @abstractmethod
    def _message(self, track: Track, offer: Offer, nonce: str) -> ResponseT:
        """Build the response."""

    @abstractmethod
    def _matches(self, track: Track, wanted: Mapping[str, Resource]) -> bool:
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

    def _source(self, track: Track) -> Mapping[str, Resource]:
        return NOTHING if self._snapshot is None else self._snapshot.of(track.type_url)

    def _wanted(self, track: Track) -> Mapping[str, Resource]:
        return track.subscription.select(self._source(track))

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
            track.move(self._source(track), self._differences)
            waits = bool(track.outstanding) or (held and track.type_url != ENDPOINTS)
            yield from self._send(track, Phase.URGENT if waits else Phase.CHANGE)
            held = held or bool(track.outstanding)
        if not held:
            self._in_use = self._still_used()
            yield from self._remove()
        for track in self._tracks.values():
            track.settle()

    def _remove(self) -> Iterator[ResponseT]:
        for type_url in REMOVED_LAST:
            yield from self._send(self._tracks[type_url], Phase.REMOVE)
            if self._tracks[type_url].outstanding:
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
        message = self._message(track, offer, str(self._nonces))
        track.sent(str(self._nonces), offer)
        return message

    def _changed(self, track: Track, wanted: Mapping[str, Resource]) -> dict[str, Resource]:
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
            if name in track.accepted and (bad := refused & _closure(resource.needs or (), known))
        }
        return {name: resource for name, resource in changed.items() if name not in track.held_back}

    def _still_used(self) -> frozenset[str] | None:
        """Give the clusters that the client uses through what it kept where it should have newer; None for any."""
        kept = [
            resource
            for track in self._tracks.values()
            for name in (*track.refused, *track.held_back)
            if (resource := track.accepted.get(name)) is not None
        ]
        if any(resource.needs is None for resource in kept):
            return None
        named = [name for resource in kept for name in resource.needs or ()]
        return _closure(named, self._tracks[CLUSTER].accepted)

    def _removable(self, names: Iterable[str]) -> set[str]:
        """Give those of vanished clusters, or endpoints, that are not in use."""
        in_use = self._in_use
        return set() if in_use is None else {name for name in names if name not in in_use}


def _closure(names: Iterable[str], clusters: Mapping[str, Resource]) -> frozenset[str]:
    """Give clusters and all that they name in turn."""
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


def _node(node: Any) -> Node:
    version = node.user_agent_build_version.version
    return Node(
        id=node.id,
        zone=node.locality.zone,
        version=f"{version.major_number}.{version.minor_number}.{version.patch}"
        if node.HasField("user_agent_build_version")
        else "",
    )
