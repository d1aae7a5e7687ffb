"""When an Envoy that is to end may: what it does at a moment goes in, what to do next comes out. Time is an argument.

1. Accept: it tells everybody to go elsewhere and still takes whom that has not reached, until no new connection has
   come for a moment, or half of the time is over.
2. Finish: it takes no new connections, and answers what it has.
3. End: nothing is left to answer, or the time is over.
"""

from dataclasses import dataclass
from enum import Enum, auto

QUIET_SECONDS = 1.0
"""Without a new connection for so long, everybody is taken to know."""
SETTLE_SECONDS = 0.3
"""A connection that was accepted last has its request read within this."""


class Step(Enum):
    """What to do now."""

    ACCEPT = auto()
    FINISH = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class Activity:
    """What clients have going on: connections made so far, requests under way, bytes not yet sent."""

    connections: int
    requests: int
    unsent: int

    @property
    def idle(self) -> bool:
        """Tell whether nothing is under way."""
        return self.requests == 0 and self.unsent == 0


class Drain:
    """One drain, which `began` at a time and may take `seconds`."""

    def __init__(self, began: float, seconds: float) -> None:
        self._accept_until = began + seconds / 2
        self._end_at = began + seconds
        self._connections = -1
        self._last_came = began
        self._closed_at: float | None = None
        self._idle_since: float | None = None

    def step(self, now: float, activity: Activity | None) -> Step:
        """Give what to do; None where Envoy did not tell what it does."""
        if now >= self._end_at:
            return Step.END
        self._look(now, activity)
        if self._closed_at is None:
            quiet = now - self._last_came >= QUIET_SECONDS
            if not quiet and now < self._accept_until:
                return Step.ACCEPT
            self._closed_at, self._idle_since = now, None
            return Step.FINISH
        settled = self._idle_since is not None and now - self._idle_since >= SETTLE_SECONDS
        return Step.END if settled else Step.FINISH

    def _look(self, now: float, activity: Activity | None) -> None:
        if activity is None:
            self._idle_since = None
            return
        if activity.connections != self._connections:
            # Those before the first look came before the drain.
            self._last_came = now if self._connections >= 0 else self._last_came
            self._connections = activity.connections
        if not activity.idle:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
