"""Questions about usage: a query string in, a question or what is wrong with it, rows of the ledger, a document out.

Pure but for the connection that `answer` reads. The document is in docs/usage.md.
"""

import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TypeVar

from igw_usage.totals import ORGANIZATIONS, SUMS

MAX_ITEMS: Final = 1_000
MAX_TEXT: Final = 512
DAY_MINUTES: Final = 1_440
FIRST_MINUTE: Final = -1_035_593_280
"""That of the year 1, before which there is no text for a time."""
_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII
)


class Group(StrEnum):
    """What items are told apart by; each is a column."""

    MODEL = "model"
    PROJECT = "project"
    PRINCIPAL = "principal"
    DEPLOYMENT = "deployment"


class Interval(StrEnum):
    """How long the parts of a series are; they begin where the calendar's do, in UTC."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


_MINUTES: Final = {Interval.MINUTE: 1, Interval.HOUR: 60, Interval.DAY: DAY_MINUTES}
_COUNTS: Final = (
    ("requests", "requests"),
    ("errors", "errors"),
    ("streamed", "streamed"),
    ("partial", "partial"),
    ("prompt_tokens", "promptTokens"),
    ("completion_tokens", "completionTokens"),
    ("cached_tokens", "cachedTokens"),
    ("total_tokens", "totalTokens"),
)
_SUMS: Final = ", ".join(f"COALESCE(SUM({name}), 0) AS sum_{name}" for name in SUMS)


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: minutes since 1970 from `start` up to and without `end`; None: all of them."""

    start: int
    end: int
    organization: str | None = None
    gateway: str | None = None
    group: Group | None = None
    interval: Interval | None = None


class WrongError(ValueError):
    """A question makes no sense; `field` is the parameter at fault."""

    def __init__(self, field: str, text: str) -> None:
        """Take the parameter's name and what is wrong."""
        super().__init__(f"{field}: {text}")
        self.field = field


def query(parameters: Iterable[tuple[str, str]], now: float) -> Query:
    """Read a query string; without times it is about the last 24 hours. Raises WrongError."""
    given = _given(parameters)
    end = _minute("to", given["to"]) if "to" in given else int(now) // 60 + 1
    start = _minute("from", given["from"]) if "from" in given else max(end - DAY_MINUTES, FIRST_MINUTE)
    if start >= end:
        raise WrongError("from", "must be before to, by a minute at least")
    return Query(
        start,
        end,
        given.get("organizationId"),
        given.get("gatewayId"),
        _choice(Group, "groupBy", given.get("groupBy")),
        _choice(Interval, "interval", given.get("interval")),
    )


def _given(parameters: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    given: dict[str, str] = {}
    for name, value in parameters:
        if name not in {"organizationId", "gatewayId", "from", "to", "groupBy", "interval"}:
            raise WrongError(name[:MAX_TEXT], "is not known")
        if name in given:
            raise WrongError(name, "is there twice")
        if not 0 < len(value) <= MAX_TEXT:
            raise WrongError(name, f"must have 1 to {MAX_TEXT} characters")
        given[name] = value
    return given


def _minute(field: str, text: str) -> int:
    """Read a time, rounded down to a minute."""
    found = _TIME.match(text)
    if found is None:
        raise WrongError(field, "must be a time as RFC 3339 writes it, such as 2026-08-01T12:00:00Z")
    day, clock, _, zone = found.groups()
    try:
        at = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise WrongError(field, "is no such time") from None
    return int(at.timestamp() // 60)


C = TypeVar("C", Group, Interval)


def _choice(kind: type[C], field: str, value: str | None) -> C | None:
    try:
        return None if value is None else kind(value)
    except ValueError:
        raise WrongError(field, f"must be one of {', '.join(kind)}") from None


def answer(connection: sqlite3.Connection, asked: Query) -> dict[str, Any]:
    """Give the document for a question."""
    rows = _items(connection, asked)
    whole = len(rows) <= MAX_ITEMS
    sums = _added(rows) if whole else _rows(connection, asked, _SUMS)[0]
    told: dict[str, Any] = {
        "from": _text(asked.start),
        "to": _text(asked.end),
        "groupBy": asked.group,
        "interval": asked.interval,
        "items": [_item(asked, row) for row in rows[:MAX_ITEMS]],
        "totals": _sums(sums),
    }
    return told if whole else told | {"truncated": True}


def _items(connection: sqlite3.Connection, asked: Query) -> list[Sequence[Any]]:
    part = 0 if asked.interval is None else _MINUTES[asked.interval]
    start = f"minute / {part} * {part}" if part else "NULL"
    key = asked.group or "NULL"
    grouped = "GROUP BY 1, 2 ORDER BY 1, sum_total_tokens DESC, 2 LIMIT ?"
    return _rows(connection, asked, f"{start}, {key}, {_SUMS}", grouped, (MAX_ITEMS + 1,))


def _rows(
    connection: sqlite3.Connection, asked: Query, columns: str, rest: str = "", more: tuple[int, ...] = ()
) -> list[Sequence[Any]]:
    """Select of the rows that are asked about; names of columns are our own, what is asked for is bound."""
    conditions: dict[str, str | int] = {"minute >= ?": asked.start, "minute < ?": asked.end}
    if asked.organization is not None:
        conditions["organization = ?"] = asked.organization
    if asked.gateway is not None:
        conditions["gateway = ?"] = asked.gateway
    everybody = "organization IN (SELECT name FROM organizations)" if asked.organization is None else "TRUE"
    prefix = ORGANIZATIONS if asked.organization is None else ""
    where = " AND ".join((everybody, *conditions))
    found: list[Sequence[Any]] = connection.execute(
        f"{prefix} SELECT {columns} FROM totals WHERE {where} {rest}",  # noqa: S608 - see above
        (*conditions.values(), *more),
    ).fetchall()
    return found


def _added(rows: Iterable[Sequence[Any]]) -> Sequence[int]:
    """Give the sums of all items: reading the table again would take as long once more."""
    return [sum(column) for column in zip(*(row[2:] for row in rows), strict=True)] or [0] * len(SUMS)


def _item(asked: Query, row: Sequence[Any]) -> dict[str, Any]:
    start, key, *sums = row
    return {
        "start": None if asked.interval is None else _text(start),
        "key": key or None,
        **_sums(sums),
    }


def _sums(sums: Sequence[int]) -> dict[str, Any]:
    found = dict(zip(SUMS, sums, strict=True))
    counts: dict[str, Any] = {told: found[name] for name, told in _COUNTS}
    return {**counts, "durationSeconds": found["micros"] / 1e6}


def _text(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).isoformat().replace("+00:00", "Z")
