"""What a rollout asks of a proxy's stream, and what it concludes from the answers. Pure."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Protocol, assert_never

from igw_xds.snapshot import TYPES, Snapshot
from igw_xds.stream import Holds, Lacks, Refuses, Standing


class Follower(Protocol):
    """A proxy's stream."""

    @property
    def snapshot(self) -> Snapshot | None:
        """Give what it was given last."""

    @property
    def idle(self) -> bool:
        """Say whether all that could be sent was sent and answered."""

    @property
    def follows_all(self) -> bool:
        """Say whether it asks for all there is, as an Envoy does."""

    def standing(self, type_url: str, name: str) -> Standing:
        """Say what its proxy makes of a resource."""

    def has_all(self, type_url: str) -> bool:
        """Say whether its proxy accepted every resource of a type in its snapshot; false when that takes a look."""


def has_everything(follower: Follower, snapshot: Snapshot | None) -> bool:
    """Say whether a proxy has accepted all of a snapshot, in constant time; false when that takes a look."""
    return follower.snapshot is snapshot is not None and all(map(follower.has_all, TYPES))


def is_decided(follower: Follower, staged: Snapshot, new: Mapping[str, AbstractSet[str]]) -> bool:
    """Say whether a proxy has answered all that is new in what it was given, by type URL and name."""
    if follower.snapshot is not staged or not follower.idle:
        return False
    return all(
        follower.has_all(type_url) or all(_is_decided(follower, staged, type_url, name) for name in names)
        for type_url, names in new.items()
    )


def _is_decided(follower: Follower, staged: Snapshot, type_url: str, name: str) -> bool:
    match follower.standing(type_url, name):
        case Holds(resource) | Refuses(resource):  # what is still refused is the proxy's own affair
            return bool(resource == staged.of(type_url).get(name))
        case Lacks():
            return False
        case other:
            assert_never(other)
