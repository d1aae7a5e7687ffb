"""The order of one ADS stream, make before break; the same for both transports.

Types go in the order of `snapshot.TYPES`; a change waits while an earlier type has an open response. Envoy
holds its ACK of clusters back until they are warm, so routes never name a cluster that is not ready.
What a client waits for by name, and all endpoints, go at once: warming, and so that ACK, may need them.
Clusters and endpoints are taken away last, and not while anything stands refused: Envoy may still use them.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, TYPES, Resource, Snapshot
from igw_xds.stream.subscription import ROOTS
from igw_xds.stream.track import Answer, Offer, Track

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

REMOVED_LAST = (CLUSTER, ENDPOINTS)
"""Types whose resources others name. Listeners and scopes are replaced in one response instead, because two
with the same address or key may not exist side by side; routes come after all that name them."""

_NOTHING: Mapping[str, Resource] = MappingProxyType({})


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

    def __init__(self) -> None:
        self.node: Node | None = None
        self.answer: Answer | None = None
        """What the latest request said of a response, if it said anything."""
        self._snapshot: Snapshot | None = None
        self._tracks = {type_url: Track(type_url) for type_url in TYPES}
        self._nonces = 0

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
        self.answer = track.answered(nonce, error)
        if self.answer is not None and track.type_url == CLUSTER:
            endpoints = self._tracks[ENDPOINTS]
            endpoints.due = {name for name in endpoints.due if endpoints.subscription.covers(name)}

    def _source(self, track: Track) -> Mapping[str, Resource]:
        return _NOTHING if self._snapshot is None else self._snapshot.of(track.type_url)

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
            waits = bool(track.outstanding) or (held and track.type_url != ENDPOINTS)
            yield from self._send(track, Phase.URGENT if waits else Phase.CHANGE)
            held = held or bool(track.outstanding)
        if not held and not any(track.resists for track in self._tracks.values()):
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
        if phase is Phase.URGENT and track.claim:
            return  # a returning client has something to go on with
        source = self._source(track)
        if track.done.get(phase) is source:
            return
        wanted = track.subscription.select(source)
        offer = self._offer(track, wanted, phase)
        track.fresh = False
        track.due = {name for name in track.due if not track.subscription.covers(name)}
        if offer is None:
            track.done[phase] = source
            return
        if track.type_url == CLUSTER:
            self._tracks[ENDPOINTS].due |= _rewarmed(track, offer)
            self._tracks[ENDPOINTS].done.clear()
        self._nonces += 1
        nonce = str(self._nonces)
        message = self._message(track, offer, nonce)
        track.sent(nonce, offer)
        yield message


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
