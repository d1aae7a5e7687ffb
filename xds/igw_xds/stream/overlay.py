"""What one client has, or asked for, as little more than how that differs from what is served. Pure.

A thousand clients in step hold one and the same base, a type's resources in a snapshot, and nothing of their own; a
change is compared once, and each looks at what changed alone.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import TypeVar

from igw_xds.snapshot import NOTHING, Resource
from igw_xds.table import Table

Base = Table[Resource]
"""Resources by name that nobody changes any more; compared by identity."""
Wanted = Mapping[str, Resource]
"""What of it a client is to have."""

DIFFERENCES = 32
"""Of two bases, that are remembered: of each type the last few, for clients that are behind."""
VERSIONS = 10
"""Bases whose versions are remembered, for clients that come back: two of each type, each as long as the base."""


class Differences:
    """What clients in step have in common: where two bases differ, and a base's versions, each found once."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, int], tuple[Base, Base, Collection[str]]] = OrderedDict()
        self._versions: OrderedDict[int, tuple[Base, Mapping[str, str]]] = OrderedDict()

    def between(self, old: Base, new: Base) -> Collection[str]:
        """Give the names that are in one alone, or whose resources differ."""
        key = (id(old), id(new))
        if (known := self._known.get(key)) is not None:
            return known[2]  # both are kept beside it, so their ids are theirs
        found = old.differing(new)
        _remember(self._known, key, (old, new, found), DIFFERENCES)
        return found

    def versions(self, base: Base) -> Mapping[str, str]:
        """Give the version of each resource by name."""
        if (known := self._versions.get(id(base))) is not None:
            return known[1]
        found = {name: resource.version for name, resource in base.items()}
        _remember(self._versions, id(base), (base, found), VERSIONS)
        return found


K = TypeVar("K")
V = TypeVar("V")


def _remember(memory: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    memory[key] = value
    if len(memory) > most:
        memory.popitem(last=False)


class Overlay(MutableMapping[str, Resource]):
    """Resources by name: a base, and what differs from it (None: what is not here)."""

    __slots__ = ("_base", "_own")

    def __init__(self) -> None:
        """Begin with nothing."""
        self._base = NOTHING
        self._own: dict[str, Resource | None] = {}

    def __getitem__(self, name: str) -> Resource:
        """Give a resource. Raises KeyError."""
        if name not in self._own:
            return self._base[name]
        if (own := self._own[name]) is None:
            raise KeyError(name)
        return own

    def __contains__(self, name: object) -> bool:
        """Say whether there is one."""
        return self._own[name] is not None if name in self._own else name in self._base

    def __setitem__(self, name: str, resource: Resource) -> None:
        """Put one."""
        if self._base.get(name) == resource:
            self._own.pop(name, None)
        else:
            self._own[name] = resource

    def __delitem__(self, name: str) -> None:
        """Take one away. Raises KeyError."""
        if name not in self:
            raise KeyError(name)
        if name in self._base:
            self._own[name] = None
        else:
            del self._own[name]

    def __iter__(self) -> Iterator[str]:
        """Give the names, in no order."""
        yield from (name for name, own in self._own.items() if own is not None)
        yield from (name for name in self._base if name not in self._own)

    def __len__(self) -> int:
        """Count them."""
        own = sum((own is not None) - (name in self._base) for name, own in self._own.items())
        return len(self._base) + own

    def claim(self, versions: Mapping[str, str], base: Base, known: Mapping[str, str]) -> None:
        """Have what a returning client says it has; of content that is not the base's only the version is known."""
        self._base, self._own = base, {}
        if versions != known:
            for name, version in versions.items() - known.items():
                self._own[name] = Resource(name, version, needs=None)
            self._own.update(dict.fromkeys(known.keys() - versions.keys()))
            self._lean()

    def copy(self) -> "Overlay":
        """Give another one of the same content."""
        made = Overlay()
        made._base, made._own = self._base, dict(self._own)
        return made

    def clear(self) -> None:
        """Have nothing."""
        self._base = NOTHING
        self._own = {}

    def move(self, base: Base, differences: Differences) -> None:
        """Keep the content, on another base, if that is the shorter way to say it."""
        if base is self._base or (not self._base and 2 * len(self._own) < len(base)):
            return
        old, own = self._base, self._own
        for name in differences.between(old, base):
            if name not in own:
                own[name] = old.get(name)
        self._base = base
        self._own = {name: resource for name, resource in own.items() if resource != base.get(name)}
        self._lean()

    def _lean(self) -> None:
        """Do without a base that says little."""
        if 4 * len(self._own) > 3 * len(self._base):
            self._base, self._own = NOTHING, dict(self)

    def differing(self, base: Base) -> Collection[str] | None:
        """Give the names whose content here is not the base's; None when that is not known without a look at all."""
        return self._own.keys() if base is self._base else None


@dataclass(frozen=True, slots=True)
class Names:
    """Names: those of a base, and those that are in or out beside it. Immutable; every change makes another."""

    base: Base = field(default_factory=lambda: NOTHING)
    own: Mapping[str, bool] = field(default_factory=dict)

    def is_base(self, base: Base) -> bool:
        """Say whether they are just those of a base, and said so."""
        return self.base is base and not self.own

    def __contains__(self, name: object) -> bool:
        """Say whether a name is among them."""
        known = self.own.get(name)  # type: ignore[call-overload]
        return name in self.base if known is None else bool(known)

    def __iter__(self) -> Iterator[str]:
        """Give them, in no order."""
        yield from (name for name, present in self.own.items() if present)
        yield from (name for name in self.base if name not in self.own)

    def __bool__(self) -> bool:
        """Say whether there is any."""
        return len(self.own) < len(self.base) or any(True for _ in self)

    def changed(self, added: Iterable[str], dropped: Iterable[str]) -> "Names":
        """Give these with some more, and then without some."""
        own = dict(self.own)
        for names, present in ((added, True), (dropped, False)):
            for name in names:
                if (name in self.base) == present:
                    own.pop(name, None)
                else:
                    own[name] = present
        return Names(self.base, own)

    def moved(self, base: Base, differences: Differences) -> "Names":
        """Give the same names on another base, if that is the shorter way to say it."""
        if base is self.base or (not self.base and 2 * len(self.own) < len(base)):
            return self
        own = dict(self.own)
        for name in differences.between(self.base, base):
            own.setdefault(name, name in self.base)
        own = {name: present for name, present in own.items() if present != (name in base)}
        return names(self) if 4 * len(own) > 3 * len(base) else Names(base, own)


def names(of: Iterable[str]) -> Names:
    """Give a set of names as it was listed."""
    return Names(NOTHING, dict.fromkeys(of, True))


def names_like(of: Collection[str], base: Base, differences: Differences) -> Names:
    """Give a set of names; one that is just a base's is not listed."""
    return Names(base) if len(of) == len(base) and of == differences.versions(base).keys() else names(of)
