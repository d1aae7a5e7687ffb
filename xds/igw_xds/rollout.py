"""One zone's way from what is defined to its proxies: a canary first, refusals contained, removals last. Pure.

`newest` is what is defined, `target` the same with what lingers and without what was refused; the canary gets
`staged`, all others `served`. A target becomes staged, and once the canary has accepted all of it, served. At most one
is on its way: newer ones wait for it and are taken together. Times are the caller's seconds. What the target is
composed of is in `containment`.

What no proxy accepted and one refused goes back, for everyone, to what it was; what some proxy accepted stays, for a
proxy that refuses it then is odd (decision 0011).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from igw_xds.containment import LINGERING, Before, Name, Refused, composed, held, of
from igw_xds.follower import Follower, has_everything, is_decided
from igw_xds.names import is_of_definitions
from igw_xds.snapshot import NO_RESOURCES, TYPES, Resource, Snapshot
from igw_xds.stream import Accepted, Answer, Holds, Refuses, Rejected


@dataclass(slots=True)
class Rollout:
    """One zone's; every method takes the present time and may change `served`, `staged` and `canary`."""

    grace_seconds: float = 30.0
    canary_seconds: float = 5.0
    """How long a canary may take; then the others get the change as well. 0: no canary."""
    containable: Callable[[str], bool] = is_of_definitions
    """Says by name whether a refusal is contained; what all gateways share is each proxy's own affair."""
    newest: Snapshot | None = None
    target: Snapshot | None = None
    served: Snapshot | None = None
    staged: Snapshot | None = None
    canary: int | None = None
    since: float = 0.0
    """When the target became what it is."""
    timeouts: int = 0
    """How many changes went on before their canary had accepted them."""
    refused: dict[Name, Refused] = field(default_factory=dict)
    _held: dict[Name, Resource | None] = field(default_factory=dict)
    """Routes that need a cluster that nobody has, and what is served instead."""
    _unproven: dict[Name, Resource | None] = field(default_factory=dict)
    """What of the target no proxy has accepted yet, and what was accepted before it."""
    _leaving: dict[Name, tuple[float, Resource | None]] = field(default_factory=dict)
    """What vanished, until when, and what is served of it; None: it is withheld."""
    _superseded: Snapshot | None = None
    """What was staged before, while the canary may still answer to that."""
    _staging: Mapping[str, frozenset[str]] | None = None
    """What is new in `staged`: names by type URL, once somebody asked; before any proxy came all of it is."""
    _deadline: float | None = None
    _followers: dict[int, Follower] = field(default_factory=dict)
    """By number, in the order in which they are canaries: the oldest first, but one that let us wait goes last."""

    @property
    def next_deadline(self) -> float | None:
        """Give when `tick` is to be called; None for never."""
        first = next(iter(self._leaving.values()), None)  # all linger equally long: in order
        times = [time for time in (self._deadline, first and first[0]) if time is not None]
        return min(times, default=None)

    def given_to(self, number: int) -> Snapshot | None:
        """Give what a follower is to have; None before there is anything for it."""
        return self.staged if number == self.canary and self.staged is not None else self.served

    def publish(self, newest: Snapshot, now: float) -> None:
        """Take what is defined now."""
        before, target = self.newest or NO_RESOURCES, self.target or NO_RESOURCES
        for type_url in LINGERING:
            old, new, served = before.of(type_url), newest.of(type_url), target.of(type_url)
            for name in old.differing(new):
                self._leaving.pop((type_url, name), None)
                if name not in new:
                    self._leaving[type_url, name] = now + self.grace_seconds, served.get(name)
        self.newest = newest
        for (type_url, name), refused in list(self.refused.items()):
            if newest.of(type_url).get(name) != refused.resource:
                del self.refused[type_url, name]
        self._retarget(now)

    def join(self, number: int, follower: Follower, now: float) -> None:
        """Take a stream whose client has said who it is."""
        self._followers[number] = follower
        self._appoint(now)

    def leave(self, number: int, now: float) -> None:
        """Forget a stream."""
        self._followers.pop(number, None)
        if number == self.canary:
            self.canary = None
        if not self._followers:
            self._deadline = None  # nobody waits, and who comes next is to try it first
        self._appoint(now)

    def hear(self, number: int, proxy: str, answer: Answer | None, now: float) -> None:
        """Take note of what a follower's client asked or answered last."""
        follower = self._followers[number]
        match answer:
            case Accepted(type_url, names) if self._unproven:
                for key in [(type_url, name) for name in names if (type_url, name) in self._unproven]:
                    self._prove(key, follower)
            case Rejected(type_url, names, text, final=True):
                found = [
                    (key, resource)
                    for name in names
                    if (resource := self._condemned(key := (type_url, name), follower)) is not None
                ]
                for key, resource in found:
                    kept = self._before.good(key, {resource})
                    self._contain(key, Refused(resource, text, proxy, now, kept))
                if found:
                    self._retarget(now, again=True)
            case _:
                pass
        if self._unproven and has_everything(follower, self.target):  # as one that came back with it
            self._unproven.clear()
        if self.canary is None and self.staged is not None and follower.follows_all:
            self.canary = number  # nobody did until now
        if (
            number == self.canary
            and self.staged is not None
            and is_decided(follower, self.staged, self._new())
        ):
            self._promote(now)

    def tick(self, now: float) -> None:
        """Let the time pass."""
        expired = [key for key, (deadline, _) in self._leaving.items() if deadline <= now]
        if expired:
            in_use = self._before.needed()
            for key in expired:
                resource = self._leaving.pop(key)[1]
                if key[1] in in_use:
                    self._leaving[key] = now + max(self.grace_seconds, 1), resource
            self._retarget(now)
        if self._deadline is not None and self._deadline <= now:
            if self.canary is not None:
                self.timeouts += 1
                self._followers[self.canary] = self._followers.pop(self.canary)
            self._promote(now)

    def _retarget(self, now: float, *, again: bool = False) -> None:
        """Make the target anew; `again` when what is staged is no longer to be had."""
        before, target = self.target or NO_RESOURCES, self._contained()
        if target is not self.target:
            for type_url in TYPES:
                old, new = before.of(type_url), target.of(type_url)
                for name in old.differing(new):
                    self._note((type_url, name), old.get(name), new.get(name))
            self.target, self.since = target, now
        if self.canary_seconds == 0:
            self.served = target
        elif again or self.staged is None or self.canary is None:  # none tries what is staged: take newer
            self._stage(now)

    def _note(self, key: Name, old: Resource | None, new: Resource | None) -> None:
        """Remember what is to be proven, and what was good before it."""
        if new is None:
            self._unproven.pop(key, None)
        elif key not in self._unproven:
            self._unproven[key] = old
        elif self._unproven[key] == new:
            del self._unproven[key]

    def _stage(self, now: float) -> None:
        if self.target is self.served:
            self.staged, self._superseded, self._deadline, self._staging = None, None, None, None
            return
        again = self.staged is not None
        self.staged, self._superseded, self._staging = self.target or NO_RESOURCES, self.staged, None
        if not again:
            self.canary, self._deadline = None, None
        self._appoint(now)

    def _appoint(self, now: float) -> None:
        """See that what is staged has a canary, and that those who wait do so for a while only."""
        if self.staged is None:
            return
        if self.canary is None:
            self.canary = self._chosen()
        if self._deadline is None and self._followers:
            self._deadline = now + self.canary_seconds

    def _chosen(self) -> int | None:
        """Give who has been there longest; who let us wait has its turn after all others."""
        return next((n for n, follower in self._followers.items() if follower.follows_all), None)

    def _new(self) -> Mapping[str, frozenset[str]]:
        """Give what is new in what is staged."""
        if self._staging is None:
            served, staged = self.served or NO_RESOURCES, self.staged or NO_RESOURCES
            self._staging = {
                type_url: frozenset(name for name in served.of(type_url).differing(there) if name in there)
                for type_url in TYPES
                if (there := staged.of(type_url))
            }
        return self._staging

    def _promote(self, now: float) -> None:
        """Give everyone what was staged."""
        follower = None if self.canary is None else self._followers.get(self.canary)
        if follower is not None and self.staged is not None:
            for type_url, names in self._new().items():
                self._accepted(type_url, names, self.staged, follower)
        self.served, self.staged, self._superseded, self._deadline = self.staged, None, None, None
        self._staging = None
        if self.target is not self.served:
            self._stage(now)

    def _accepted(self, type_url: str, names: Iterable[str], served: Snapshot, canary: Follower) -> None:
        """Take what the canary has for proven; where the target has moved on, it is what to go back to."""
        there, newest = served.of(type_url), (self.target or NO_RESOURCES).of(type_url)
        every = canary.snapshot is served and canary.has_all(type_url)
        for name in names:
            key, resource = (type_url, name), there.get(name)
            if key in self._unproven and (every or canary.standing(type_url, name) == Holds(resource)):
                if newest.get(name) == resource:
                    del self._unproven[key]
                else:
                    self._unproven[key] = resource

    def _prove(self, key: Name, follower: Follower) -> None:
        """Take note that a proxy has accepted what is to be had, or what is on its way while newer waits."""
        standing = follower.standing(*key)
        if not isinstance(standing, Holds):
            return
        has, before = standing.resource, self._unproven[key]
        for snapshot in (self.target, self.staged, self._superseded, self.served):  # the newest first
            there = of(snapshot, key)
            if there == has:
                self._unproven[key] = has
                break
            if there is not None and there == before:
                return
        if has == of(self.target, key):
            del self._unproven[key]

    def _condemned(self, key: Name, follower: Follower) -> Resource | None:
        """Give what a proxy refuses, if no proxy has accepted it and it is on its way to others."""
        standing = follower.standing(*key)
        if not isinstance(standing, Refuses) or not self.containable(key[1]):
            return None
        refused = standing.resource
        if refused == of(self.target, key):
            return refused if key in self._unproven else None
        is_staged = key[1] in self._new().get(key[0], ()) and refused == of(self.staged, key)
        return refused if is_staged and refused != self._unproven.get(key) else None

    def _contain(self, key: Name, refused: Refused) -> None:
        """Hold back what was refused; what is staged while newer waits is just not to go further."""
        if refused.resource != of(self.target, key):
            return
        if key in self._leaving:
            self._leaving[key] = self._leaving[key][0], refused.kept
        elif key in self._held:
            self._held[key] = refused.kept
        elif key in self.refused:  # what was served instead
            self.refused[key] = replace(self.refused[key], kept=refused.kept)
        else:
            self.refused[key] = refused

    @property
    def _before(self) -> Before:
        return Before(self.target or NO_RESOURCES, self.served, self._unproven)

    def _contained(self) -> Snapshot:
        """Compose the target: what is defined, what lingers, and for what was refused what was good before it."""
        newest, before = self.newest or NO_RESOURCES, self._before
        instead = {key: resource for key, (_, resource) in self._leaving.items()}
        instead |= {key: refused.kept for key, refused in self.refused.items()}
        self._held = held(newest, before, instead, self._held)
        return composed(newest, before.target, instead | self._held)
