"""A zone of model Envoys on real streams: what they are sent comes from a rollout, and they answer when told.

Content is a number; what routes need follows from it, and `BAD` is refused for ever by each strict Envoy.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from igw_xds.containment import Name
from igw_xds.rollout import Rollout
from igw_xds.snapshot import CLUSTER, ENDPOINTS, ROUTES, SCOPE, TYPES, Snapshot
from igw_xds.stream import Accepted, Rejected

from tests.unit.xds_stream.builders import content, world
from tests.unit.xds_stream.envoy_model import ModelEnvoy, contents

CLUSTERS, GATEWAYS = "pqr", "abc"
NEEDS = ("p", "q", "pq", "r", "pr", "p", "q", "pq")
"""The clusters of routes by number of their content, less one."""
BAD_ROUTES, BAD = (7, 8), 4
"""Routes and all else of these numbers cannot be accepted."""


def _versions(type_url: str) -> Mapping[tuple[str, str], int]:
    names = CLUSTERS if type_url in {CLUSTER, ENDPOINTS} else GATEWAYS
    return {(name, content(name, number).version): number for name in names for number in range(1, 9)}


NUMBER = {type_url: _versions(type_url) for type_url in (CLUSTER, ENDPOINTS, SCOPE, ROUTES)}
"""The number of a content, by type URL, name and version."""


def is_bad(type_url: str, name: str, version: str) -> bool:
    """Say whether a strict Envoy refuses a content."""
    number = NUMBER.get(type_url, {}).get((name, version))
    return number in BAD_ROUTES if type_url == ROUTES else number == BAD


def needed(name: str, version: str) -> set[str]:
    """Give the clusters that routes of a version need."""
    return set(NEEDS[NUMBER[ROUTES][name, version] - 1])


def zone(clusters: Mapping[str, tuple[int, int]], gateways: Mapping[str, tuple[int, int]]) -> Snapshot:
    """Give a snapshot: clusters and endpoints, scopes and routes by number; routes only where their clusters are."""
    served = {name: g for name, g in gateways.items() if clusters.keys() >= set(NEEDS[g[1] - 1])}
    return world(
        clusters={name: numbers[0] for name, numbers in clusters.items()},
        endpoints={name: numbers[1] for name, numbers in clusters.items()},
        listeners=["l"],
        scopes={name: numbers[0] for name, numbers in served.items()},
        routes={name: numbers[1] for name, numbers in served.items()},
        needs={name: " ".join(NEEDS[numbers[1] - 1]) for name, numbers in served.items()},
    )


@dataclass(eq=False)
class Proxy:
    """An Envoy, what it was ever sent that is bad, and what went wrong."""

    envoy: ModelEnvoy
    strict: bool = True
    number: int | None = None
    """Of its stream; None while it is not connected."""
    bad: set[tuple[Name, str]] = field(default_factory=set)
    wrong: list[Any] = field(default_factory=list)

    def answer(self, always: Mapping[str, AbstractSet[str]]) -> None:
        """Answer the oldest response, and see that it breaks and takes nothing that is to be had."""
        if not self.envoy.inbox:
            return
        response, before = self.envoy.inbox[0], {t: set(has) for t, has in self.envoy.has.items()}
        refused = self.strict and any(is_bad(response.type_url, *item) for item in contents(response))
        worked = {} if refused else self._working()
        self.envoy.answer(refuse=refused)
        broken = {name for name in worked if name in self.envoy.has[ROUTES]} - self._working().keys()
        if broken:
            self.wrong.append(("routes without their clusters", broken))
        for type_url, names in before.items():
            if lost := (names & always[type_url]) - self.envoy.has[type_url].keys():
                self.wrong.append(("lost what is defined", type_url, lost))

    def _working(self) -> Mapping[str, str]:
        has = self.envoy.has
        routes = {name: version for name, version in has[ROUTES].items() if (name, version) in NUMBER[ROUTES]}
        return {
            name: version for name, version in routes.items() if needed(name, version) <= has[CLUSTER].keys()
        }


class Fleet:
    """The rollout of a zone, and its proxies."""

    def __init__(self, transports: Sequence[str], strict: Sequence[bool]) -> None:
        self.proxies = [Proxy(ModelEnvoy(t), s) for t, s in zip(transports, strict, strict=True)]
        self.now, self.published = 100.0, list[Snapshot]()
        self._always: dict[str, AbstractSet[str]] = {}
        """Names that were in all that was published."""
        self.rollout = self._begun()
        self._numbers = 0

    def _begun(self) -> Rollout:
        return Rollout(containable=lambda name: name != "l")

    def publish(
        self, clusters: Mapping[str, tuple[int, int]], gateways: Mapping[str, tuple[int, int]]
    ) -> None:
        """Define something else."""
        snapshot = zone(clusters, gateways)
        self.published.append(snapshot)
        for type_url in TYPES:
            names = set(snapshot.of(type_url))
            self._always[type_url] = self._always.get(type_url, names) & names
        self.rollout.publish(snapshot, self.now)
        self._give()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.rollout.tick(self.now)
        self._give()

    def join(self, at: int, back: int = 0) -> None:
        """Connect a proxy, with what it has of before; what it may have is said to be an older snapshot."""
        proxy = self.proxies[at]
        if proxy.number is not None:
            return
        self._numbers += 1
        proxy.number = self._numbers
        proxy.envoy.began(self.published[-1 - back % len(self.published)])
        self.rollout.join(proxy.number, proxy.envoy.stream, self.now)
        proxy.envoy.heard = lambda: self._hear(proxy)
        proxy.envoy.ask_for_all()

    def leave(self, at: int) -> None:
        """Cut a proxy's stream."""
        proxy = self.proxies[at]
        if proxy.number is not None:
            proxy.envoy.heard = lambda: None
            number, proxy.number = proxy.number, None
            proxy.envoy.inbox.clear()
            self.rollout.leave(number, self.now)
            self._give()

    def restart(self) -> None:
        """Go on with a control plane that knows nothing of before; all proxies have to come back."""
        for at in range(len(self.proxies)):
            self.leave(at)
        self.rollout = self._begun()
        self.rollout.publish(self.published[-1], self.now)

    def answer(self, at: int) -> None:
        """Let a proxy answer its oldest response."""
        if self.proxies[at].number is not None:
            self.proxies[at].answer(self._always)

    def settle(self, *seconds: float) -> None:
        """Let all answer all, and then so much time pass, each time."""
        self._answer_all()
        for more in seconds:
            self.wait(more)
            self._answer_all()

    def _answer_all(self) -> None:
        for _ in range(5000):
            busy = [proxy for proxy in self.proxies if proxy.number is not None and proxy.envoy.inbox]
            for proxy in busy:
                proxy.answer(self._always)
            if not busy and not self._time_out():
                return
        raise AssertionError("it never ends")

    def _time_out(self) -> bool:
        """Let Envoys that wait for endpoints stop it; say whether one had something to say then."""
        for proxy in self.proxies:
            if proxy.number is not None:
                proxy.envoy.time_out()
        return any(proxy.number is not None and proxy.envoy.inbox for proxy in self.proxies)

    def _hear(self, proxy: Proxy) -> None:
        assert proxy.number is not None
        answer = proxy.envoy.stream.answer
        assert answer is None or isinstance(answer, Accepted | Rejected)
        self.rollout.hear(proxy.number, f"envoy-{proxy.number}", answer, self.now)
        self._look(proxy)
        self._give()

    def _give(self) -> None:
        """Give all what they are to have, as `Distribution` does."""
        for proxy in self.proxies:
            if proxy.number is None:
                continue
            snapshot = self.rollout.given_to(proxy.number)
            if snapshot is not None and snapshot is not proxy.envoy.stream.snapshot:
                proxy.envoy.publish(snapshot)
                self._look(proxy)
                self.rollout.hear(proxy.number, f"envoy-{proxy.number}", None, self.now)
                self._give()
                return

    def _look(self, proxy: Proxy) -> None:
        """Note what a proxy was sent that is bad, and what it was sent again."""
        for response in proxy.envoy.inbox:
            for name, version in contents(response):
                if is_bad(response.type_url, name, version):
                    proxy.bad.add(((response.type_url, name), version))
        if proxy.envoy.repeats:
            proxy.wrong.append(("sent again", proxy.envoy.repeats))
            proxy.envoy.repeats = []


def versions(snapshot: Snapshot) -> dict[str, dict[str, str]]:
    """Give the versions of all resources by type URL and name."""
    return {t: {name: r.version for name, r in snapshot.of(t).items()} for t in TYPES}
