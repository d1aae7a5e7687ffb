"""What a client wants of one resource type: some names, all of them, or both.

Rules: xDS protocol, "How the client specifies what resources to return".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from igw_xds.snapshot import CLUSTER, LISTENER, SCOPE, Resource

WILDCARD = "*"

ROOTS = frozenset({CLUSTER, LISTENER, SCOPE})
"""Types that Envoy asks for whole, with no names. For others a request without names asks for nothing: an
Envoy whose last cluster went asks for no endpoints, and must not get all."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Names and wildcard of one type; `explicit` once names were given, for then no names means nothing."""

    names: frozenset[str] = frozenset()
    wildcard: bool = False
    explicit: bool = False

    @property
    def active(self) -> bool:
        """Say whether anything is asked for."""
        return self.wildcard or bool(self.names)

    def covers(self, name: str) -> bool:
        """Say whether a resource of this name is asked for."""
        return self.wildcard or name in self.names

    def select(self, resources: Mapping[str, Resource]) -> Mapping[str, Resource]:
        """Give those of the resources that are asked for."""
        if self.wildcard:
            return resources
        return {name: resources[name] for name in self.names if name in resources}

    def replaced(self, type_url: str, names: Iterable[str]) -> "Subscription":
        """Give the subscription that a state-of-the-world request states in full."""
        wanted = frozenset(names)
        if not wanted and not self.explicit:
            return Subscription(wildcard=type_url in ROOTS)
        return Subscription(wanted - {WILDCARD}, WILDCARD in wanted, explicit=True)

    def moved(self, subscribe: Iterable[str], unsubscribe: Iterable[str]) -> "Subscription":
        """Give the subscription after an incremental request; unknown names to unsubscribe are ignored."""
        added, dropped = frozenset(subscribe), frozenset(unsubscribe)
        return Subscription(
            (self.names | added) - dropped - {WILDCARD},
            (self.wildcard or WILDCARD in added) and WILDCARD not in dropped,
            explicit=self.explicit or bool(added),
        )
