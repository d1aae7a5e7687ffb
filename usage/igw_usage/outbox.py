"""Records that wait to be reported, and the batches that they are reported in, oldest first.

Functions over a connection in a transaction of the thread that writes; they commit nothing. A batch is a range of the
outbox's numbers: what stands in no batch has higher numbers than what does.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from igw_usage.record import Record

_BATCHED: Final = "SELECT COALESCE(MAX(last), 0) FROM batches"


@dataclass(frozen=True, slots=True)
class Batch:
    """One report: the same id has the same content for ever."""

    id: str
    records: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Depth:
    """What waits."""

    waiting: int
    """Records, without those of batches that are set aside."""
    oldest_at: float | None
    """When the oldest of them came, in seconds since 1970."""


def document(record: Record) -> dict[str, Any]:
    """Give a record as it is reported (docs/usage.md)."""
    started = datetime.fromtimestamp(record.started_at // 1_000_000, UTC)
    return {
        "id": record.key,
        "startedAt": f"{started:%Y-%m-%dT%H:%M:%S}.{record.started_at % 1_000_000:06}Z",
        "gatewayId": record.gateway,
        "deploymentId": record.deployment or None,
        "model": record.model or None,
        "organizationId": record.organization or None,
        "principal": record.principal or None,
        "entity": record.entity or None,
        "project": record.project or None,
        "requestId": record.request_id or None,
        "operation": record.operation,
        "status": record.status,
        "streamed": record.streamed,
        "partial": record.partial,
        "promptTokens": record.prompt_tokens,
        "completionTokens": record.completion_tokens,
        "cachedTokens": record.cached_tokens,
        "totalTokens": record.total_tokens,
        "durationSeconds": record.seconds,
        "timeToFirstByteSeconds": record.first_byte_seconds,
    }


def put(connection: sqlite3.Connection, records: Sequence[Record], at: float) -> int:
    """Add records at their end; give how many."""
    rows = [
        (at, json.dumps(document(record), ensure_ascii=False, separators=(",", ":")).encode())
        for record in records
    ]
    connection.executemany("INSERT INTO outbox (at, body) VALUES (?, ?)", rows)
    return len(rows)


def next_batch(
    connection: sqlite3.Connection, most: int, now: float, seconds: float, new_id: str
) -> Batch | None:
    """Give the batch to send: the one that is not answered, else a new one of the oldest records.

    There is none while fewer than `most` wait, the oldest for less than `seconds`; `now` is seconds since 1970. One
    that came after `now` was written while the clock was wrong, and waits no longer.
    """
    open_batch = connection.execute(
        "SELECT id, first, last FROM batches WHERE refused IS NULL ORDER BY first LIMIT 1"
    )
    found = open_batch.fetchone() or _new_batch(connection, most, (now - seconds, now), new_id)
    return None if found is None else _batch(connection, *found)


def _new_batch(
    connection: sqlite3.Connection, most: int, young: tuple[float, float], new_id: str
) -> tuple[str, int, int] | None:
    waiting = f"SELECT number, at FROM outbox WHERE number > ({_BATCHED}) ORDER BY number LIMIT ?"  # noqa: S608 - constants
    rows = connection.execute(waiting, (most,)).fetchall()
    if not rows or (len(rows) < most and young[0] < rows[0][1] <= young[1]):
        return None
    made = (new_id, rows[0][0], rows[-1][0])
    connection.execute("INSERT INTO batches (id, first, last) VALUES (?, ?, ?)", made)
    return made


def _batch(connection: sqlite3.Connection, batch: str, first: int, last: int) -> Batch:
    rows = connection.execute(
        "SELECT body FROM outbox WHERE number BETWEEN ? AND ? ORDER BY number", (first, last)
    )
    bodies = [body for (body,) in rows]
    content = b'{"batch":%s,"records":[%s]}' % (json.dumps(batch).encode(), b",".join(bodies))
    return Batch(batch, len(bodies), content)


def delivered(connection: sqlite3.Connection, batch: str) -> int:
    """Forget a batch that was taken, and its records; give how many."""
    gone = connection.execute(
        "DELETE FROM outbox WHERE number BETWEEN (SELECT first FROM batches WHERE id = ?1)"
        " AND (SELECT last FROM batches WHERE id = ?1)",
        (batch,),
    ).rowcount
    connection.execute("DELETE FROM batches WHERE id = ?", (batch,))
    return gone


def set_aside(connection: sqlite3.Connection, batch: str, status: int) -> None:
    """Keep a batch that was refused with a status, and send it no more."""
    connection.execute("UPDATE batches SET refused = ? WHERE id = ?", (status, batch))


def send_again(connection: sqlite3.Connection) -> int:
    """Send what was set aside once more, as it was; give how many batches."""
    return connection.execute("UPDATE batches SET refused = NULL WHERE refused IS NOT NULL").rowcount


def drop_oldest(connection: sqlite3.Connection, number: int) -> int:
    """Make room for so many records; give how many were dropped.

    What is set aside goes first, by whole batches; then the oldest that no batch has. The batch that is being sent
    stays: it may have been taken, and must not change.
    """
    dropped = 0
    refused = "SELECT id FROM batches WHERE refused IS NOT NULL ORDER BY first LIMIT 1"
    while dropped < number and (found := connection.execute(refused).fetchone()):
        dropped += delivered(connection, *found)
    if dropped < number:
        oldest = f"SELECT number FROM outbox WHERE number > ({_BATCHED}) ORDER BY number LIMIT ?"  # noqa: S608 - constants
        drop = f"DELETE FROM outbox WHERE number IN ({oldest})"  # noqa: S608 - constants
        dropped += connection.execute(drop, (number - dropped,)).rowcount
    return dropped


def depth(connection: sqlite3.Connection) -> Depth:
    """Give what waits, from the ends of ranges: this is asked in each transaction, however much is set aside."""
    number, first = connection.execute(
        "SELECT COALESCE(SUM(last - first + 1), 0), MIN(first) FROM batches WHERE refused IS NULL"
    ).fetchone()
    ends = [f"(SELECT {end}(number) FROM outbox WHERE number > ({_BATCHED}))" for end in ("MIN", "MAX")]  # noqa: S608 - constants
    low, high = connection.execute(f"SELECT {', '.join(ends)}").fetchone()
    if low is not None:
        number += high - low + 1
    oldest = low if first is None else first
    if oldest is None:
        return Depth(0, None)
    (at,) = connection.execute("SELECT at FROM outbox WHERE number = ?", (oldest,)).fetchone()
    return Depth(number, at)
