"""The store in SQLite, a file or in memory. Threads do the work; the event loop never waits for a disk.

One thread writes. Writes that wait for it share one transaction, each in a savepoint of its own, and so one
wait for the disk; all are answered after that. Threads that read see the last commit, whole.
"""

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import OperationalError

from igw_store.cipher import Cipher
from igw_store.database import open_database, writing
from igw_store.following import since, whole
from igw_store.reading import View
from igw_store.store import Change, Reading, UnavailableError, Writing
from igw_store.tables import OBJECTS
from igw_store.writing import Bounds, Transaction

T = TypeVar("T")

_READERS = 4
_TOGETHER = 128
"""At most so many writes in one transaction."""
_POLL_SECONDS = 0.25
"""How often a watcher looks for other processes' writes."""


async def open_store(
    path: Path | None, cipher: Cipher, *, kept_events: int = 10_000, kept_removals: int = 10_000
) -> "SqliteStore":
    """Open the store in a file, or (None) a new one in memory.

    `kept_events` is for each organisation; a watcher that missed more than `kept_removals` is given the whole
    state again. Raises CannotOpenError, and CipherError for a wrong key.
    """
    return await asyncio.to_thread(_open, path, cipher, Bounds(kept_events, kept_removals))


def _open(path: Path | None, cipher: Cipher, bounds: Bounds) -> "SqliteStore":
    engine = open_database(path)
    try:
        with engine.begin() as connection:
            sealed = select(OBJECTS.c.id, OBJECTS.c.api_key).where(OBJECTS.c.api_key.is_not(None))
            for gateway, key in connection.execute(sealed.limit(1)):
                cipher.unseal(gateway, key)
    except BaseException:
        engine.dispose()
        raise
    return SqliteStore(engine, cipher, bounds, shared=path is not None)


@dataclass(frozen=True, slots=True)
class _Write:
    change: Callable[[Writing], Any]
    answer: Future[Any]


@dataclass(frozen=True, slots=True)
class _Done:
    """A write that was done, and whether watchers are to hear of it."""

    result: Any
    heard: bool

    def answer(self, future: Future[Any]) -> None:
        future.set_result(self.result)


@dataclass(frozen=True, slots=True)
class _Raised:
    """A write that was undone."""

    error: BaseException

    def answer(self, future: Future[Any]) -> None:
        future.set_exception(self.error)


class _Watcher:
    """A watch that sleeps until something is written."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Wake it, from any thread."""
        with contextlib.suppress(RuntimeError):  # its loop is closed: nobody is left to wake
            self._loop.call_soon_threadsafe(self._event.set)

    async def sleep(self, seconds: float | None) -> None:
        """Sleep until it is woken or the time has passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()


class SqliteStore:
    """`store.Store`; made by `open_store`."""

    def __init__(self, engine: Engine, cipher: Cipher, bounds: Bounds, *, shared: bool) -> None:
        self._engine = engine
        self._writing = writing(engine)
        self._cipher = cipher
        self._bounds = bounds
        self._poll = _POLL_SECONDS if shared else None
        self._writer = ThreadPoolExecutor(1, "store-write")
        # In memory there is one connection: who reads waits for its turn with those that write.
        self._readers = ThreadPoolExecutor(_READERS, "store-read") if shared else self._writer
        self._waiting: deque[_Write] = deque()
        self._watchers: frozenset[_Watcher] = frozenset()
        self._closed = False

    async def read(self, view: Callable[[Reading], T]) -> T:
        """See `store.Store`; so for the others."""
        return await self._look(lambda connection: view(View(connection, self._cipher)))

    async def write(self, change: Callable[[Writing], T]) -> T:
        """See `store.Store`. A write whose caller is cancelled once it has begun is done all the same."""
        self._refuse_if_closed()
        answer: Future[T] = Future()
        self._waiting.append(_Write(change, answer))
        self._writer.submit(self._write_waiting)
        return await asyncio.wrap_future(answer)

    async def watch(self) -> AsyncIterator[Change]:
        """See `store.Store`. Who is slow meets the newest state, not each step; ends when the store is closed."""
        watcher = _Watcher()
        self._watchers |= {watcher}
        try:
            seen, change = await self._look(partial(whole, cipher=self._cipher))
            while not self._closed:
                if change is not None:
                    yield change
                await watcher.sleep(self._poll)
                if not self._closed:
                    seen, change = await self._look(partial(since, cipher=self._cipher, seen=seen))
        finally:
            self._watchers -= {watcher}

    async def aclose(self) -> None:
        """See `store.Store`."""
        self._closed = True
        self._wake()
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._writer.shutdown()
        self._readers.shutdown()
        self._engine.dispose()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise UnavailableError("the store is closed")

    def _wake(self) -> None:
        for watcher in self._watchers:
            watcher.wake()

    async def _look(self, query: Callable[[Connection], T]) -> T:
        self._refuse_if_closed()
        return await asyncio.wrap_future(self._readers.submit(self._query, query))

    def _query(self, query: Callable[[Connection], T]) -> T:
        """Run a query over one snapshot, in a thread that reads."""
        with _explained(), self._engine.begin() as connection:
            return query(connection)

    def _write_waiting(self) -> None:
        """Do the writes that wait, in the thread that writes; some or all may be done already."""
        batch = [write for write in self._take() if write.answer.set_running_or_notify_cancel()]
        if not batch:
            return
        try:
            with _explained(), self._writing.begin() as connection:
                outcomes = [self._outcome(connection, write) for write in batch]
        except BaseException as error:  # noqa: BLE001 - every caller is owed an answer
            outcomes = [_Raised(error)] * len(batch)
        if any(isinstance(outcome, _Done) and outcome.heard for outcome in outcomes):
            self._wake()
        for write, outcome in zip(batch, outcomes, strict=True):
            outcome.answer(write.answer)

    def _take(self) -> Iterator[_Write]:
        with contextlib.suppress(IndexError):
            for _ in range(_TOGETHER):
                yield self._waiting.popleft()

    def _outcome(self, connection: Connection, write: _Write) -> "_Done | _Raised":
        """Do one write; what it raises undoes it alone, but for what the database itself cannot do."""
        transaction = Transaction(connection, self._cipher, self._bounds)
        try:
            with connection.begin_nested():
                result = write.change(transaction)
        except OperationalError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is its caller's
            return _Raised(error)
        return _Done(result, transaction.heard)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise UnavailableError(f"the store cannot answer now: {_first(error)}") from error


def _first(error: BaseException) -> BaseException:
    """Give what SQLite said first: after a full disk there is no savepoint left to go back to, which it says too."""
    first: BaseException = error
    earlier: BaseException | None = error
    while earlier is not None:
        first = earlier if isinstance(earlier, sqlite3.Error) else first
        earlier = earlier.__context__
    return first
