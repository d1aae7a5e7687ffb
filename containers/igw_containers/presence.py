"""Which containers are there to serve: listings and happenings in, the present ones out. No I/O, no clock.

A listing is the truth, but of a moment that is past when it arrives: it says nothing about a container to which
something happened since it was asked for. And the engine lists as running one that was told to stop, and for a while
one that has ended or is paused already: that is known from the happenings alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from igw_containers.container import Container, Happening, What

Moment = int
"""How many happenings were heard of before."""


@dataclass(frozen=True, slots=True)
class _Absence:
    """Why a container does not count, whatever earlier listings say."""

    since: Moment
    why: Literal["stopping", "paused", "unlisted"]
    """Who stops or is paused does not count in later listings either, until the contrary is heard of."""

    def outlasts(self, asked: Moment, listed: Container | None) -> bool:
        """Say whether a container does not count after a listing that was asked for at a moment, either."""
        if self.since > asked:
            return True
        match self.why:
            case "stopping":
                return listed is not None
            case "paused":
                return listed is not None and not listed.paused
            case "unlisted":
                return False


class Presence:
    """What is known of the containers of one engine."""

    def __init__(self) -> None:
        self.moment: Moment = 0
        self._listed: dict[str, Container] | None = None
        self._absent: dict[str, _Absence] = {}

    def present(self) -> tuple[Container, ...] | None:
        """Give the containers that can serve, by name; None until there is a listing."""
        if self._listed is None:
            return None
        up = [c for c in self._listed.values() if not c.paused and c.id not in self._absent]
        return tuple(sorted(up, key=lambda container: (container.name, container.id)))

    def hear(self, happening: Happening) -> None:
        """Take an event, in the engine's order."""
        self.moment += 1
        container_id = happening.container_id
        before = self._absent.get(container_id)
        match happening.what:
            case What.STOPPING:
                self._absent[container_id] = _Absence(self.moment, "stopping")
            case What.STARTED:
                self._absent[container_id] = _Absence(self.moment, "unlisted")
            case What.PAUSED if before is None or before.why != "stopping":
                self._absent[container_id] = _Absence(self.moment, "paused")
            case What.UNPAUSED if before is None or before.why != "stopping":
                self._absent[container_id] = _Absence(self.moment, "unlisted")
            case _:
                pass

    def listed(self, asked: Moment, containers: Iterable[Container]) -> None:
        """Take a listing that was asked for at a moment."""
        self._listed = {container.id: container for container in containers}
        self._absent = {
            container_id: absence
            for container_id, absence in self._absent.items()
            if absence.outlasts(asked, self._listed.get(container_id))
        }

    def missed(self) -> None:
        """Forget all until the next listing: too much happened that was not heard of."""
        self._listed, self._absent = None, {}
