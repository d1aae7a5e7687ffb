"""The ledger: exports in, each counted once and on disk before it is answered; totals and the outbox out.

One thread writes. Exports that wait for it share one transaction, and so one wait for the disk. What waits is bounded;
beyond that an export is refused, and Envoy sends it again.
"""

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import structlog

from igw_usage import outbox
from igw_usage.clock import Clock
from igw_usage.database import Database
from igw_usage.otlp import lines
from igw_usage.outbox import Batch
from igw_usage.record import Record, record
from igw_usage.storing import Bounds, dropped_rows, held, hold, store, sweep

T = TypeVar("T")

MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
"""Of exports that are not on disk yet."""
TOGETHER_BYTES: Final = 1024 * 1024
"""Exports that share a transaction have so much in all, or are one."""
READERS: Final = 2
MAX_READS: Final = 16
"""Queries at once, those that wait included."""
READ_SECONDS: Final = 10.0
SWEEP_SECONDS: Final = 60.0
_STEPS: Final = 100_000
"""SQLite's instructions between two looks at the clock."""
_OURS: Final = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.InterfaceError)
"""What SQLite raises where a statement, and not the disk, is at fault: it would fail again."""


class FullError(Exception):
    """Too much waits: it is to be tried again."""


class UnavailableError(Exception):
    """The disk does not take it, or a query takes too long; the text says why."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of an export that is on disk."""

    new: tuple[Record, ...] = ()
    duplicates: int = 0
    unusable: int = 0


@dataclass(frozen=True, slots=True)
class _Export:
    message: bytes
    answer: Future[Stored]


class _Read:
    """An export that was read."""

    def __init__(self, export: _Export, now: float) -> None:
        """Read it. Raises NotUnderstoodError."""
        found = [record(attributes, node, int(now * 1e6)) for node, attributes in lines(export.message)]
        self.records = [one for one in found if one is not None]
        self.unusable = len(found) - len(self.records)
        self.answer = export.answer

    def stored(self, new: tuple[Record, ...]) -> None:
        """Tell that it is on disk."""
        self.answer.set_result(Stored(new, len(self.records) - len(new), self.unusable))


