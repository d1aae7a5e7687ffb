"""One Envoy's configuration in SQLite: whole contents in, at most one transaction; whole contents out. It blocks.

A process that dies leaves what the last transaction left. What is damaged, or of another schema, is set aside.
"""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from igw_agent.cache import NOTHING, Contents
from igw_agent.conversation import Kept

SCHEMA = 1
BUSY_SECONDS = 5
FILE = "config.db"
ASIDE = ".set-aside"
"""What a file that cannot be used is renamed to, once: the next one replaces it."""
_TABLES = """
CREATE TABLE IF NOT EXISTS resource (
  type_url TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (type_url, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS envoy (zone TEXT NOT NULL, written_at REAL NOT NULL);
"""

log = structlog.get_logger(__name__)


class TakenError(OSError):
    """Another process keeps its Envoy's configuration in the same folder."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What was kept, and when it was last changed (seconds since 1970)."""

    contents: Contents
    written_at: float


class Disk:
    """The file of one Envoy in a folder that is its own; one thread at a time."""

    def __init__(self, folder: Path, zone: str, now: Callable[[], float] = time.time) -> None:
        """Say where; nothing is touched yet. What is there of another `zone` is not used."""
        self._path = folder / FILE
        self._zone = zone
        self._now = now
        self._lock: int | None = None
        self._database: sqlite3.Connection | None = None
        self._has: Contents = NOTHING
        self._foreign = False
        """Whether what is in the file is of another zone: it goes when there is something to put."""

    def load(self) -> Saved:
        """Open the file, made if it is not there, and give what is in it. Another process's is only read.

        Raises OSError and sqlite3.Error when it cannot be used.
        """
        os.makedirs(self._path.parent, mode=0o700, exist_ok=True)  # noqa: PTH103 - the mode is for all that is made
        if not self._take():
            return self._peeked()
        try:
            return self._opened()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            return self._opened()

    def save(self, contents: Contents) -> int:
        """Make the file have just these; give how many were put or dropped.

        Raises TakenError while it is another process's, OSError and sqlite3.Error when it cannot be written.
        """
        if self._database is None:
            self.load()
        if self._lock is None:
            raise TakenError(
                f"another process keeps its Envoy's in {self._path.parent}: --node-id tells them apart"
            )
        try:
            return self._write(contents)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            self._opened()
            return self._write(contents)

    def close(self) -> None:
        """Let go of the file."""
        self._close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take(self) -> bool:
        """Say whether the file is ours to write."""
        if self._lock is not None:
            return True
        lock = os.open(self._path.with_name("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def _peeked(self) -> Saved:
        if not self._path.exists():
            return Saved(NOTHING, 0)
        with contextlib.closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)) as database:
            [(schema,)] = database.execute("PRAGMA user_version")
            return self._read(database) if schema == SCHEMA else Saved(NOTHING, 0)

    def _opened(self) -> Saved:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        self._path.chmod(0o600)  # before SQLite makes the files beside it with the same mode
        # Without an isolation level the driver begins no transaction of its own.
        database = sqlite3.connect(
            self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(database)
            saved = self._read(database)
        except BaseException:
            database.close()  # one of which we do not know what it has is not written to
            raise
        self._database, self._has = database, saved.contents
        return saved

    def _read(self, database: sqlite3.Connection) -> Saved:
        zone, written_at = database.execute("SELECT zone, written_at FROM envoy").fetchone() or (None, 0)
        self._foreign = zone != self._zone
        if self._foreign:
            return Saved(NOTHING, 0)
        rows = database.execute("SELECT type_url, name, version, body FROM resource")
        return Saved({kept.key: kept for kept in (Kept(*row) for row in rows)}, written_at)

    def _prepare(self, database: sqlite3.Connection) -> None:
        [(schema,)] = database.execute("PRAGMA user_version")
        if schema not in {0, SCHEMA}:
            raise sqlite3.DatabaseError(f"it is of schema {schema}, not {SCHEMA}")
        if database.execute("PRAGMA quick_check").fetchall() != [("ok",)]:
            raise sqlite3.DatabaseError("its pages do not agree with each other")
        database.execute("PRAGMA journal_mode = WAL")
        # The machine may lose the last transactions when it dies, and never half of one: older is good enough.
        database.execute("PRAGMA synchronous = NORMAL")
        if schema == 0:
            database.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")

    def _write(self, contents: Contents) -> int:
        if self._database is None:
            raise sqlite3.OperationalError("it is not open")
        put = [kept for key, kept in contents.items() if self._has.get(key) != kept]
        drop = [key for key in self._has if key not in contents]
        if put or drop or self._foreign:
            with _transaction(self._database) as database:
                if self._foreign:
                    database.execute("DELETE FROM resource")
                database.executemany("DELETE FROM resource WHERE type_url = ? AND name = ?", drop)
                database.executemany(
                    "REPLACE INTO resource VALUES (?, ?, ?, ?)",
                    ((kept.type_url, kept.name, kept.version, kept.body) for kept in put),
                )
                database.execute("DELETE FROM envoy")
                database.execute("INSERT INTO envoy VALUES (?, ?)", (self._zone, self._now()))
            self._has, self._foreign = contents, False
        return len(put) + len(drop)

    def _set_aside(self, error: sqlite3.Error) -> None:
        """Rename what cannot be used, and what SQLite keeps beside it; then there is nothing."""
        self._close()
        log.warning("the cache cannot be used: beginning a new one", file=str(self._path), error=str(error))
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                path = self._path.with_name(FILE + suffix)
                path.replace(path.with_name(path.name + ASIDE))
        self._has = NOTHING

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Do all of it or nothing."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield database
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
