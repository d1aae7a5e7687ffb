"""When somebody who fails is left alone: outcomes of calls and the time in, whether to call out. Pure.

Closed: all calls go. After failures in a row, or when too many of the last seconds' calls failed, it opens: no call
goes, for a time that doubles with each opening in vain. Then it is half-open: one call at a time is a probe, whose
success closes it, and whose failure opens it again. Calls that began before the last change are no evidence.
"""

from collections import deque
from dataclasses import dataclass
from enum import IntEnum

WINDOW_SECONDS = 10


class State(IntEnum):
    """The breaker's state, as its metric has it."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much is borne, and how long is waited then."""

    in_a_row: int = 5
    least_calls: int = 20
    """Fewer calls than this within the window tell nothing by their share of failures."""
    share: float = 0.5
    first_seconds: float = 1.0
    most_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to make one call; to be handed back with its outcome."""

    era: int


@dataclass(slots=True)
class _Second:
    """The calls that ended in one second of the clock."""

    second: int
    calls: int = 0
    failures: int = 0


class Breaker:
    """One breaker; times are seconds of one monotonic clock."""

    def __init__(self, tolerance: Tolerance) -> None:
        self._tolerance = tolerance
        self._era = 0
        self._open_until: float | None = None
        self._wait = tolerance.first_seconds
        self._probing = False
        self._in_a_row = 0
        self._window: deque[_Second] = deque(maxlen=WINDOW_SECONDS + 1)

    def state(self, now: float) -> State:
        """Give the state."""
        if self._open_until is None:
            return State.CLOSED
        return State.OPEN if now < self._open_until else State.HALF_OPEN

    def allows(self, now: float) -> bool:
        """Say whether `begin` would give a permit."""
        match self.state(now):
            case State.CLOSED:
                return True
            case State.HALF_OPEN:
                return not self._probing
            case State.OPEN:
                return False

    def closed(self, now: float) -> bool:
        """Say whether all calls go."""
        return self.state(now) is State.CLOSED

    def begin(self, now: float) -> Permit | None:
        """Give leave for a call, whose outcome must follow; None: there is none."""
        if not self.allows(now):
            return None
        self._probing = self._open_until is not None
        return Permit(self._era)

    def end(self, permit: Permit, now: float, *, failed: bool) -> None:
        """Take a call's outcome."""
        if permit.era != self._era:
            return
        if self._open_until is not None:
            self._probed(now, failed=failed)
        else:
            self._counted(now, failed=failed)

    def encourage(self, now: float) -> None:
        """Know that it answered somebody else: it is time for a probe."""
        if self.state(now) is State.OPEN:
            self._open_until = now

    def _probed(self, now: float, *, failed: bool) -> None:
        if failed:
            self._wait = min(self._wait * 2, self._tolerance.most_seconds)
            self._open(now)
        else:
            self._wait = self._tolerance.first_seconds
            self._change(None)

    def _counted(self, now: float, *, failed: bool) -> None:
        if not self._window or self._window[-1].second != int(now):
            self._window.append(_Second(int(now)))
        self._window[-1].calls += 1
        self._window[-1].failures += failed
        self._in_a_row = self._in_a_row + 1 if failed else 0
        if failed and (self._in_a_row >= self._tolerance.in_a_row or self._too_many(now)):
            self._open(now)

    def _too_many(self, now: float) -> bool:
        seconds = [second for second in self._window if second.second > int(now) - WINDOW_SECONDS]
        calls = sum(second.calls for second in seconds)
        failures = sum(second.failures for second in seconds)
        return calls >= self._tolerance.least_calls and failures >= calls * self._tolerance.share

    def _open(self, now: float) -> None:
        self._change(now + self._wait)

    def _change(self, open_until: float | None) -> None:
        self._open_until = open_until
        self._era += 1
        self._probing = False
        self._in_a_row = 0
        self._window.clear()
