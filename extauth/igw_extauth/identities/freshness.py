"""How long an authority's answer holds: an answer and the time in, what it is still good for out. Pure.

Times are seconds of one monotonic clock. A known token's answer counts from when its authority was *asked*, so that no
slow one stretches the bound: whoever passes was valid within `fresh_seconds` + `stale_seconds`, wherever the answer is
remembered.
"""

from dataclasses import dataclass
from enum import Enum, auto

from igw_extauth.answer import RETRY_AFTER_SECONDS
from igw_extauth.identity import Known, Unavailable, Unknown
from igw_extauth.keeper import Vouched

UNAVAILABLE_SECONDS = RETRY_AFTER_SECONDS * 0.9
"""How long an authority's silence is remembered for one token.

Long enough that a caller who hammers costs a dead authority one question a second, and short enough that
one who waits as ``Retry-After`` says is asked for anew.
"""
STALE_ANSWER_SECONDS = 2.0
"""How long a worker may remember a stale answer: soon after the authority is back, its own word counts."""
FAILING_SECONDS = 10.0
"""How long after a failure of its authority a stale answer is given without waiting for the next try."""

_DUE = 0.8
_JITTER = 0.1
_SOON_SECONDS = 0.05


class Standing(Enum):
    """What a known token's answer is good for."""

    FRESH = auto()
    DUE = auto()
    """Fresh, and to be asked for anew in the background."""
    STALE = auto()
    """Good only while the authority fails."""
    GONE = auto()


@dataclass(frozen=True, slots=True)
class Entry:
    """What an authority said of a token that it knows, when it was asked, and when it last failed to say it again."""

    identity: Known
    checked_at: float
    failed_at: float = float("-inf")

    def failing(self, now: float) -> bool:
        """Say whether the authority failed lately."""
        return now < self.failed_at + FAILING_SECONDS

    def may_try(self, now: float) -> bool:
        """Say whether the authority may be asked again."""
        return now >= self.failed_at + UNAVAILABLE_SECONDS


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no principal, and until when that is not asked again."""

    identity: Unknown | Unavailable
    until: float


@dataclass(frozen=True, slots=True)
class Freshness:
    """The rule, by the operator's settings."""

    fresh_seconds: float
    stale_seconds: float
    failure_seconds: float

    @property
    def seconds(self) -> float:
        """Give the age that no answer may pass."""
        return self.fresh_seconds + self.stale_seconds

    def standing(self, key: bytes, entry: Entry, now: float) -> Standing:
        """Say what an entry is good for; by its key, so that not all are due at once."""
        age = now - entry.checked_at
        if not 0 <= age < self.seconds:
            return Standing.GONE
        if age >= self.fresh_seconds:
            return Standing.STALE
        return Standing.FRESH if age < self._due(key) else Standing.DUE

    def vouched(self, key: bytes, entry: Entry, now: float) -> Vouched:
        """Give what a worker is told of an entry that is not gone."""
        age = now - entry.checked_at
        match self.standing(key, entry, now):
            case Standing.FRESH:
                return Vouched(entry.identity, self.fresh_seconds - age, self._due(key) - age)
            case Standing.DUE:
                return _halved(entry.identity, self.fresh_seconds - age)
            case Standing.STALE:
                return _halved(entry.identity, min(STALE_ANSWER_SECONDS, self.seconds - age))
            case Standing.GONE:
                return Vouched(Unavailable("answer too old"), 0, 0)

    def failure(self, identity: Unknown | Unavailable, now: float) -> Failure:
        """Give what is remembered of a token that has no principal, from when that was answered."""
        seconds = self.failure_seconds
        if isinstance(identity, Unavailable):
            seconds = min(seconds, UNAVAILABLE_SECONDS)
        return Failure(identity, now + seconds)

    def _due(self, key: bytes) -> float:
        return self.fresh_seconds * (_DUE + _JITTER * key[0] / 255)


def vouched(failure: Failure, now: float) -> Vouched:
    """Give what a worker is told of a failure."""
    rest = max(0.0, failure.until - now)
    return Vouched(failure.identity, rest, rest)


def _halved(identity: Known, rest: float) -> Vouched:
    """Let the worker ask again half-way: by then a new answer is there, most likely."""
    return Vouched(identity, rest, min(rest, max(rest / 2, _SOON_SECONDS)))
