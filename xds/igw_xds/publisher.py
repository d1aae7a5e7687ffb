"""The newest snapshot in, what is served out: whole state first, then coalesced changes.

A cluster that vanished is served for `grace_seconds` more, with its endpoints: a request may have picked
its route before the change and still wait for ext_authz. Only `Publisher` knows the time; the rest is pure.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from igw_xds.snapshot import CLUSTER, ENDPOINTS, Resource, Snapshot, snapshot

LINGERING_TYPES = (CLUSTER, ENDPOINTS)


@dataclass(frozen=True, slots=True)
class Served:
    """What is served: a snapshot, and when (in the caller's seconds) each vanished resource of it goes."""

    snapshot: Snapshot
    leaving: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """(type URL, name) → deadline."""

    @property
    def next_deadline(self) -> float | None:
        """The moment when the next resource goes; None when none is leaving."""
        return min(self.leaving.values(), default=None)


def lingering(previous: Served | None, new: Snapshot, now: float, grace_seconds: float) -> Served:
    """Compose what is served: the new snapshot and what vanished less than `grace_seconds` ago.

    A deadline, once set, stays: later snapshots without the resource do not move it.
    """
    if previous is None:
        return Served(new)
    leaving = {
        (type_url, name): deadline
        for type_url in LINGERING_TYPES
        for name in previous.snapshot.of(type_url).keys() - new.of(type_url).keys()
        if (deadline := previous.leaving.get((type_url, name), now + grace_seconds)) > now
    }
    kept: dict[str, list[Resource]] = {
        type_url: list(group.values()) for type_url, group in new.resources.items()
    }
    for type_url, name in leaving:
        kept.setdefault(type_url, []).append(previous.snapshot.of(type_url)[name])
    served = snapshot(kept) if leaving else new
    return Served(_sharing(previous.snapshot, served), leaving)


def _sharing(previous: Snapshot, new: Snapshot) -> Snapshot:
    """Make the new snapshot of the previous one's objects where equal: streams then compare by identity."""
    return Snapshot(
        new.version,
        MappingProxyType(
            {
                type_url: _shared_group(previous.of(type_url), group)
                for type_url, group in new.resources.items()
            }
        ),
    )


def _shared_group(previous: Mapping[str, Resource], new: Mapping[str, Resource]) -> Mapping[str, Resource]:
    if previous == new:
        return previous
    return MappingProxyType(
        {name: old if (old := previous.get(name)) == resource else resource for name, resource in new.items()}
    )


class Publisher:
    """Holds what is served and tells every watcher; call it from one event loop."""

    def __init__(self, grace_seconds: float = 30.0) -> None:
        self._grace_seconds = grace_seconds
        self._newest: Snapshot | None = None
        self._served: Served | None = None
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

    def publish(self, newest: Snapshot) -> None:
        """Serve a snapshot; one equal to the last changes nothing."""
        if self._newest is not None and self._newest.version == newest.version:
            return
        self._newest = newest
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
        self._served = lingering(self._served, self._newest, loop.time(), self._grace_seconds)
        if (deadline := self._served.next_deadline) is not None:
            self._timer = loop.call_at(deadline, self._compose)
        self._changed.set()
        self._changed = asyncio.Event()
