"""What a model server has seen since its start or its last reset; tests read it to prove what arrived."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from igw_demo.client import Headers, Scope

MAX_PATHS = 200
OTHER = "(other)"
"""Where requests are counted once `MAX_PATHS` paths are known."""


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
    in_flight: int = 0
    cancelled: int = 0
    last: Arrival | None = None

    def count(self, scope: Scope) -> str:
        """Count a request by its path as sent, percent-encoding kept; give that path."""
        path: str = scope["raw_path"].decode("latin-1")
        known = path in self.requests or len(self.requests) < MAX_PATHS
        self.requests[path if known else OTHER] += 1
        return path

    def keep(self, scope: Scope, path: str) -> None:
        """Remember a request as the last one."""
        self.last = Arrival(scope["method"], path, scope["query_string"].decode("latin-1"), scope["headers"])

    def reset(self) -> None:
        """Forget everything but the requests under way."""
        self.requests.clear()
        self.cancelled = 0
        self.last = None

    def document(self) -> dict[str, Any]:
        """Give the JSON object of ``GET /demo/seen``."""
        return {
            "requests": dict(self.requests),
            "in_flight": self.in_flight,
            "cancelled": self.cancelled,
            "last": None if self.last is None else self.last.document(),
        }
