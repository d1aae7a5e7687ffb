"""What one project does, counted against its limits: a machine without clock and network. Pure.

In: a request that would begin, goes on or has ended, with the time in seconds since 1970 (UTC). Out: how the project
stands. `counts.lua`, `admit.lua` and `tell.lua` are the same rules for Redis; a test holds the two together.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from igw_extauth.keeper import Exceeded

MINUTE = 60
MAX_LEASES = 100_000
"""Slots that are kept of one project; a limit on concurrency above that is none."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a project may; None: as much as it likes, 0: nothing."""

    concurrency: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    quota_tokens: int | None = None
    """In a calendar month (UTC); 0 also where somebody else counts and says that it is used up."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket: holds `limit`, is filled with as much in a minute; below 0 when more was used than was there."""

    limit: int
    level: float

    def later(self, seconds: float) -> "Bucket":
        """Give what it holds after a time."""
        return Bucket(self.limit, min(self.limit, self.level + seconds * self.limit / MINUTE))

    def without(self, number: float) -> "Bucket":
        """Give what it holds after so much was taken."""
        return Bucket(self.limit, self.level - number)


@dataclass(frozen=True, slots=True)
class Buckets:
    """What is left of a minute's requests and tokens; None where there is no limit."""

    requests: Bucket | None = None
    tokens: Bucket | None = None

    def later(self, seconds: float) -> "Buckets":
        """Give both after a time."""
        return Buckets(
            self.requests and self.requests.later(seconds), self.tokens and self.tokens.later(seconds)
        )

    def under(self, numbers: Numbers) -> "Buckets":
        """Give both under other limits; one that is new is full."""
        return Buckets(
            _under(self.requests, numbers.requests_per_minute), _under(self.tokens, numbers.tokens_per_minute)
        )

    def used(self, *, requests: int = 0, tokens: int = 0) -> "Buckets":
        """Give both after so much was used."""
        return Buckets(
            self.requests and self.requests.without(requests), self.tokens and self.tokens.without(tokens)
        )

    @property
    def full(self) -> bool:
        """Say whether nothing is missing in either."""
        return all(bucket is None or bucket.level >= bucket.limit for bucket in (self.requests, self.tokens))


def _under(bucket: Bucket | None, limit: int | None) -> Bucket | None:
    if limit is None:
        return None
    return Bucket(limit, limit if bucket is None else min(limit, bucket.level))


def _level(bucket: Bucket | None) -> float | None:
    return None if bucket is None else bucket.level


@dataclass(frozen=True, slots=True)
class Standing:
    """Which limit a request met, None for one that was let in, and what the buckets hold afterwards."""

    exceeded: Exceeded | None
    requests: float | None = None
    tokens: float | None = None


def month(now: float) -> str:
    """Give the calendar month of a time, as ``2026-08``."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m")


class Project:
    """One project: who is let in, and what that leaves.

    A lease lasts `lease_seconds` from when it was last heard of. With 0 no slot is held, so of the limits on
    concurrency only 0 is one.
    """

    __slots__ = ("_at", "_buckets", "_lease_seconds", "_leases", "_month", "_used")

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        # In the order of their ends: each is put last when it is renewed.
        self._leases: dict[str, float] = {}
        self._buckets = Buckets()
        self._at = 0.0
        self._month = ""
        self._used = 0

    def admit(self, now: float, numbers: Numbers, lease: str) -> Standing:
        """Let a request in and count it if all limits allow that; else nothing is counted.

        Concurrency is looked at last, so that the limit that frees up soonest is not what is told.
        """
        buckets = self._filled(now).under(numbers)
        exceeded = self._exceeded(now, numbers, buckets)
        if exceeded is None:
            self.running(now, lease)
            buckets = self._keep(now, buckets.used(requests=1))
        return Standing(exceeded, _level(buckets.requests), _level(buckets.tokens))

    def take(self, now: float, numbers: Numbers) -> None:
        """Count a request that was let in elsewhere, where its slot is counted too."""
        self._keep(now, self._filled(now).under(numbers).used(requests=1))

    def running(self, now: float, lease: str) -> None:
        """Renew a lease; one that is not known is taken: it was let in before what counts here began to.

        So there may for a while be more leases than the limit, as there are more requests; nobody is let in meanwhile.
        """
        self._expire(now)
        self._leases.pop(lease, None)
        if len(self._leases) < MAX_LEASES:
            self._leases[lease] = now + self._lease_seconds

    def ended(self, now: float, lease: str, tokens: int) -> None:
        """Free a lease, and charge what was used in it; that is charged also if the lease is not known."""
        self._leases.pop(lease, None)
        if tokens > 0:
            self._keep(now, self._filled(now).used(tokens=tokens))
            self._used = self.used(now) + tokens
            self._month = month(now)

    def leases(self, now: float) -> tuple[str, ...]:
        """Give the leases that have not expired."""
        self._expire(now)
        return tuple(self._leases)

    def held(self, now: float) -> int:
        """Count the leases that have not expired."""
        self._expire(now)
        return len(self._leases)

    def used(self, now: float) -> int:
        """Give the tokens that were used in the month so far."""
        return self._used if self._month == month(now) else 0

    def buckets(self, now: float) -> Buckets:
        """Give what is left of the minute."""
        return self._filled(now)

    def _exceeded(self, now: float, numbers: Numbers, buckets: Buckets) -> Exceeded | None:
        if numbers.quota_tokens is not None and self.used(now) >= numbers.quota_tokens:
            return Exceeded.QUOTA
        if buckets.requests is not None and buckets.requests.level < 1:
            return Exceeded.REQUESTS
        if buckets.tokens is not None and buckets.tokens.level < 1:
            return Exceeded.TOKENS
        if numbers.concurrency is not None and self.held(now) >= numbers.concurrency:
            return Exceeded.CONCURRENCY
        return None

    def _expire(self, now: float) -> None:
        while self._leases:
            lease, end = next(iter(self._leases.items()))
            if end > now:
                return
            del self._leases[lease]

    def _filled(self, now: float) -> Buckets:
        return self._buckets.later(max(0.0, now - self._at))

    def _keep(self, now: float, buckets: Buckets) -> Buckets:
        self._buckets, self._at = buckets, now
        return buckets
