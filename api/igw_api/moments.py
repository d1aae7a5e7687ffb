"""Moments as the API writes them: RFC 3339 in UTC with `Z`, fractions in protobuf JSON's 0, 3 or 6 digits. Pure."""

import re
from datetime import UTC, datetime

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def moment_text(moment: datetime) -> str:
    """Give a moment as text."""
    utc = moment.astimezone(UTC)
    unit = "seconds" if not utc.microsecond else "microseconds" if utc.microsecond % 1000 else "milliseconds"
    return utc.isoformat(timespec=unit).replace("+00:00", "Z")


def moment_of(text: str) -> datetime | None:
    """Read an RFC 3339 moment, nanoseconds cut to microseconds; None for anything else."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        return None
    day, time, fraction, zone = found.groups()
    offset = "+00:00" if zone in "Zz" else zone
    try:
        return datetime.fromisoformat(f"{day}T{time}.{(fraction or '0'):0<6.6}{offset}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
