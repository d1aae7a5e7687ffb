"""What a client wants of one resource type: some names, all of them, or both.

Rules: xDS protocol, "How the client specifies what resources to return".
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from igw_xds.snapshot import CLUSTER, LISTENER, SCOPE, Resource
from igw_xds.stream.overlay import Base, Differences, Names, Wanted, names, names_like

WILDCARD = "*"

ROOTS = frozenset({CLUSTER, LISTENER, SCOPE})
"""Types that Envoy asks for whole, with no names. For others a request without names asks for nothing: an
Envoy whose last cluster went asks for no endpoints, and must not get all."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Names and wildcard of one type; `explicit` once names were given, for then no names means nothing."""

    names: Names = field(default_factory=Names)
    wildcard: bool = False
    explicit: bool = False

    @property
    def active(self) -> bool:
        """Say whether anything is asked for."""
        return self.wildcard or bool(self.names)

    def covers(self, name: str) -> bool:
        """Say whether a resource of this name is asked for."""
        return self.wildcard or name in self.names

    def select(self, resources: Base) -> Wanted:
        """Give those of the resources that are asked for, as a view."""
        return resources if self.wildcard else Selected(resources, self.names)

    def replaced(self, type_url: str, listed: Iterable[str]) -> "Subscription":
        """Give the subscription that a state-of-the-world request states in full."""
        wanted = frozenset(listed)
        if not wanted and not self.explicit:
            return Subscription(wildcard=type_url in ROOTS)
        return Subscription(names(wanted - {WILDCARD}), WILDCARD in wanted, explicit=True)

    @classmethod
    def begun(
        cls, subscribe: set[str], unsubscribe: set[str], base: Base, differences: Differences
    ) -> "Subscription":
        """Give what a first incremental request asks for; `base` has the names that it probably lists."""
        listed = subscribe - unsubscribe - {WILDCARD}
        wildcard = WILDCARD in subscribe and WILDCARD not in unsubscribe
        return cls(names_like(listed, base, differences), wildcard, explicit=bool(subscribe))

    def moved(self, subscribe: Collection[str], unsubscribe: Collection[str]) -> "Subscription":
        """Give the subscription after an incremental request; unknown names to unsubscribe are ignored."""
        return Subscription(
            self.names.changed(subscribe, [*unsubscribe, WILDCARD]),
            (self.wildcard or WILDCARD in subscribe) and WILDCARD not in unsubscribe,
            explicit=self.explicit or bool(subscribe),
        )

    def on(self, base: Base, differences: Differences) -> "Subscription":
        """Give the same, said by how it differs from what is served."""
        found = self.names.moved(base, differences)
        return self if found is self.names else replace(self, names=found)


@dataclass(frozen=True, slots=True, eq=False)
class Selected(Mapping[str, Resource]):
    """Those of the resources that have one of the names."""

    resources: Base
    names: Names

    def __getitem__(self, name: str) -> Resource:
        """Give a resource. Raises KeyError."""
        if name not in self.names:
            raise KeyError(name)
        return self.resources[name]

    def __contains__(self, name: object) -> bool:
        """Say whether there is one."""
        return name in self.names and name in self.resources

    def __iter__(self) -> Iterator[str]:
        """Give the names."""
        return (name for name in self.names if name in self.resources)

    def __len__(self) -> int:
        """Count them."""
        return sum(1 for _ in self)
