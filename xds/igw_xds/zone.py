"""What one zone is served, as it changes: resources that came and went in, its next snapshot out. Pure.

A resource may have several owners, as a cluster that the splits of two gateways share: it stays until the last one
goes. Owners are counted only where there are more than one.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from igw_xds.snapshot import EMPTY, Group, Resource, Snapshot, assembled
from igw_xds.table import Table


@dataclass(slots=True)
class Edit:
    """Resources of one type that came, and the names of those that went; one that an owner changed is in both."""

    put: list[Resource] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Zone:
    """The snapshot of a zone, and by type URL and name how many own what more than one does."""

    snapshot: Snapshot
    shared: Mapping[str, Table[int]] = field(default_factory=dict)

    def edited(self, edits: Mapping[str, Edit]) -> "Zone":
        """Give the zone after edits by type URL; the same objects for what is the same, the snapshot among them."""
        groups, shared = dict(self.snapshot.groups), dict(self.shared)
        for type_url, edit in edits.items():
            groups[type_url], shared[type_url] = _edited(
                groups.get(type_url, EMPTY), shared.get(type_url, NONE_SHARED), edit
            )
        same = all(new is self.snapshot.groups.get(type_url) for type_url, new in groups.items())
        return Zone(self.snapshot if same else assembled(groups), shared)


NONE_SHARED: Table[int] = Table()


def _edited(group: Group, shared: Table[int], edit: Edit) -> tuple[Group, Table[int]]:
    owners = _owners(group, shared, edit.put, edit.drop)
    return (
        group.changed(edit.put, [name for name, count in owners.items() if not count]),
        shared.changed(
            {name: count for name, count in owners.items() if count > 1},
            [name for name, count in owners.items() if count <= 1],
        ),
    )


def _owners(
    group: Group, shared: Table[int], put: Sequence[Resource], drop: Sequence[str]
) -> Mapping[str, int]:
    """Count the owners of all that was touched: all that went is taken off before what came is added."""
    more = Counter(r.name for r in put)
    more.subtract(drop)
    has = group.resources
    return {name: shared.get(name, int(name in has)) + change for name, change in more.items()}
