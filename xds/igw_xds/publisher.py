"""The newest snapshot in, what is served out: whole state first, then coalesced changes.

A cluster that vanished is served for `grace_seconds` more, with its endpoints: a request may have picked
its route before the change and still wait for ext_authz. Only `Publisher` knows the time; the rest is pure.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import MappingProxyType

from igw_xds.snapshot import CLUSTER, EMPTY, ENDPOINTS, Group, Resource, Snapshot, assembled, group

LINGERING_TYPES = (CLUSTER, ENDPOINTS)


@dataclass(frozen=True, slots=True)
class Served:
    """What is served: a snapshot, and when (in the caller's seconds) each vanished resource of it goes."""

    snapshot: Snapshot
    leaving: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """(type URL, name) → deadline."""
    newest: Snapshot | None = field(default=None, repr=False, compare=False)
    """The snapshot without what lingers."""

    @property
    def next_deadline(self) -> float | None:
        """The moment when the next resource goes; None when none is leaving."""
        return min(self.leaving.values(), default=None)


def lingering(previous: Served | None, new: Snapshot, now: float, grace_seconds: float) -> Served:
    """Compose what is served: the new snapshot and what vanished less than `grace_seconds` ago.

    A deadline, once set, stays: later snapshots without the resource do not move it.
    """
    if previous is None:
        return Served(new, newest=new)
    leaving = {
        (type_url, name): deadline
        for type_url in LINGERING_TYPES
        for name in _vanished(previous.snapshot.of(type_url), new.of(type_url))
        if (deadline := previous.leaving.get((type_url, name), now + grace_seconds)) > now
    }
    groups = {type_url: _composed(type_url, previous, new, leaving) for type_url in new.groups}
    return Served(assembled(groups), leaving, new)


def _vanished(previous: Mapping[str, Resource], new: Mapping[str, Resource]) -> AbstractSet[str]:
    return frozenset() if previous is new else previous.keys() - new.keys()


def _composed(
    type_url: str, previous: Served, new: Snapshot, leaving: Mapping[tuple[str, str], float]
) -> Group:
    """Give the group of a type with what lingers, of the previous one's objects: streams compare by identity."""
    last = previous.snapshot.groups.get(type_url, EMPTY)
    kept = {name for leaving_type, name in leaving if leaving_type == type_url}
    if not kept:
        return _shared(last, new.groups[type_url])
    before = {name for leaving_type, name in previous.leaving if leaving_type == type_url}
    if previous.newest is not None and previous.newest.of(type_url) is new.of(type_url) and kept == before:
        return last
    return _shared(last, group([*new.of(type_url).values(), *(last.resources[name] for name in kept)]))


def _shared(previous: Group, new: Group) -> Group:
    if previous.version == new.version:
        return previous
    old = previous.resources.get
    shared = {name: o if (o := old(name)) == r else r for name, r in new.resources.items()}
    return Group(new.version, MappingProxyType(shared))


class Publisher:
    """Holds what is served and tells every watcher; call it from one event loop."""

    def __init__(self, grace_seconds: float = 30.0) -> None:
        self._grace_seconds = grace_seconds
        self._newest: Snapshot | None = None
        self._served: Served | None = None
        self._served_since = 0.0
        self._published = 0
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def newest(self) -> Snapshot | None:
        """The snapshot published last; None before the first."""
        return self._newest

    @property
    def current(self) -> Snapshot | None:
        """What is served: the newest snapshot and what lingers; None before the first."""
        return None if self._served is None else self._served.snapshot

    @property
    def served_since(self) -> float:
        """Say since when, in the loop's seconds, what is served now is."""
        return self._served_since

    @property
    def published(self) -> int:
        """Count the snapshots published so far that were unlike the one before."""
        return self._published

    def publish(self, newest: Snapshot) -> None:
        """Serve a snapshot; one equal to the last changes nothing."""
        if self._newest is not None and self._newest.version == newest.version:
            return
        self._newest = newest
        self._published += 1
        self._compose()

    async def watch(self) -> AsyncIterator[Snapshot]:
        """Give what is served now, then after each change the newest; a slow watcher skips those between."""
        seen: Snapshot | None = None
        while True:
            changed = self._changed
            if self.current is not None and self.current is not seen:
                seen = self.current
                yield seen
            else:
                await changed.wait()

    def close(self) -> None:
        """Drop the timer; what lingers is served until the process ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _compose(self) -> None:
        self.close()
        loop = asyncio.get_running_loop()
        if self._newest is None:
            return
        self._served_since = loop.time()
        self._served = lingering(self._served, self._newest, loop.time(), self._grace_seconds)
        if (deadline := self._served.next_deadline) is not None:
            self._timer = loop.call_at(deadline, self._compose)
        self._changed.set()
        self._changed = asyncio.Event()
