"""What one client asked for, was told and has accepted of one resource type.

Four facts are kept apart: `told` (sent, whatever became of it), `accepted` (acknowledged, or claimed at a
reconnect), `outstanding` (sent, not answered) and `refused` (answered with a NACK, still what we want).

A NACK does not say which of several resources is bad, nor which of the good ones were applied (Envoy 1.40
applies some). So they are `suspected` and sent again in parts, until the bad one is refused alone.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from operator import itemgetter
from typing import assert_never

from igw_xds.snapshot import NOTHING, Resource
from igw_xds.stream.overlay import Base, Differences, Overlay, Wanted
from igw_xds.stream.subscription import Subscription

PARTS = 16
"""Of many resources that were refused together: a few are tried one by one, ten thousand in four rounds."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The client's latest request acknowledged a response with these names, removed ones too."""

    type_url: str
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Rejected:
    """The client's latest request refused a response with these names; `text` is Envoy's own."""

    type_url: str
    names: frozenset[str]
    text: str
    final: bool = True
    """Whether it stands; else parts of it will be tried."""


Answer = Accepted | Rejected


@dataclass(frozen=True, slots=True)
class Holds:
    """The client has accepted this resource, the last of its name that it answered."""

    resource: Resource


@dataclass(frozen=True, slots=True)
class Refuses:
    """The client refused a resource (None: its removal), or a cluster it needs, and goes on with what it kept."""

    resource: Resource | None
    text: str
    kept: Resource | None
    by: str = ""
    """Who refused it, where that was another."""


@dataclass(frozen=True, slots=True)
class Lacks:
    """The client has nothing of a resource, as far as we know."""


Standing = Holds | Refuses | Lacks


def kept(standing: Standing) -> Resource | None:
    """Give what a client has of a resource, of whatever version."""
    match standing:
        case Holds(resource) | Refuses(kept=resource):
            return resource
        case Lacks():
            return None
        case other:
            assert_never(other)


