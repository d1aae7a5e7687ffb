"""The projects that one host counts: bounded, and gone when its keeper ends.

Beside Redis it counts along, all but slots, so that it knows what went through the host when Redis fails. Slots it
could not know: of a request that was let in here, another host may be told that it has ended.
"""

from collections import OrderedDict
from itertools import islice
from typing import assert_never

from igw_extauth.keeper import Ended, Event, Exceeded, Running
from igw_extauth.limits.project import Numbers, Project, Standing

PROJECTS = 10_000
_LOOKED_AT = 64
"""Of those heard of least recently, when one must go; a project with requests under way is heard of all the time."""


class Memory:
    """At most `projects` projects; `lease_seconds` is 0 where Redis holds the slots.

    Times in seconds since 1970 (UTC).
    """

    def __init__(self, lease_seconds: float, projects: int = PROJECTS) -> None:
        self._lease_seconds = lease_seconds
        self._most = projects
        self._projects: OrderedDict[str, Project] = OrderedDict()

    def admit(self, now: float, name: str, numbers: Numbers, lease: str) -> Standing:
        """Let a request of a project in if it may."""
        project = self._project(now, name)
        return Standing(Exceeded.UNAVAILABLE) if project is None else project.admit(now, numbers, lease)

    def take(self, now: float, name: str, numbers: Numbers) -> None:
        """Count a request that was let in by Redis."""
        if (project := self._project(now, name)) is not None:
            project.take(now, numbers)

    def note(self, now: float, event: Event) -> None:
        """Count what became of a request."""
        if (project := self._project(now, event.project)) is None:
            return
        match event:
            case Running(_, lease):
                project.running(now, lease)
            case Ended(_, lease, tokens):
                project.ended(now, lease, tokens)
            case _:
                assert_never(event)

    def leases(self, now: float) -> int:
        """Give how many slots are held here."""
        return sum(len(project.leases(now)) for project in self._projects.values())

    def __len__(self) -> int:
        return len(self._projects)

    def _project(self, now: float, name: str) -> Project | None:
        if (project := self._projects.get(name)) is not None:
            self._projects.move_to_end(name)
            return project
        if len(self._projects) >= self._most and not self._make_room(now):
            return None
        project = self._projects[name] = Project(self._lease_seconds)
        return project

    def _make_room(self, now: float) -> bool:
        """Forget a project that nothing is lost of, else one that has no request under way."""
        idle = [name for name in islice(self._projects, _LOOKED_AT) if not self._projects[name].leases(now)]
        if not idle:
            return False
        fresh = (name for name in idle if _is_fresh(self._projects[name], now))
        del self._projects[next(fresh, idle[0])]
        return True


def _is_fresh(project: Project, now: float) -> bool:
    return project.buckets(now).full and not project.used(now)
