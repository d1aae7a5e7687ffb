"""Times as people write them in options, `2026-01-31T12:00:00Z` or an age such as `2h`, and as the API wants them."""

import re
from datetime import UTC, datetime, timedelta

from igw_cli.client import Exit, FailedError
from igw_cli.show import moment

_AGE = re.compile(r"(\d{1,9})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def time_of(text: str, option: str, now: datetime) -> datetime:
    """Give the time that an option's text means, in UTC. Raises FailedError."""
    try:
        if match := _AGE.fullmatch(text):
            return now - timedelta(seconds=int(match[1]) * _UNITS[match[2]])
        found = moment(text)
        if found is not None:
            return found.astimezone(UTC)
    except OverflowError:
        pass
    raise FailedError(f"{option} {text!r} is neither a time nor an age (90s, 10m, 2h, 7d)", Exit.INVALID)


def rfc3339(time: datetime) -> str:
    """Give a time in UTC as the API takes it."""
    return time.isoformat().replace("+00:00", "Z")


def minute(time: datetime) -> str:
    """Give a time in UTC as people read it."""
    return f"{time:%Y-%m-%d %H:%M} UTC"