@dataclass(frozen=True, slots=True)
class Offer:
    """Content of one response; `whole` when what it does not name is thereby removed."""

    resources: Mapping[str, Resource]
    removed: frozenset[str] = frozenset()
    whole: bool = False

    @property
    def names(self) -> frozenset[str]:
        """Give all names that it is about."""
        return self.removed | self.resources.keys()


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the client refused: content, or (None) a removal; and its own words."""

    resource: Resource | None
    text: str


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
    told: Overlay = field(default_factory=Overlay)
    accepted: Overlay = field(default_factory=Overlay)
    outstanding: dict[str, Offer] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    """By name, while it is still what we want; not sent again until it changes."""
    suspected: deque[Offer] = field(default_factory=deque)
    """Parts of refused responses, to be sent each alone."""
    held_back: Mapping[str, Refusal] = field(default_factory=dict)
    """By name, what is not sent because it needs a cluster that stands refused, and why that was."""
    source: Base = field(default_factory=lambda: NOTHING)
    """What is served now."""
    done: dict[object, Base] = field(default_factory=dict)
    """Questions (a phase, or "is it accepted") that these very resources answered with "nothing to do"."""
    rejection: str = ""
    nonce: str = ""
    claim: str = ""
    """Version that a state-of-the-world client says it has, until compared with ours."""

    def subscribe(self, subscription: Subscription, due: Iterable[str], dropped: Iterable[str]) -> None:
        """Take a new subscription, and names that must be answered; forget what is no longer asked for.

        `dropped` are the names that were asked for by name and may be so no longer.
        """
        self.seen = True
        self.source = NOTHING
        self.done.clear()
        self.fresh = subscription.wildcard and (self.fresh or not self.subscription.wildcard)
        if not subscription.wildcard:
            for memory in (self.told, self.accepted, self.refused):
                for name in list(memory) if self.subscription.wildcard else dropped:
                    if not subscription.covers(name):
                        memory.pop(name, None)
        self.subscription = subscription
        if not subscription.active:
            self.suspected.clear()  # nobody asks for what was to be tried again
        self.due.update(name for name in due if subscription.covers(name))

    def claims(self, versions: Mapping[str, str], base: Base, differences: Differences) -> None:
        """Take over what the client has from an earlier stream, by name; `base` is what it probably has."""
        subscription, known = self.subscription, differences.versions(base)
        asks_for_all = subscription.names.is_base(base) and versions.keys() <= known.keys()
        if not subscription.wildcard and not asks_for_all:
            versions = {name: version for name, version in versions.items() if subscription.covers(name)}
        self.told.claim(versions, base, known)
        self.accepted = self.told.copy()
        self.source = NOTHING  # to be said by how it differs from what is served

    def holds(self, resources: Mapping[str, Resource]) -> None:
        """Take over what the client has, as we know, from an earlier stream."""
        for memory in (self.told, self.accepted):
            memory.update(resources)
        self.source = NOTHING

    def move(self, source: Base, differences: Differences) -> None:
        """Say what the client has and asked for by how it differs from what is served now."""
        self.told.move(source, differences)
        self.accepted.move(source, differences)
        self.subscription = self.subscription.on(source, differences)
        self.source = source

    def is_done(self, question: object) -> bool:
        """Say whether there is nothing to do, as it was found before: a thousand clients in step ask no more."""
        return self.done.get(question) is self.source and not self.suspected

    def urgent(self, wanted: Wanted) -> set[str]:
        """Give the names to be answered at once: those due, and named ones the client still waits for."""
        due = {name for name in self.due if self.subscription.covers(name)}
        asked, told = self.subscription.names, self.told
        differing = told.differing(self.source)
        candidates = asked if differing is None else [name for name in differing if name in asked]
        return due | {name for name in candidates if name not in told and name in wanted}

    def changed(self, wanted: Wanted) -> dict[str, Resource]:
        """Give the wanted resources that differ from what the client was told."""
        told = self.told
        differing = told.differing(self.source)
        found = [
            (name, r)
            for name in (wanted if differing is None else differing)
            if (r := wanted.get(name)) is not None and (t := told.get(name)) is not r and t != r
        ]
        return dict(sorted(found, key=itemgetter(0)))

    def gone(self, wanted: Wanted) -> set[str]:
        """Give the names that the client was told of and that are no more."""
        differing = self.told.differing(self.source)
        return {
            name
            for name in (self.told if differing is None else differing)
            if name in self.told and name not in wanted
        }

    def has(self, wanted: Wanted, spared: AbstractSet[str]) -> bool:
        """Say whether the client has accepted just these, and else at most what is spared."""
        differing = self.accepted.differing(self.source)
        if differing is None:
            differing = self.accepted.keys() | wanted.keys()
        return all(self.accepted.get(n) == wanted.get(n) for n in differing if n in wanted or n not in spared)

    def reconsider(self, wanted: Wanted) -> None:
        """Forget refusals of what we no longer want: other content is sent, and what is no more removed."""
        for name, refusal in list(self.refused.items()):
            if wanted.get(name) != refusal.resource:
                del self.refused[name]
                self._doubt(name, refusal.resource)

    def retried(self, wanted: Wanted) -> Iterator[Offer]:
        """Give the parts of refused responses that are still what we want, and forget each as it is taken."""
        while self.suspected:
            part = self.suspected.popleft()
            same = {name: r for name, r in part.resources.items() if wanted.get(name) == r}
            for name in part.resources.keys() - same.keys():
                self._doubt(name, part.resources[name])
            gone = frozenset(name for name in part.removed if name not in wanted)
            if same or gone:
                yield Offer(same, gone)

    def _doubt(self, name: str, refused: Resource | None) -> None:
        """Count what was refused, and is not to be had now, as told with content that nobody knows.

        If it comes back it is sent again, and if it goes for good the client is told so.
        """
        if refused is not None and self.told.get(name) == refused:
            self.told[name] = Resource(name, "", needs=None)

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
        if self.refused:
            for name in offer.names:
                self.refused.pop(name, None)

    def answered(self, nonce: str, error: str | None) -> Answer | None:
        """Take the client's word on a response; None when the nonce belongs to none that is open."""
        self.done.clear()
        offer = self.outstanding.pop(nonce, None)
        if offer is None:
            return None
        if error is None:
            self._accept(offer)
            return Accepted(self.type_url, offer.names)
        self.rejection = error
        return self._refuse(offer, error)

    def settle(self) -> None:
        """Forget the rejection's text when nothing refused stands and nothing awaits an answer."""
        if not self.refused and not self.outstanding:
            self.rejection = ""

    def standing(self, name: str) -> Standing:
        """Say what the client makes of a resource."""
        has = self.accepted.get(name)
        refusal = self.refused.get(name) or (self.held_back.get(name) if has else None)
        if refusal is not None:
            return Refuses(refusal.resource, refusal.text, has)
        return Lacks() if has is None else Holds(has)

    def _refuse(self, offer: Offer, text: str) -> Rejected:
        """Remember a refusal; of several nobody knows which, and they are tried in parts."""
        resources = {name: r for name, r in offer.resources.items() if self.told.get(name) == r}
        removed = frozenset(name for name in offer.removed if name in self.accepted and name not in self.told)
        if offer.whole:
            # A type that travels whole is refused whole; what changed in it is to blame.
            resources = {
                name: r for name, r in resources.items() if self.accepted.get(name) != r
            } or resources
        elif len(offer.resources) + bool(offer.removed) > 1:  # what is not to be had any more may be to blame
            self.suspected.extend(_parts(resources, removed))
            return Rejected(self.type_url, offer.names, text, final=False)
        self.refused.update({name: Refusal(r, text) for name, r in resources.items()})
        self.refused.update({name: Refusal(None, text) for name in removed})
        return Rejected(self.type_url, frozenset(resources.keys() | removed), text)

    def _accept(self, offer: Offer) -> None:
        if offer.whole:
            self.accepted.clear()
        covers = self.subscription.covers
        self.accepted.update({name: r for name, r in offer.resources.items() if covers(name)})
        for name in offer.removed:
            self.accepted.pop(name, None)
        for name in self.refused.keys() & offer.names:  # the same content, sent twice: the last answer counts
            if self.refused[name].resource == offer.resources.get(name):
                del self.refused[name]


def _parts(resources: Mapping[str, Resource], removed: frozenset[str]) -> Iterator[Offer]:
    """Split what was refused together: removals first, alone, then the resources in parts."""
    if removed:
        yield Offer({}, removed)
    names = sorted(resources)
    size = -(-len(names) // PARTS) if names else 1
    for start in range(0, len(names), size):
        yield Offer({name: resources[name] for name in names[start : start + size]})
