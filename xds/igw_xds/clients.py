"""What the proxies of one zone make of resources, for what is said of objects: those in step count as one. Pure."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from igw_xds.observation import Client
from igw_xds.rollout import Rollout
from igw_xds.snapshot import NO_RESOURCES
from igw_xds.stream import Holds, Lacks, Refuses, Standing, Stream
from igw_xds.stream.track import kept

Standings = Callable[[str, str], Standing]
"""What one makes of a resource, by type URL and name."""


def in_step(stream: Stream[Any, Any], rollout: Rollout) -> bool:
    """Say whether a proxy has all that is served, and accepted it."""
    return stream.snapshot is rollout.served and stream.synced


def clients(streams: Mapping[str, Stream[Any, Any]], rollout: Rollout) -> Iterator[Client]:
    """Give each proxy once, by id, and those in step as one, for they have the same."""
    others = {name: stream for name, stream in streams.items() if not in_step(stream, rollout)}
    contains = bool(rollout.refused)
    for name, stream in sorted(others.items()):
        yield Client(name, _contained(stream.standing, rollout), refusing=contains or stream.refusing)
    if together := len(streams) - len(others):
        yield Client("", _contained(_served(rollout), rollout), together, contains)


def _served(rollout: Rollout) -> Standings:
    served = rollout.served or NO_RESOURCES

    def found(type_url: str, name: str) -> Standing:
        resource = served.of(type_url).get(name)
        return Lacks() if resource is None else Holds(resource)

    return found


def _contained(standing: Standings, rollout: Rollout) -> Standings:
    """Say of what was refused by one that all refuse it: nobody is given it."""
    if not rollout.refused:
        return standing

    def found(type_url: str, name: str) -> Standing:
        refused = rollout.refused.get((type_url, name))
        stands = standing(type_url, name)
        return (
            stands
            if refused is None
            else Refuses(refused.resource, refused.text, kept(stands), refused.proxy)
        )

    return found
