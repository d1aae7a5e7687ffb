"""What an answer to a report means, and when it is sent again. Pure.

In: statuses, `Retry-After`, how often it failed in a row, a random number. Out: what came of it, and seconds.
"""

from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

FIRST_SECONDS: Final = 1.0
MOST_SECONDS: Final = 300.0
MOST_RETRY_AFTER: Final = 3600.0
"""What is asked for beyond it is not obeyed: it may be a mistake, and the outbox is bounded."""

_AGAIN: Final = frozenset({401, 403, 404, 405, 407, 408, 421, 425, 429})
"""Of 4xx those that say nothing about the report: a token, an address or a moment was wrong."""


class Verdict(StrEnum):
    """What came of sending a report."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """It is sent again."""
    REFUSED = "refused"
    """It would be refused again: it is set aside, so that others go on."""


def verdict(status: int) -> Verdict:
    """Give what a status means; redirects are not followed, so they fail."""
    if 200 <= status < 300:
        return Verdict.DELIVERED
    return Verdict.REFUSED if 400 <= status < 500 and status not in _AGAIN else Verdict.FAILED


def pause(failures: int, chance: float, retry_after: float = 0.0) -> float:
    """Give the seconds to wait after so many failures in a row; `chance`, 0 to 1, spreads those who wait.

    It doubles each time, to five minutes, and is shortened by up to a half.
    """
    longest = min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** min(failures - 1, 30))
    return max(longest * (1 - chance / 2), min(retry_after, MOST_RETRY_AFTER))


def retry_after(value: str | None, now: float) -> float:
    """Read `Retry-After`, seconds or a date, as seconds from `now`; 0 for none and for nonsense (RFC 9110, 10.2.3)."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
