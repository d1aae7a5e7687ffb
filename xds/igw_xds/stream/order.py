"""The order of one ADS stream, make before break; the same for both transports.

Types go in the order of `snapshot.TYPES`; a change waits while an earlier type has an open response. Envoy
holds its ACK of clusters back until they are warm, so routes never name a cluster that is not ready.
What a client waits for by name, and all endpoints, go at once: warming, and so that ACK, may need them.
Clusters and endpoints are taken away last, and those not at all that Envoy still uses through what it kept of a
refused resource. A refusal holds back nothing else, but routes that need a refused cluster and would leave ones
that work.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from typing import Any, Generic, TypeVar

from igw_xds.snapshot import CLUSTER, ENDPOINTS, ROUTES, Resource, Snapshot, closure
from igw_xds.stream.node import node_of
from igw_xds.stream.overlay import Wanted
from igw_xds.stream.progress import REMOVED_LAST, Progress
from igw_xds.stream.track import Offer, Refusal, Track

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class Phase(Enum):
    """How far a type may go now."""

    URGENT = auto()
    """Only what the client waits for; something earlier is not answered."""
    CHANGE = auto()
    """All that is new or changed."""
    REMOVE = auto()
    """What `REMOVED_LAST` has to take away; all else is answered."""


class Stream(Progress, Generic[RequestT, ResponseT]):
    """One client's ADS stream: `receive` and `publish` give the responses to send, in order."""

    one_at_a_time: bool
    """Whether a type may have only one open response."""
    _nonces = 0

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

    @abstractmethod
    def _read(self, track: Track, request: RequestT) -> None:
        """Take the answer and the subscription out of a request."""

    @abstractmethod
    def _offer(self, track: Track, wanted: Wanted, phase: Phase) -> Offer | None:
        """Say what to send of a type; None for nothing."""

    @abstractmethod
    def _response(self, track: Track, offer: Offer, nonce: str) -> ResponseT:
        """Build the response."""

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

    def _gone(self, track: Track, wanted: Wanted) -> set[str]:
        """Give the names that the client was told of and is to lose."""
        return track.gone(wanted) - self._withheld(track)

    def _flush(self) -> Iterator[ResponseT]:
        if self._snapshot is None:
            return
        held = False
        for track in self._tracks.values():
            if (source := self._source(track)) is not track.source:
                track.move(source, self._differences)
            waits = track.outstanding or (held and track.type_url != ENDPOINTS)
            phase = Phase.URGENT if waits else Phase.CHANGE
            if not track.is_done(phase):
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
            if not track.is_done(Phase.REMOVE):
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

    def _removable(self, names: Iterable[str]) -> set[str]:
        """Give those of vanished clusters, or endpoints, that are not in use."""
        in_use = self._in_use
        return set() if in_use is None else {name for name in names if name not in in_use}


def _rewarmed(clusters: Track, offer: Offer) -> set[str]:
    """Give the clusters that Envoy makes or replaces: each waits for endpoints, the latter without asking.

    xDS protocol, "Resource warming": a new ClusterLoadAssignment is needed even when nothing changed in it.
    """
    return {name for name, resource in offer.resources.items() if clusters.told.get(name) != resource}
