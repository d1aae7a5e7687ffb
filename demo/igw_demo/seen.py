"""What a model server has seen since its start or its last reset; tests read it to prove what arrived."""

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from igw_model.headers import PROJECT

from igw_demo.calls import UnderWay
from igw_demo.client import Headers, Scope
from igw_demo.usage import Told

MAX_PATHS = 200
MAX_PROJECTS = 200
MAX_CANCELS = 100
OTHER = "(other)"
"""Where requests are counted once `MAX_PATHS` paths, or `MAX_PROJECTS` projects, are known."""

_PROJECT = PROJECT.encode()


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request as it arrived; text is made of it only when somebody looks."""

    method: str
    path: str
    query: str
    headers: Headers

    def document(self) -> dict[str, Any]:
        """Give method, path, query and ``[name, value]`` pairs; a name that came twice is there twice."""
        pairs = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers]
        return {"method": self.method, "path": self.path, "query": self.query, "headers": pairs}


@dataclass(slots=True)
class Seen:
    """Counts, and the last request that was neither a health check nor about the demo itself."""

    requests: Counter[str] = field(default_factory=Counter)
    under_way: UnderWay = field(default_factory=UnderWay)
    projects: dict[str, UnderWay] = field(default_factory=dict)
    """By the header x-igw-project; requests without it are in none."""
    cancelled: int = 0
    """Requests whose client left before the end of the answer, in a stream too."""
    cancelled_at: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_CANCELS))
    """When that was seen, in seconds since 1970: the last ones."""
    told: Told = field(default_factory=Told)
    last: Arrival | None = None
    clock: Callable[[], float] = time.time

    def cancel(self) -> None:
        """Count a client that left."""
        self.cancelled += 1
        self.cancelled_at.append(self.clock())

    def count(self, scope: Scope) -> str:
        """Count a request by its path as sent, percent-encoding kept; give that path."""
        path: str = scope["raw_path"].decode("latin-1")
        known = path in self.requests or len(self.requests) < MAX_PATHS
        self.requests[path if known else OTHER] += 1
        return path

    def keep(self, scope: Scope, path: str) -> None:
        """Remember a request as the last one."""
        self.last = Arrival(scope["method"], path, scope["query_string"].decode("latin-1"), scope["headers"])

    @contextlib.contextmanager
    def in_flight(self, scope: Scope) -> Iterator[None]:
        """Have a request under way while the context is open, also in its project."""
        counts = [self.under_way, *self._project(scope["headers"])]
        for count in counts:
            count.begin()
        try:
            yield
        finally:
            for count in counts:
                count.end()

    def reset(self) -> None:
        """Forget everything but the requests under way."""
        self.requests.clear()
        self.projects = {name: count for name, count in self.projects.items() if count.now}
        for count in (self.under_way, *self.projects.values()):
            count.reset()
        self.cancelled = 0
        self.cancelled_at.clear()
        self.told.reset()
        self.last = None

    def document(self) -> dict[str, Any]:
        """Give the JSON object of ``GET /demo/seen``."""
        return {
            "requests": dict(self.requests),
            "in_flight": self.under_way.now,
            "most_at_once": self.under_way.most,
            "projects": {
                name: {"in_flight": count.now, "most_at_once": count.most}
                for name, count in self.projects.items()
            },
            "cancelled": self.cancelled,
            "cancelled_at": list(self.cancelled_at),
            "told": self.told.document(),
            "last": None if self.last is None else self.last.document(),
        }

    def _project(self, headers: Headers) -> Iterator[UnderWay]:
        for name, value in headers:
            if name == _PROJECT:
                project = value.decode("latin-1")
                known = project in self.projects or len(self.projects) < MAX_PROJECTS
                yield self.projects.setdefault(project if known else OTHER, UnderWay())
