"""The incremental transport: only differences travel, removals by name, every subscribed name is answered.

Rules: xDS protocol, "Incremental xDS". Several responses of a type may be open; each is answered by nonce.
"""

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from igw_xds.stream.node import error_of
from igw_xds.stream.order import Phase, Stream
from igw_xds.stream.overlay import Wanted
from igw_xds.stream.progress import REMOVED_LAST
from igw_xds.stream.response import DeltaResponse
from igw_xds.stream.subscription import ROOTS, WILDCARD, Subscription
from igw_xds.stream.track import Offer, Track


class DeltaStream(Stream[DeltaDiscoveryRequest, DeltaResponse]):
    """One client's DeltaAggregatedResources stream."""

    one_at_a_time = False

    def _read(self, track: Track, request: DeltaDiscoveryRequest) -> None:
        if request.response_nonce:
            self._take(track, request.response_nonce, error_of(request))
        subscribe, unsubscribe = (
            set(request.resource_names_subscribe),
            set(request.resource_names_unsubscribe),
        )
        if track.seen:
            asked = {name for name in unsubscribe if name in track.subscription.names}
            if subscribe or unsubscribe:
                moved = track.subscription.moved(subscribe, unsubscribe)
                track.subscribe(moved, (subscribe - {WILDCARD}) | asked, asked)
            return
        known = dict(request.initial_resource_versions)
        legacy = not subscribe and not unsubscribe and track.type_url in ROOTS
        base = self._reference().of(track.type_url)
        subscription = Subscription.begun(
            {WILDCARD} if legacy else subscribe, unsubscribe, base, self._differences
        )
        track.subscribe(subscription, subscribe - {WILDCARD} - known.keys(), ())
        if known:
            track.claims(known, base, self._differences)

    def _offer(self, track: Track, wanted: Wanted, phase: Phase) -> Offer | None:
        if phase is not Phase.URGENT:
            track.reconsider(wanted)
        urgent = track.urgent(wanted)
        resources = {name: wanted[name] for name in sorted(urgent) if name in wanted}
        removed = {name for name in urgent if name not in wanted and name not in track.told}
        if phase is Phase.CHANGE or track.fresh:
            resources |= self._changed(track, wanted)
        if phase is Phase.REMOVE:
            removed |= self._removable(self._gone(track, wanted))
        elif phase is Phase.CHANGE and track.type_url not in REMOVED_LAST:
            removed |= self._gone(track, wanted)
        if resources or removed or _owes_an_answer(track, wanted):
            return Offer(resources, frozenset(removed))
        return None

    def _response(self, track: Track, offer: Offer, nonce: str) -> DeltaResponse:
        resources, removed = tuple(offer.resources.values()), tuple(sorted(offer.removed))
        return DeltaResponse(track.type_url, nonce, self.version, resources, removed)

    def _matches(self, track: Track, wanted: Wanted) -> bool:
        return track.has(wanted, self._spared(track))


def _owes_an_answer(track: Track, wanted: Wanted) -> bool:
    """Say whether a new wildcard subscription is answered though nothing is to be sent.

    A new client waits for its first response, even an empty one. A client that came back with clusters that
    are no more gets an empty one too: its answer shows that we have read all its subscriptions, so the
    removal that follows cannot overtake the routes that still use them.
    """
    leaves_later = track.type_url in REMOVED_LAST and bool(track.gone(wanted))
    return track.fresh and (not track.told or leaves_later)
