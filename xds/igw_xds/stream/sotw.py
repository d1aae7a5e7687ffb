"""The state-of-the-world transport: root types travel whole, others only what changed; nothing tells absence.

A version states what the client has once it accepts: so a client that reconnects with a root type's is known to have
all of it. Of other types it may have dropped a name since. Stale nonces are ignored: the next request says it all.
"""

from collections.abc import Mapping

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from igw_xds.snapshot import Resource, snapshot
from igw_xds.stream.node import error_of
from igw_xds.stream.order import Phase, Stream
from igw_xds.stream.overlay import Wanted
from igw_xds.stream.progress import REMOVED_LAST
from igw_xds.stream.response import SotwResponse
from igw_xds.stream.subscription import ROOTS
from igw_xds.stream.track import Offer, Track


class SotwStream(Stream[DiscoveryRequest, SotwResponse]):
    """One client's StreamAggregatedResources stream."""

    one_at_a_time = True

    def _read(self, track: Track, request: DiscoveryRequest) -> None:
        if track.nonce and request.response_nonce != track.nonce:
            return
        if not track.seen:
            track.claim = request.version_info
        if request.response_nonce:
            self._take(track, request.response_nonce, error_of(request))
        subscription = track.subscription.replaced(track.type_url, request.resource_names)
        before, after = set(track.subscription.names), set(subscription.names)
        track.subscribe(subscription, after - before, before - after)

    def _offer(self, track: Track, wanted: Wanted, phase: Phase) -> Offer | None:
        _compare_claim(track, wanted)
        if track.type_url in ROOTS:
            return self._whole(track, wanted, phase)
        if phase is not Phase.URGENT:
            track.reconsider(wanted)
        resources = {name: wanted[name] for name in sorted(track.urgent(wanted)) if name in wanted}
        if phase is Phase.CHANGE or track.fresh:
            resources |= self._changed(track, wanted)
        return Offer(resources) if resources else None

    def _whole(self, track: Track, wanted: Wanted, phase: Phase) -> Offer | None:
        """Give the whole set of a root type, with what is still to be removed until its time has come."""
        gone = {name: r for name, r in track.accepted.items() if name not in wanted}
        leaving = gone.keys() - self._withheld(track)
        if track.type_url in REMOVED_LAST:
            leaving = self._removable(leaving) if phase is Phase.REMOVE else set()
        target = {**{name: r for name, r in gone.items() if name not in leaving}, **wanted}
        asked = track.fresh or any(name in wanted for name in track.urgent(wanted))
        if asked or (phase is not Phase.URGENT and target != track.told):
            return Offer(target, whole=True)
        return None

    def _response(self, track: Track, offer: Offer, nonce: str) -> SotwResponse:
        wanted = self._wanted(track)
        kept = {} if offer.whole else {name: r for name, r in track.accepted.items() if name in wanted}
        version = _version(track.type_url, {**kept, **offer.resources})
        return SotwResponse(track.type_url, nonce, version, tuple(offer.resources.values()))

    def _matches(self, track: Track, wanted: Wanted) -> bool:
        if track.type_url in ROOTS:
            return track.has(wanted, self._spared(track))
        return all(track.accepted.get(name) == resource for name, resource in wanted.items())


def _compare_claim(track: Track, wanted: Wanted) -> None:
    """Compare, once, the version that a returning client names with ours.

    Of a type that is asked for by name it says too little: a client may have dropped a name since, and ask for it anew.
    """
    claim, track.claim = track.claim, ""
    if not claim or track.type_url not in ROOTS:
        return
    if claim == _version(track.type_url, wanted):
        track.holds(wanted)
        track.fresh = False
        track.due.difference_update(track.subscription.names)


def _version(type_url: str, resources: Mapping[str, Resource]) -> str:
    return snapshot({type_url: resources.values()}).type_version(type_url)
