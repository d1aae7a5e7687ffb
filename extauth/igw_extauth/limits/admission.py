"""How a project stands, as what a worker is told. Pure."""

from datetime import UTC, datetime, timedelta
from math import floor
from typing import assert_never

from igw_extauth.keeper import Admission, Admitted, Exceeded, Held, Level, Levels
from igw_extauth.limits.project import MINUTE, Numbers, Standing

CONCURRENCY_SECONDS = 1.0
UNAVAILABLE_SECONDS = 1.0
UNKNOWN_SECONDS = 10.0
"""How long it is remembered that there is no such project."""
MAX_QUOTA_SECONDS = 86_400.0
"""A quota may be raised before its month ends."""
_SPARE = 0.001
"""Seconds by which arithmetic may be off: who comes after `retry_seconds` is not to be a moment early."""


def admission(standing: Standing, now: float, numbers: Numbers, lease: str) -> Admission:
    """Tell how a request fared; `now` in seconds since 1970 (UTC)."""
    levels = Levels(
        _level(numbers.requests_per_minute, standing.requests),
        _level(numbers.tokens_per_minute, standing.tokens),
    )
    if standing.exceeded is None:
        return Admitted(lease, levels)
    return Held(standing.exceeded, _retry_seconds(standing.exceeded, standing, now, numbers), levels)


def _level(limit: int | None, level: float | None) -> Level | None:
    if limit is None or level is None:
        return None
    return Level(limit, max(0, floor(level)), _seconds_to(limit, level, limit))


def _seconds_to(wanted: int, level: float | None, limit: int | None) -> float:
    if not limit or level is None:
        return MINUTE  # nothing is ever there; the limit may be changed
    return max(0.0, (wanted - level) * MINUTE / limit)


def _retry_seconds(exceeded: Exceeded, standing: Standing, now: float, numbers: Numbers) -> float:
    match exceeded:
        case Exceeded.REQUESTS:
            return _seconds_to(1, standing.requests, numbers.requests_per_minute) + _SPARE
        case Exceeded.TOKENS:
            return _seconds_to(1, standing.tokens, numbers.tokens_per_minute) + _SPARE
        case Exceeded.QUOTA:
            return min(MAX_QUOTA_SECONDS, month_end(now) - now)
        case Exceeded.CONCURRENCY:
            return CONCURRENCY_SECONDS
        case Exceeded.UNKNOWN_PROJECT:
            return UNKNOWN_SECONDS
        case Exceeded.UNAVAILABLE:
            return UNAVAILABLE_SECONDS
        case _:
            assert_never(exceeded)


def month_end(now: float) -> float:
    """Give when the calendar month of a time ends."""
    first = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1).timestamp()
