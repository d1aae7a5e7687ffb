"""The ledger's file opened: one process at a time, the schema made, a file of a newer one refused.

It is SQLite without SQLAlchemy and Alembic, unlike the store: a handful of statements, run for every request by one
thread, where building statements would cost more than running them. `PRAGMA user_version` is the schema's number.
"""

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final

FILE: Final = "usage.sqlite"
SCHEMA: Final = 1
BUSY_SECONDS: Final = 10
_TABLES: Final = """
CREATE TABLE seen (key BLOB PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX seen_at ON seen (at);
CREATE TABLE totals (
  organization TEXT NOT NULL, minute INTEGER NOT NULL, gateway TEXT NOT NULL, deployment TEXT NOT NULL,
  model TEXT NOT NULL, principal TEXT NOT NULL, project TEXT NOT NULL,
  requests INTEGER NOT NULL, errors INTEGER NOT NULL, streamed INTEGER NOT NULL, partial INTEGER NOT NULL,
  prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
  total_tokens INTEGER NOT NULL, micros INTEGER NOT NULL,
  PRIMARY KEY (organization, minute, gateway, deployment, model, principal, project)
) WITHOUT ROWID;
CREATE TABLE outbox (number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, body BLOB NOT NULL);
CREATE TABLE batches (
  id TEXT PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, refused INTEGER
);
CREATE TABLE sizes (totals INTEGER NOT NULL, outbox INTEGER NOT NULL, seen INTEGER NOT NULL);
INSERT INTO sizes VALUES (0, 0, 0);
CREATE INDEX batches_last ON batches (last);
CREATE INDEX batches_open ON batches (first) WHERE refused IS NULL;
CREATE INDEX batches_refused ON batches (first) WHERE refused IS NOT NULL;
"""
"""`seen`: which records were counted, and when (seconds). `totals`: what the requests that began in a minute used.

`outbox`: records to report, as they will be written. `batches`: which of them (`first` to `last`) are one report;
`refused` is the status that it met, if it is set aside; its indexes keep a transaction cheap where many are. `sizes`:
how many rows there are of each, since to count them at the start would take minutes.
"""


class CannotOpenError(OSError):
    """The ledger cannot be used: no folder, no rights, no database, a newer version's, or another process's."""


class Database:
    """An open ledger: the connection that writes, and those for reading."""

    def __init__(self, folder: Path) -> None:
        """Open it, made if it is not there. Raises CannotOpenError."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path = folder / FILE
            self._lock = _locked(folder / f"{FILE}.lock")
            self.path.touch(mode=0o600)  # SQLite gives its other files the same mode
            self.connection = _writing(self.path)
        except CannotOpenError:
            raise
        except (OSError, sqlite3.Error) as error:
            raise CannotOpenError(f"{folder} cannot hold the ledger: {error}") from error

    def reading(self) -> sqlite3.Connection:
        """Open a connection that sees the last commit and writes nothing."""
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)

    def close(self) -> None:
        """Close it; another process may have it then."""
        self.connection.close()
        os.close(self._lock)


def _locked(path: Path) -> int:
    """Hold the file for this process alone: two that report from one outbox would report twice."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise CannotOpenError(f"{path.parent} is in use by another collector") from None
    return lock


def _writing(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    # In WAL mode NORMAL would lose what was answered when the machine, not only the process, dies.
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA journal_size_limit=67108864")
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    if schema > SCHEMA:
        raise CannotOpenError(f"{path} was written by a newer igw (schema {schema})")
    if schema < SCHEMA:
        connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
    return connection
