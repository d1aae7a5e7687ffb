"""What one client asked for, was told and has accepted of one resource type.

Four facts are kept apart: `told` (sent, whatever became of it), `accepted` (acknowledged, or claimed at a
reconnect), `outstanding` (sent, not answered) and `refused` (answered with a NACK, still what we want).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from igw_xds.snapshot import Resource
from igw_xds.stream.subscription import Subscription


@dataclass(frozen=True, slots=True)
class Accepted:
    """The client's latest request acknowledged a response of this type."""

    type_url: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The client's latest request refused a response of this type; `text` is Envoy's own."""

    type_url: str
    text: str


Answer = Accepted | Rejected


@dataclass(frozen=True, slots=True)
class Offer:
    """Content of one response; `whole` when what it does not name is thereby removed."""

    resources: Mapping[str, Resource]
    removed: frozenset[str] = frozenset()
    whole: bool = False


@dataclass(slots=True)
class Track:
    """The memory of one resource type on one stream."""

    type_url: str
    seen: bool = False
    subscription: Subscription = field(default_factory=Subscription)
    fresh: bool = False
    """A wildcard subscription was made and not answered yet."""
    due: set[str] = field(default_factory=set)
    """Names to answer at once, also when the client has them; not all need be subscribed to yet."""
    told: dict[str, Resource] = field(default_factory=dict)
    accepted: dict[str, Resource] = field(default_factory=dict)
    outstanding: dict[str, Offer] = field(default_factory=dict)
    refused: dict[str, dict[str, Resource | None]] = field(default_factory=dict)
    """Content of NACKed responses, by nonce and name, while we still want it; None is a refused removal."""
    done: dict[object, Mapping[str, Resource]] = field(default_factory=dict)
    """Questions (a phase, or "is it accepted") that these very resources answered with "nothing to do"."""
    rejection: str = ""
    nonce: str = ""
    claim: str = ""
    """Version that a state-of-the-world client says it has, until compared with ours."""

    def subscribe(self, subscription: Subscription, due: Iterable[str]) -> None:
        """Take a new subscription, and names that must be answered; forget what is no longer asked for."""
        self.seen = True
        self.done.clear()
        self.fresh = subscription.wildcard and (self.fresh or not self.subscription.wildcard)
        if not subscription.wildcard and subscription != self.subscription:
            for memory in (self.told, self.accepted):
                for name in [name for name in memory if not subscription.covers(name)]:
                    del memory[name]
            self._drop_refused(
                [n for group in self.refused.values() for n in group if not subscription.covers(n)]
            )
        self.subscription = subscription
        self.due.update(name for name in due if subscription.covers(name))

    def claims(self, resources: Mapping[str, Resource]) -> None:
        """Take over what the client has from an earlier stream."""
        held = {name: resource for name, resource in resources.items() if self.subscription.covers(name)}
        self.told.update(held)
        self.accepted.update(held)

    def urgent(self, wanted: Mapping[str, Resource]) -> set[str]:
        """Give the names to be answered at once: those due, and named ones the client still waits for."""
        due = {name for name in self.due if self.subscription.covers(name)}
        return due | {name for name in self.subscription.names if name in wanted and name not in self.told}

    def changed(self, wanted: Mapping[str, Resource]) -> dict[str, Resource]:
        """Give the wanted resources that differ from what the client was told."""
        told = self.told
        names = [name for name, r in wanted.items() if (t := told.get(name)) is not r and t != r]
        return {name: wanted[name] for name in sorted(names)}

    def gone(self, wanted: Mapping[str, Resource]) -> set[str]:
        """Give the names that the client was told of and that are no more."""
        return {name for name in self.told if name not in wanted}

    def reconsider(self, wanted: Mapping[str, Resource]) -> None:
        """When a part of refused content changed, let all that was refused with it be sent again.

        Envoy applies the good part of some responses it refuses (seen with listeners on 1.40), so
        after a NACK nobody knows which of several resources it has.
        """
        for nonce, group in list(self.refused.items()):
            if all(wanted.get(name) == resource for name, resource in group.items()):
                continue
            del self.refused[nonce]
            for name in group:
                if name in wanted:
                    self.told.pop(name, None)
                elif name in self.accepted:
                    self.told[name] = self.accepted[name]

    def sent(self, nonce: str, offer: Offer) -> None:
        """Remember a response that goes out."""
        self.done.clear()
        self.nonce = nonce
        self.outstanding[nonce] = offer
        if offer.whole:
            self.told.clear()
            self.refused.clear()
        self.told.update(offer.resources)
        for name in offer.removed:
            self.told.pop(name, None)
        self._drop_refused((*offer.resources, *offer.removed))

    def answered(self, nonce: str, error: str | None) -> Answer | None:
        """Take the client's word on a response; None when the nonce belongs to none that is open."""
        self.done.clear()
        offer = self.outstanding.pop(nonce, None)
        if offer is None:
            return None
        if error is None:
            self._accept(offer)
            return Accepted(self.type_url)
        self.rejection = error
        group: dict[str, Resource | None] = dict.fromkeys(
            offer.removed & self.accepted.keys() - self.told.keys()
        )
        group.update({name: r for name, r in offer.resources.items() if self.told.get(name) == r})
        if group:
            self.refused[nonce] = group
        return Rejected(self.type_url, error)

    def settle(self) -> None:
        """Forget the rejection's text when nothing refused stands and nothing awaits an answer."""
        if not self.refused and not self.outstanding:
            self.rejection = ""

    @property
    def resists(self) -> bool:
        """Whether content that we still want stands refused."""
        return any(resource is not None for group in self.refused.values() for resource in group.values())

    def _drop_refused(self, names: Iterable[str]) -> None:
        if not self.refused:
            return
        dropped = set(names)
        kept = {
            nonce: {n: r for n, r in group.items() if n not in dropped}
            for nonce, group in self.refused.items()
        }
        self.refused = {nonce: group for nonce, group in kept.items() if group}

    def _accept(self, offer: Offer) -> None:
        if offer.whole:
            self.accepted.clear()
        covers = self.subscription.covers
        self.accepted.update({name: r for name, r in offer.resources.items() if covers(name)})
        for name in offer.removed:
            self.accepted.pop(name, None)
