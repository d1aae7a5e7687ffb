"""Snapshots of zones in, each connected proxy's next snapshot out: the rollout of every zone, with a clock.

A proxy's zone is the one that its node names. A slow proxy is given the newest snapshot once it reads again, never a
backlog; what a thousand proxies are given does not keep the loop from anything else.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from igw_xds.clients import clients, in_step
from igw_xds.observation import Client
from igw_xds.plan import Zoning
from igw_xds.rollout import Rollout
from igw_xds.snapshot import NO_RESOURCES, Snapshot
from igw_xds.stream import Answer, Differences, Node, Stream

log = structlog.get_logger(__name__)

TOGETHER = 25
"""So many proxies are given a snapshot before answers and other work have their turn."""


class Receiver(Protocol):
    """A connected proxy, as its session knows it."""

    @property
    def number(self) -> int:
        """Give the number of its stream."""

    @property
    def node(self) -> Node:
        """Give who it is."""

    @property
    def proxyless(self) -> bool:
        """Say whether it is a client that is no Envoy, and so programs nothing."""

    @property
    def stream(self) -> Stream[object, object]:
        """Give what it has, as its stream knows."""

    def give(self) -> None:
        """Send it what it is to have now, or as soon as it reads."""

    def fail(self) -> None:
        """End its stream for a fault of ours."""


@dataclass(slots=True)
class Distribution:
    """One zone: its rollout, and its proxies by the number of their stream."""

    zone: str
    """Its name as definitions spell it, or the first proxy that named it."""
    rollout: Rollout
    known: bool = False
    """Whether it is a zone of ours; one of another name has nothing to serve."""
    differences: Differences = field(default_factory=Differences)
    receivers: dict[int, Receiver] = field(default_factory=dict)
    _queue: deque[Receiver] = field(default_factory=deque)
    _giving: asyncio.Handle | None = None
    _timer: asyncio.TimerHandle | None = None
    _seen: tuple[object, ...] = ()

    @property
    def reference(self) -> Snapshot:
        """Give what a returning proxy probably has."""
        return self.rollout.served or self.rollout.target or NO_RESOURCES

    @property
    def canary(self) -> Receiver | None:
        """Give the proxy that gets changes first."""
        return self.receivers.get(self.rollout.canary or 0)

    def publish(self, newest: Snapshot) -> None:
        """Take what is defined for the zone now."""
        self.rollout.publish(newest, _now())
        self._react()

    def join(self, receiver: Receiver) -> None:
        """Take a proxy that said who it is."""
        self.receivers[receiver.number] = receiver
        if receiver.proxyless:
            return
        self.rollout.join(receiver.number, receiver.stream, _now())
        self._react()

    def leave(self, receiver: Receiver) -> None:
        """Forget a proxy."""
        self.receivers.pop(receiver.number, None)
        self.rollout.leave(receiver.number, _now())
        self._react()

    def hear(self, receiver: Receiver, answer: Answer | None) -> None:
        """Take note of what a proxy said."""
        if receiver.proxyless:
            return
        self.rollout.hear(receiver.number, receiver.node.id, answer, _now())
        self._react()

    def close(self) -> None:
        """Stop the clock."""
        for handle in (self._timer, self._giving):
            if handle is not None:
                handle.cancel()

    @property
    def behind(self) -> int:
        """Count the proxies that do not have all that is served."""
        return sum(not (r.proxyless or in_step(r.stream, self.rollout)) for r in self.receivers.values())

    def clients(self) -> Sequence[Client]:
        """Give each proxy once, by id: those in step as one, for they have the same.

        Of two streams of one proxy, as at a reconnect, the newer counts.
        """
        envoys = [(number, r) for number, r in sorted(self.receivers.items()) if not r.proxyless]
        streams = {r.node.id or f"stream {number}": r.stream for number, r in envoys}
        return list(clients(streams, self.rollout))

    def _react(self) -> None:
        """Do what the rollout decided, if it decided anything."""
        rollout = self.rollout
        self._wind()
        seen = (id(rollout.served), id(rollout.staged), rollout.canary, rollout.since)
        if seen == self._seen:
            return
        served_anew = not self._seen or self._seen[0] != seen[0]
        self._seen = seen
        if (canary := self.canary) is not None:
            self._give(canary)
        if served_anew:
            self.give_all()

    def give_all(self) -> None:
        """Give every proxy what it is to have, a few at a time."""
        self._queue = deque(self.receivers.values())
        self._give_some()

    def _give_some(self) -> None:
        """Give a few proxies what they are to have, and the rest after others had their turn."""
        for _ in range(TOGETHER):
            if self._giving is not None or not self._queue:  # what one is given may make others have more
                return
            self._give(self._queue.popleft())
        if self._queue and self._giving is None:
            self._giving = asyncio.get_running_loop().call_soon(self._go_on)

    def _give(self, receiver: Receiver) -> None:
        """Give a proxy what it is to have; a fault there ends its stream, and others go on."""
        try:
            receiver.give()
        except Exception:
            log.exception("a proxy cannot be given what it is to have", node=receiver.node.id)
            receiver.fail()

    def _go_on(self) -> None:
        self._giving = None
        self._give_some()

    def _wind(self) -> None:
        """Have the clock ring when the rollout wants it; at each answer that is mostly what it does already."""
        deadline = self.rollout.next_deadline
        if deadline == (None if self._timer is None else self._timer.when()):
            return
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = None if deadline is None else loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        timeouts, canary = self.rollout.timeouts, self.canary
        self.rollout.tick(_now())
        if self.rollout.timeouts > timeouts:
            log.warning(
                "canary did not accept in time", zone=self.zone, node=canary.node.id if canary else ""
            )
        self._react()


class Distributions:
    """All zones; call it from one event loop."""

    def __init__(
        self,
        zoning: Zoning,
        known: Iterable[str] = (),
        *,
        grace_seconds: float = 30,
        canary_seconds: float = 5,
    ) -> None:
        """Begin with nothing to serve; `known` are zones of ours even without a gateway."""
        self._zoning = zoning
        self._known = {zoning.key(zone) for zone in (*known, *([zoning.only] if zoning.only else ()))}
        self._seconds = grace_seconds, canary_seconds
        self._zones: dict[str, Distribution] = {}
        self._snapshots: Mapping[str, Snapshot] = {}
        self._bare = NO_RESOURCES
        self.ready = False
        """Whether there was anything published."""
        self.published = 0
        """How many times what is to be served changed anywhere."""

    def __iter__(self) -> Iterator[Distribution]:
        """Give every zone that has something to serve, or proxies."""
        return iter(self._zones.values())

    def publish(self, snapshots: Mapping[str, Snapshot], bare: Snapshot) -> None:
        """Take what is defined now, by zone, and what a zone of ours without gateways gets."""
        self.ready, changed = True, False
        before, self._snapshots, self._bare = self._snapshots, snapshots, bare
        for key in [*self._zones, *(key for key in snapshots if key not in self._zones)]:
            zone = self._zones.get(key)
            if zone is None or snapshots.get(key) is not before.get(key) or not zone.rollout.newest:
                changed = self._publish(self._zone(key, key)) or changed
        if snapshots and not before:
            for zone in self:
                zone.give_all()
        self.published += changed

    def spell(self, zones: Iterable[str]) -> None:
        """Take how definitions spell their zones, to be shown so."""
        for zone in zones:
            if (key := self._zoning.key(zone)) in self._zones and key:
                self._zones[key].zone = zone

    @property
    def together(self) -> bool:
        """Say whether every proxy is given everything, whatever its zone."""
        return self._zoning.together

    @property
    def empty(self) -> bool:
        """Say whether there has been no gateway since the start: it may be the wrong store, or a new one."""
        return not self._snapshots

    def of(self, node: Node) -> Distribution:
        """Give the zone of a proxy."""
        key = self._zoning.key(node.zone)
        if (found := self._zones.get(key)) is not None:
            return found
        zone = self._zone(key, node.zone)
        self._publish(zone)
        return zone

    def leave(self, zone: Distribution, receiver: Receiver) -> None:
        """Forget a proxy, and a zone that was only its."""
        zone.leave(receiver)
        if not zone.receivers and not zone.known:
            zone.close()
            self._zones.pop(self._zoning.key(zone.zone), None)

    @property
    def behind(self) -> int:
        """Count the proxies that do not have all that is served."""
        return sum(zone.behind for zone in self)

    def clients(self, key: str) -> Sequence[Client]:
        """Give the proxies of a zone."""
        zone = self._zones.get(key)
        return () if zone is None else zone.clients()

    def close(self) -> None:
        """Stop all clocks."""
        for zone in self:
            zone.close()

    def _zone(self, key: str, name: str) -> Distribution:
        grace, canary = self._seconds
        return self._zones.setdefault(key, Distribution(name, Rollout(grace, canary)))

    def _publish(self, zone: Distribution) -> bool:
        """Say whether that changed what the zone is to be served."""
        key, before = self._zoning.key(zone.zone), zone.rollout.target
        newest = self._snapshots.get(key)
        zone.known = newest is not None or key in self._known or self._zoning.together
        if self.ready:
            zone.publish(newest or (self._bare if zone.known else NO_RESOURCES))
        return zone.rollout.target is not before


def _now() -> float:
    return asyncio.get_running_loop().time()
