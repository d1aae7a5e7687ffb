"""A zone's target: what is defined, what vanished and lingers, and for what was refused what was good before it. Pure.

`held` are the routes that go back with a refused cluster, `composed` is the target. What was refused, what lingers
and when that changes is the rollout's to know (decision 0011).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from igw_xds.snapshot import CLUSTER, ENDPOINTS, ROUTES, Resource, Snapshot, closure

Name = tuple[str, str]
"""Type URL and name of a resource."""
Instead = Mapping[Name, Resource | None]
"""What is served instead of what is defined; None: nothing, and who has it keeps it."""
LINGERING = (CLUSTER, ENDPOINTS)
"""Types of which what vanished is served for a while more: a request may have picked its route before the change, and
still wait for ext_authz."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A resource that is held back in the zone: what a proxy refused, why, who and when, and what is served instead."""

    resource: Resource
    text: str
    proxy: str
    at: float
    kept: Resource | None


@dataclass(frozen=True, slots=True)
class Before:
    """What there is to go back to: the target so far, and what all are given."""

    target: Snapshot
    served: Snapshot | None
    unproven: Instead
    """What of the target no proxy has accepted yet, and what was accepted before it."""

    def good(self, key: Name, bad: Collection[Resource | None]) -> Resource | None:
        """Give what a proxy accepted last, else what all are given; None where both are bad."""
        return self.unproven.get(key) or (None if (served := of(self.served, key)) in bad else served)

    def needed(self) -> frozenset[str]:
        """Give the clusters that are needed if what is not proven goes back."""
        return closure(_named(self.unproven.values()), self.target.of(CLUSTER))


def lost(instead: Instead) -> frozenset[str]:
    """Give the clusters that were refused and that nobody has."""
    return frozenset(
        name for (type_url, name), kept in instead.items() if type_url == CLUSTER and kept is None
    )


def held(newest: Snapshot, before: Before, instead: Instead, already: Instead) -> dict[Name, Resource | None]:
    """Give the routes that would lead to a lost cluster, and what is kept of each; `already` are those until now.

    What is proven leads to none.
    """
    gone = lost(instead)
    if not gone:
        return {}
    clusters, routes, old_routes = newest.of(CLUSTER), newest.of(ROUTES), before.target.of(ROUTES)
    unproven = [name for type_url, name in before.unproven if type_url == ROUTES]
    found: dict[Name, Resource | None] = {}
    for name in {*old_routes.differing(routes), *unproven}:
        key, old, new = (ROUTES, name), old_routes.get(name), routes.get(name)
        if key in instead or not _leads_to(gone, new, clusters):
            continue
        bad = {r for r in (old, of(before.served, key)) if _leads_to(gone, r, clusters)}
        kept = before.good(key, bad) if old is None or old in bad else old
        found[key] = already.get(key, kept)
    return found


def composed(newest: Snapshot, target: Snapshot, instead: Instead) -> Snapshot:
    """Give the target after `target`; that very one when it is no other."""
    instead = {**instead, **{(ENDPOINTS, name): None for name in lost(instead)}}
    put, drop = defaultdict[str, list[Resource]](list), defaultdict[str, list[str]](list)
    for (type_url, name), kept in instead.items():
        if kept is None:
            drop[type_url].append(name)
        else:
            put[type_url].append(kept)
    for type_url, resource in _needed(instead.values(), target, newest):
        put[type_url].append(resource)
    made = newest.changed(put, drop, {type_url: frozenset(names) for type_url, names in drop.items()})
    same = made.version == target.version and made.withheld == target.withheld
    return target if same else made


def of(snapshot: Snapshot | None, key: Name) -> Resource | None:
    """Give a resource of a snapshot, if there is one."""
    return None if snapshot is None else snapshot.of(key[0]).get(key[1])


def _needed(
    kept: Iterable[Resource | None], target: Snapshot, newest: Snapshot
) -> Iterator[tuple[str, Resource]]:
    """Give the clusters that what is kept leads to and that are defined no more, with their endpoints."""
    had, defined = target.of(CLUSTER), newest.of(CLUSTER)
    missing = [name for name in closure(_named(kept), had) if name not in defined]
    for type_url, name in product(LINGERING, missing):
        if (resource := target.of(type_url).get(name)) is not None:
            yield type_url, resource


def _named(resources: Iterable[Resource | None]) -> list[str]:
    return [name for resource in resources if resource is not None for name in resource.needs or ()]


def _leads_to(gone: frozenset[str], routes: Resource | None, clusters: Mapping[str, Resource]) -> bool:
    return routes is not None and not gone.isdisjoint(closure(routes.needs or (), clusters))
