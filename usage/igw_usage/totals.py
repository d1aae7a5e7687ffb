"""What requests used, added up by minute: which records are new, the sums, and what is kept of both.

Functions over a connection in a transaction of the thread that writes; they commit nothing.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from igw_usage.record import Record

KEY_BYTES: Final = 16
"""Of a record's key, kept to know it again: by chance two of 10^12 are alike once in a million years."""
SUMS: Final = (
    "requests",
    "errors",
    "streamed",
    "partial",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "total_tokens",
    "micros",
)
_NAMES: Final = ("organization", "minute", "gateway", "deployment", "model", "principal", "project")
_ADDED: Final = ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)
_ADD: Final = (
    f"INSERT INTO totals ({', '.join((*_NAMES, *SUMS))}) VALUES ({', '.join('?' * len((*_NAMES, *SUMS)))}) "  # noqa: S608 - constants
    f"ON CONFLICT DO UPDATE SET {_ADDED} RETURNING requests"
)
ORGANIZATIONS: Final = """
WITH RECURSIVE organizations (name) AS (
  SELECT MIN(organization) FROM totals
  UNION ALL
  SELECT (SELECT MIN(organization) FROM totals WHERE organization > name) FROM organizations WHERE name IS NOT NULL
)
"""
"""All organisations, each found by one seek: the table is in their order, and SQLite would read it all."""
_NAMED: Final = f"{ORGANIZATIONS} SELECT name FROM organizations WHERE name IS NOT NULL"  # noqa: S608 - constants
_OLDEST: Final = f"SELECT MIN((SELECT MIN(minute) FROM totals WHERE organization = name)) FROM ({_NAMED})"  # noqa: S608 - constants

Names = tuple[str, int, str, str, str, str, str]
Sums = tuple[int, ...]


def unseen(connection: sqlite3.Connection, records: Iterable[Record], at: int) -> list[Record]:
    """Remember records as seen at a time (seconds); give those that were not seen before, each once."""
    remember = "INSERT OR IGNORE INTO seen (key, at) VALUES (?, ?)"
    return [
        record
        for record in records
        if connection.execute(remember, (bytes.fromhex(record.key)[:KEY_BYTES], at)).rowcount
    ]


def add(connection: sqlite3.Connection, records: Iterable[Record]) -> int:
    """Count records; give how many rows are new."""
    sums: defaultdict[Names, Sums] = defaultdict(lambda: (0,) * len(SUMS))
    for record in records:
        names = _names(record)
        sums[names] = tuple(old + new for old, new in zip(sums[names], _sums(record), strict=True))
    return sum(_put(connection, names, of) for names, of in sums.items())


def _put(connection: sqlite3.Connection, names: Names, sums: Sums) -> bool:
    """Add to a row; say whether it is new: then it has no requests but these."""
    (requests,) = connection.execute(_ADD, (*names, *sums)).fetchone()
    return bool(requests == sums[0])


def _names(record: Record) -> Names:
    return (
        record.organization,
        record.started_at // 60_000_000,
        record.gateway,
        record.deployment,
        record.model,
        record.principal,
        record.project,
    )


def _sums(record: Record) -> Sums:
    return (
        1,
        int(record.failed),
        int(record.streamed),
        int(record.partial),
        record.prompt_tokens or 0,
        record.completion_tokens or 0,
        record.cached_tokens or 0,
        record.total_tokens,
        round(record.seconds * 1_000_000),
    )


def forget_seen(connection: sqlite3.Connection, before: int) -> int:
    """Forget which records were seen before a time (seconds); give how many."""
    return connection.execute("DELETE FROM seen WHERE at < ?", (before,)).rowcount


def forget_oldest_seen(connection: sqlite3.Connection, number: int, young: int) -> int:
    """Forget so many of those that were seen longest ago; give how many were seen since `young` (seconds)."""
    oldest = "SELECT key, at FROM seen ORDER BY at LIMIT ?"
    counting = f"SELECT COUNT(*) FROM ({oldest}) WHERE at >= ?"  # noqa: S608 - constants
    (missed,) = connection.execute(counting, (number, young)).fetchone()
    drop = f"DELETE FROM seen WHERE key IN (SELECT key FROM ({oldest}))"  # noqa: S608 - constants
    connection.execute(drop, (number,))
    return int(missed)


def forget(connection: sqlite3.Connection, before: int) -> int:
    """Drop the totals of minutes before one (minutes since 1970); give how many rows that were."""
    found = connection.execute(_NAMED)
    drop = "DELETE FROM totals WHERE organization = ? AND minute < ?"
    return sum(connection.execute(drop, (name, before)).rowcount for (name,) in found.fetchall())


def oldest(connection: sqlite3.Connection) -> int | None:
    """Give the first minute that there are totals of."""
    (minute,) = connection.execute(_OLDEST).fetchone()
    return None if minute is None else int(minute)
