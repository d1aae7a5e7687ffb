"""What one transaction does to the ledger: records counted and put into the outbox, and room made.

Functions over a connection in a transaction of the thread that writes; they commit nothing, and what they give holds
once it is committed.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from igw_usage import outbox, totals
from igw_usage.clock import Times
from igw_usage.record import Record

DAY_MINUTES: Final = 1_440


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept. Rows of totals take some 300 bytes, of the outbox 700, of what was seen 60."""

    retention_seconds: int = 90 * 86_400
    totals: int = 10_000_000
    outbox: int = 1_000_000
    seen: int = 5_000_000
    seen_seconds: int = 6 * 3600
    """How long a record is known again."""
    again_seconds: int = 3600
    """How long an Envoy keeps a record to tell it again: `telling.USAGE_KEPT_SECONDS` of igw_xds."""


@dataclass(frozen=True, slots=True)
class Rows:
    """How many there are of each, and how many were dropped for want of room since the start."""

    totals: int
    outbox: int
    seen: int
    dropped_totals: int = 0
    dropped_outbox: int = 0
    dropped_seen: int = 0
    """Of those that an Envoy may still tell again: only they are missed."""


def dropped_rows(rows: Rows) -> dict[str, int]:
    """Give how many rows of each table were dropped for want of room since the start."""
    return {"totals": rows.dropped_totals, "outbox": rows.dropped_outbox, "seen": rows.dropped_seen}


@dataclass(frozen=True, slots=True)
class Ledgered:
    """Records that are new, one list for each that was given, and what the tables hold then."""

    new: tuple[tuple[Record, ...], ...]
    rows: Rows


def held(connection: sqlite3.Connection) -> Rows:
    """Give how many rows there are, as the last transaction wrote down."""
    return Rows(*connection.execute("SELECT totals, outbox, seen FROM sizes").fetchone())


def hold(connection: sqlite3.Connection, rows: Rows) -> None:
    """Write down how many rows there are."""
    sizes = (rows.totals, rows.outbox, rows.seen)
    connection.execute("UPDATE sizes SET totals = ?, outbox = ?, seen = ?", sizes)


def store(
    connection: sqlite3.Connection,
    given: Sequence[Sequence[Record]],
    at: float,
    rows: Rows,
    most_reports: int | None,
) -> Ledgered:
    """Count records at a time (seconds); those to report go to an outbox of so many, None: to none."""
    new = tuple(tuple(totals.unseen(connection, records, int(at))) for records in given)
    everything = [record for records in new for record in records]
    rows = replace(
        rows, seen=rows.seen + len(everything), totals=rows.totals + totals.add(connection, everything)
    )
    reports = [record for record in everything if record.reports]
    if most_reports is None or not reports:
        return Ledgered(new, rows)
    rows = replace(rows, outbox=rows.outbox + outbox.put(connection, reports, at))
    return Ledgered(new, _outbox_kept(connection, rows, most_reports))


def _outbox_kept(connection: sqlite3.Connection, rows: Rows, most: int) -> Rows:
    if rows.outbox <= most:
        return rows
    dropped = outbox.drop_oldest(connection, rows.outbox - most)
    return replace(rows, outbox=rows.outbox - dropped, dropped_outbox=rows.dropped_outbox + dropped)


def sweep(connection: sqlite3.Connection, times: Times, rows: Rows, bounds: Bounds) -> Rows:
    """Drop what is too old, or too much, of totals and of what was seen."""
    return _seen_kept(connection, times, _totals_kept(connection, times.now, rows, bounds), bounds)


def _totals_kept(connection: sqlite3.Connection, now: float, rows: Rows, bounds: Bounds) -> Rows:
    minute = totals.oldest(connection)
    if minute is None:
        return rows
    # A day of them at once: nothing is stored meanwhile, and it may be a mistake in the clock or the settings.
    before = min(int(now - bounds.retention_seconds) // 60, minute + DAY_MINUTES)
    rows = replace(rows, totals=rows.totals - totals.forget(connection, before))
    while rows.totals > bounds.totals and (minute := totals.oldest(connection)) is not None:
        gone = totals.forget(connection, minute + 1)
        rows = replace(rows, totals=rows.totals - gone, dropped_totals=rows.dropped_totals + gone)
    return rows


def _seen_kept(connection: sqlite3.Connection, times: Times, rows: Rows, bounds: Bounds) -> Rows:
    # What was seen before a pause is kept: an Envoy has waited, too, and may send it again now. For the same reason a
    # clock that is set forward makes nothing old.
    long_open = times.steady - times.opened >= bounds.seen_seconds
    old = totals.forget_seen(connection, int(times.steady - bounds.seen_seconds)) if long_open else 0
    rows = replace(rows, seen=rows.seen - old)
    if rows.seen <= bounds.seen:
        return rows
    young = totals.forget_oldest_seen(
        connection, rows.seen - bounds.seen, int(times.steady - bounds.again_seconds)
    )
    return replace(rows, seen=bounds.seen, dropped_seen=rows.dropped_seen + young)
