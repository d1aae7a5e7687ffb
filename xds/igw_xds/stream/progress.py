"""How far one client is with the snapshot that it is to have: questions alone, that change nothing of what is known."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Final

from igw_xds.snapshot import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    NO_RESOURCES,
    NOTHING,
    ROUTES,
    TYPES,
    Snapshot,
    closure,
)
from igw_xds.stream.node import Node
from igw_xds.stream.overlay import Base, Differences, Wanted
from igw_xds.stream.subscription import ROOTS
from igw_xds.stream.track import Answer, Lacks, Refusal, Standing, Track

REMOVED_LAST = (CLUSTER, ENDPOINTS)
"""Types whose resources others name. Listeners and scopes are replaced in one response instead, because two
with the same address or key may not exist side by side; routes come after all that name them."""

NAMING_CLUSTERS = (CLUSTER, LISTENER, ROUTES)
"""Types whose resources name clusters; what another holds, known or not, keeps none."""

MAX_ASKED: Final = 100_000
"""Names of a type that a client may ask for, beside those that there are."""
MAX_OPEN: Final = 1000
"""Responses that a client may have not answered, beside one for each resource: it may refuse all, one by one."""


class Progress(ABC):
    """What one client asked for, has and refuses of its newest snapshot."""

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
        self._in_use: frozenset[str] | None = frozenset()

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
    def excessive(self) -> bool:
        """Whether the client asks for more, or leaves more without an answer, than any Envoy would."""
        tracks = self._tracks.values()
        asked = max(len(track.subscription.names.own) for track in tracks)
        unanswered = sum(len(track.outstanding) for track in tracks)
        if asked <= MAX_ASKED and unanswered <= MAX_OPEN:
            return False
        there = sum(len(self._source(track)) for track in tracks)
        return asked > MAX_ASKED + 2 * there or unanswered > MAX_OPEN + there

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
    def _matches(self, track: Track, wanted: Wanted) -> bool:
        """Say whether the client has accepted just what it should have."""

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

    def _has_all(self, track: Track) -> bool:
        source = self._source(track)
        if track.done.get("accepted") is not source:
            if not self._matches(track, track.subscription.select(source)):
                return False
            track.done["accepted"] = source
        return True

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
