"""One zone whose proxies are plain values: they take what they are given when told, and refuse what is in `bad`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from igw_xds.containment import Name
from igw_xds.rollout import Rollout
from igw_xds.snapshot import TYPES, Resource, Snapshot
from igw_xds.stream import Accepted, Answer, Holds, Lacks, Refuses, Rejected, Standing

from tests.unit.xds_stream.builders import content, world


@dataclass
class Proxy:
    """A follower: what it was given, what it has of that, and what it refused."""

    bad: set[Resource] = field(default_factory=set)
    follows_all: bool = True
    snapshot: Snapshot | None = None
    idle: bool = True
    has: dict[Name, Resource] = field(default_factory=dict)
    refused: dict[Name, Resource] = field(default_factory=dict)
    given: list[Snapshot] = field(default_factory=list)

    def standing(self, type_url: str, name: str) -> Standing:
        """Say what it makes of a resource."""
        has, refused = self.has.get((type_url, name)), self.refused.get((type_url, name))
        if refused is not None:
            return Refuses(refused, "no", has)
        return Lacks() if has is None else Holds(has)

    def has_all(self, type_url: str) -> bool:
        """Say whether it has all of a type."""
        mine = {name: r for (kind, name), r in self.has.items() if kind == type_url}
        return self.snapshot is not None and mine == dict(self.snapshot.of(type_url))

    def take(self, snapshot: Snapshot) -> Iterator[Answer]:
        """Take a snapshot, and answer of each resource alone; it is busy until the last was asked for."""
        self.snapshot, self.idle = snapshot, False
        self.given.append(snapshot)
        for type_url in TYPES:
            kept = {*snapshot.of(type_url), *snapshot.withheld.get(type_url, ())}
            for key in [key for key in self.has if key[0] == type_url and key[1] not in kept]:
                del self.has[key]
        for type_url in TYPES:
            for resource in snapshot.of(type_url).values():
                yield from self._answer(type_url, resource)
        self.idle = True

    def _answer(self, type_url: str, resource: Resource) -> Iterator[Answer]:
        key, names = (type_url, resource.name), frozenset({resource.name})
        if resource in self.bad:
            self.refused[key] = resource
            yield Rejected(type_url, names, "no")
        elif self.has.get(key) != resource or key in self.refused:
            self.has[key] = resource
            self.refused.pop(key, None)
            yield Accepted(type_url, names)


class Zone:
    """A rollout and its proxies by number, at a time that stands still."""

    def __init__(self, **settings: Any) -> None:
        self.rollout = Rollout(**{"grace_seconds": 30.0, "canary_seconds": 5.0, **settings})
        self.proxies: dict[int, Proxy] = {}
        self.now = 100.0

    def publish(self, snapshot: Snapshot) -> None:
        """Define something else."""
        self.rollout.publish(snapshot, self.now)

    def join(self, number: int, proxy: Proxy | None = None) -> Proxy:
        """Connect a proxy, and let it ask for what there is."""
        found = self.proxies[number] = proxy or Proxy()
        self.rollout.join(number, found, self.now)
        self.rollout.hear(number, f"envoy-{number}", None, self.now)
        return found

    def leave(self, number: int) -> None:
        """Let a proxy go."""
        del self.proxies[number]
        self.rollout.leave(number, self.now)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.rollout.tick(self.now)

    def deliver(self, number: int) -> bool:
        """Give a proxy what it is to have, and let it answer; say whether there was anything."""
        proxy, snapshot = self.proxies[number], self.rollout.given_to(number)
        if snapshot is None or snapshot is proxy.snapshot:
            return False
        for answer in proxy.take(snapshot):
            self.rollout.hear(number, f"envoy-{number}", answer, self.now)
            if self.rollout.given_to(number) is not snapshot:
                return True  # the rest of it is not answered before the next is sent
        self.rollout.hear(number, f"envoy-{number}", None, self.now)
        return True

    def settle(self) -> None:
        """Let all take all that there is for them."""
        while [number for number in self.proxies if self.deliver(number)]:
            pass

    def has(self, number: int, type_url: str) -> Mapping[str, str]:
        """Give the content numbers of what a proxy has, by name."""
        return {name: _number(r) for (kind, name), r in self.proxies[number].has.items() if kind == type_url}


def _number(resource: Resource) -> str:
    return next((str(n) for n in range(10) if content(resource.name, n) == resource), "?")


def defined(
    *,
    deployments: Any = (),
    gateways: Any = (),
    needs: Mapping[str, Iterable[str]] = MappingProxyType({}),
    services: Mapping[str, int] = MappingProxyType({}),
    **more: Any,
) -> Snapshot:
    """Give a snapshot of deployments (clusters with endpoints), services (clusters) and gateways (routes).

    Each is named, or a number for its content by name; `needs` has the deployments of a gateway.
    """
    clusters, routes = _named("deployment", deployments), _named("gateway", gateways)
    needed = {f"gateway/{g}": " ".join(f"deployment/{d}" for d in ds) for g, ds in needs.items()}
    endpoints = dict.fromkeys(clusters, 7)  # no other content is 7, so that a cluster alone can be bad
    return world(clusters={**clusters, **services}, endpoints=endpoints, routes=routes, needs=needed, **more)


def _named(kind: str, numbers: Any) -> dict[str, int]:
    found = numbers if isinstance(numbers, Mapping) else dict.fromkeys(numbers, 1)
    return {f"{kind}/{name}": number for name, number in found.items()}


def cluster(name: str, number: int) -> Resource:
    """Give the cluster of a deployment."""
    return content(f"deployment/{name}", number)


def routes(name: str, number: int, *needs: str) -> Resource:
    """Give the routes of a gateway."""
    return content(f"gateway/{name}", number, [f"deployment/{d}" for d in needs])


def names(snapshot: Snapshot | None, type_url: str) -> set[str]:
    """Give the names of a type."""
    return set() if snapshot is None else set(snapshot.of(type_url))