class Ledger:
    """Counts what it is given; all its methods are called from one event loop."""

    def __init__(self, folder: Path, bounds: Bounds, clock: Clock, *, reports: bool) -> None:
        """Open it; `reports` says whether there is an outbox. Raises CannotOpenError."""
        self._database = Database(folder)
        self._connection = self._database.connection
        self._bounds = bounds
        self._most_reports = bounds.outbox if reports else None
        self._clock = clock
        self._next_sweep = clock.steady()
        self._ending = False
        self._waiting: deque[_Export] = deque()
        self.waiting_bytes = 0
        self._reads = 0
        self.failure: str | None = None
        """Why the last transaction was not possible; None after one that was."""
        self.rows = held(self._connection)
        self.depth = outbox.depth(self._connection)
        """What waits to be reported, of the last commit, as `rows` are."""
        self._dropped = dropped_rows(self.rows)
        self._writer = ThreadPoolExecutor(1, "usage-write")
        self._readers = ThreadPoolExecutor(READERS, "usage-read")

    def export(self, message: bytes) -> "asyncio.Future[Stored]":
        """Count the records of an export. Raises FullError; the answer NotUnderstoodError or UnavailableError.

        It is counted although nobody waits for the answer any more.
        """
        if self.waiting_bytes + len(message) > MAX_WAITING_BYTES:
            raise FullError
        self.waiting_bytes += len(message)
        answer: Future[Stored] = Future()
        answer.set_running_or_notify_cancel()
        self._waiting.append(_Export(message, answer))
        self._writer.submit(self._write_waiting)
        waited = asyncio.wrap_future(answer)
        waited.add_done_callback(lambda _: self._written(len(message)))
        return waited

    def oldest_seconds(self) -> float:
        """Give how long the oldest record has waited to be reported; 0 where none does."""
        at = self.depth.oldest_at
        return 0.0 if at is None else max(0.0, self._clock.steady() - at)

    async def next_batch(self, most: int, seconds: float, new_id: str) -> Batch | None:
        """Give the report to send (`outbox.next_batch`), on disk already. Raises UnavailableError; so do the others."""
        now = self._clock.steady()
        return await self._changed(
            lambda connection: outbox.next_batch(connection, most, now, seconds, new_id)
        )

    async def delivered(self, batch: str) -> None:
        """Forget a report that was taken."""

        def forget(connection: sqlite3.Connection) -> None:
            gone = outbox.delivered(connection, batch)
            self.rows = replace(self.rows, outbox=self.rows.outbox - gone)

        await self._changed(forget)

    async def set_aside(self, batch: str, status: int) -> None:
        """Keep a report that was refused, and send it no more."""
        await self._changed(lambda connection: outbox.set_aside(connection, batch, status))

    async def send_again(self) -> int:
        """Send the reports that are set aside again; give how many."""
        return await self._changed(outbox.send_again)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query over the last commit. Raises FullError, and UnavailableError where it takes too long."""
        if self._reads >= MAX_READS:
            raise FullError
        self._reads += 1
        try:
            return await asyncio.wrap_future(self._readers.submit(self._read, query))
        finally:
            self._reads -= 1

    async def aclose(self) -> None:
        """Store what waits, end queries, and close the file."""
        self._ending = True
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._writer.shutdown()
        self._readers.shutdown(cancel_futures=True)
        self._database.close()

    def _written(self, size: int) -> None:
        self.waiting_bytes -= size

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        late = self._clock.steady() + READ_SECONDS
        with _explained(), contextlib.closing(self._database.reading()) as connection:
            connection.set_progress_handler(lambda: self._ending or self._clock.steady() > late, _STEPS)
            connection.execute("BEGIN")
            return query(connection)

    async def _changed(self, change: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.wrap_future(self._writer.submit(self._change, change))

    def _change(self, change: Callable[[sqlite3.Connection], T]) -> T:
        with self._transaction() as connection:
            return change(connection)

    def _write_waiting(self) -> None:
        """Store the exports that wait, in the thread that writes; some or all may be stored already."""
        if batch := list(self._take()):
            self._store_each(list(self._understood(batch)))
            self._sweep()

    def _take(self) -> Iterator[_Export]:
        size = 0
        while self._waiting and (not size or size + len(self._waiting[0].message) <= TOGETHER_BYTES):
            export = self._waiting.popleft()
            size += len(export.message)
            yield export

    def _understood(self, batch: Sequence[_Export]) -> Iterator[_Read]:
        for export in batch:
            try:
                yield _Read(export, self._clock.now())
            except Exception as error:  # noqa: BLE001 - NotUnderstoodError, or a fault of ours: it is its own
                export.answer.set_exception(error)

    def _store_each(self, batch: Sequence[_Read]) -> None:
        """Store exports together; what fails them and is not the disk's fails only its own."""
        try:
            self._store(batch)
        except UnavailableError as error:
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001 - every caller is owed an answer
            if len(batch) == 1:
                _fail(batch, error)
            else:
                for one in batch:
                    self._store_each([one])

    def _store(self, batch: Sequence[_Read]) -> None:
        given = [export.records for export in batch]
        if any(given):
            with self._transaction() as connection:
                done = store(connection, given, self._clock.steady(), self.rows, self._most_reports)
                self.rows = done.rows
            new = done.new
        else:
            new = ((),) * len(batch)
        for export, records in zip(batch, new, strict=True):
            export.stored(records)

    def _sweep(self) -> None:
        times = self._clock.times()
        if times.steady < self._next_sweep:
            return
        self._next_sweep = times.steady + SWEEP_SECONDS
        with contextlib.suppress(UnavailableError), self._transaction() as connection:
            self.rows = sweep(connection, times, self.rows, self._bounds)
        dropped = dropped_rows(self.rows)
        if dropped != self._dropped:
            self._dropped = dropped
            structlog.get_logger("igw_usage").warning("rows_dropped", **dropped)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit what is done to the ledger, `rows` and `depth` included, or nothing of it."""
        rows, depth = self.rows, self.depth
        try:
            with _explained(), _committed(self._connection):
                yield self._connection
                if self.rows != rows:
                    hold(self._connection, self.rows)
                self.depth = outbox.depth(self._connection)
        except BaseException as error:
            self.rows, self.depth = rows, depth
            self.failure = str(error)
            raise
        self.failure = None


@contextlib.contextmanager
def _committed(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk may have ended the transaction already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except _OURS:
        raise
    except sqlite3.Error as error:
        raise UnavailableError(f"the ledger cannot answer now: {error}") from error


def _fail(batch: Sequence[_Read], error: Exception) -> None:
    for export in batch:
        export.answer.set_exception(error)
