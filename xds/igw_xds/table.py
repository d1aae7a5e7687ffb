"""An immutable mapping of which a changed copy costs what changed: it shares nearly all with the one before. Pure.

Ten thousand values are a hundred dictionaries of a hundred. A change copies those that it touches, and the list of
them; two tables are compared by the dictionaries that are not the same object.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

V = TypeVar("V")

_ABSENT: Final[Any] = object()
_SMALL: Final = 64
"""So many are still one dictionary, and in the order in which they came."""


class Table(Mapping[str, V], Generic[V]):
    """Values by name; equal tables have equal content, and are compared by identity wherever that is enough."""

    __slots__ = ("_parts", "_size")

    def __init__(self, content: Mapping[str, V] = MappingProxyType({})) -> None:
        """Take over content; it is copied."""
        self._size = len(content)
        self._parts = _parted(content.items(), _count(self._size))

    def changed(self, put: Mapping[str, V], drop: Iterable[str] = ()) -> "Table[V]":
        """Give this one with some values put and then some names dropped; the same object when that is no change.

        What is put and equals what is there leaves that object there.
        """
        parts, mask, size, copied = list(self._parts), len(self._parts) - 1, self._size, set[int]()
        for name, value in chain(put.items(), ((name, _ABSENT) for name in drop)):
            at = hash(name) & mask
            was = parts[at].get(name, _ABSENT)
            if was is value or (was is not _ABSENT and was == value):
                continue
            if at not in copied:
                copied.add(at)
                parts[at] = parts[at].copy()
            size += (was is _ABSENT) - (value is _ABSENT)
            if value is _ABSENT:
                del parts[at][name]
            else:
                parts[at][name] = value
        return _table(parts, size) if copied else self

    def differing(self, other: "Table[V]") -> Collection[str]:
        """Give the names that are in one alone, or whose values differ."""
        mine, theirs = self._parts, other._parts  # noqa: SLF001 - its own kind
        if len(mine) != len(theirs):
            mine, theirs = _parted(self._items(), 1), _parted(other._items(), 1)  # noqa: SLF001
        pairs = ((here, there) for here, there in zip(mine, theirs, strict=True) if here is not there)
        return frozenset(chain.from_iterable(_differing(here, there) for here, there in pairs))

    def __getitem__(self, name: str) -> V:
        """Give a value. Raises KeyError."""
        return self._parts[hash(name) & len(self._parts) - 1][name]

    def get(self, name: str, default: Any = None) -> Any:
        """Give a value, or the default."""
        return self._parts[hash(name) & len(self._parts) - 1].get(name, default)

    def __contains__(self, name: object) -> bool:
        """Say whether there is a value."""
        return name in self._parts[hash(name) & len(self._parts) - 1]

    def __iter__(self) -> Iterator[str]:
        """Give the names, in no order that is the same in another process."""
        return chain.from_iterable(self._parts)

    def __len__(self) -> int:
        """Count them."""
        return self._size

    def _items(self) -> Iterable[tuple[str, V]]:
        return chain.from_iterable(part.items() for part in self._parts)


def _table(parts: list[dict[str, V]], size: int) -> Table[V]:
    """Give a table of these parts, or of more or fewer when that is due."""
    count = _count(size)
    if count > len(parts) or 4 * count <= len(parts):
        parts = _parted(chain.from_iterable(part.items() for part in parts), count)
    made: Table[V] = Table.__new__(Table)
    made._parts, made._size = parts, size  # noqa: SLF001
    return made


def _count(size: int) -> int:
    """Give about as many parts as there are values in each: a power of two."""
    return 1 if size <= _SMALL else 1 << size.bit_length() // 2


def _parted(items: Iterable[tuple[str, V]], count: int) -> list[dict[str, V]]:
    if count == 1:
        return [dict(items)]
    parts: list[dict[str, V]] = [{} for _ in range(count)]
    for name, value in items:
        parts[hash(name) & count - 1][name] = value
    return parts


def _differing(here: Mapping[str, V], there: Mapping[str, V]) -> Iterator[str]:
    for name in here.keys() | there.keys():
        mine, theirs = here.get(name, _ABSENT), there.get(name, _ABSENT)
        if mine is not theirs and (mine is _ABSENT or theirs is _ABSENT or mine != theirs):
            yield name
